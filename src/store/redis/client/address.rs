//! Host and port of a server.

use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    /// A name, or an IP address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// A server of a cluster. Where the cluster does not know its host, it is that of the server that said so.
    pub(super) fn new(host: &str, port: u16, said_by: &Self) -> Self {
        let host = if matches!(host, "" | "?") { said_by.host.as_str() } else { host };
        Self { host: host.to_owned(), port }
    }

    /// Parses `host:port` of a redirection; an IPv6 address has no brackets there.
    pub(super) fn parse(text: &str, said_by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::new(host, port.parse().ok()?, said_by))
    }

    pub(super) fn is_ip(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redirections_are_parsed() {
        let sender = Address { host: "redis.example".to_owned(), port: 6379 };
        for (text, host, port) in [
            ("10.0.0.7:6380", "10.0.0.7", 6380),
            ("fd00::7:6380", "fd00::7", 6380),
            ("node-7.example:6380", "node-7.example", 6380),
            (":6380", "redis.example", 6380),
            ("?:6380", "redis.example", 6380),
        ] {
            assert_eq!(Address::parse(text, &sender), Some(Address { host: host.to_owned(), port }), "{text}");
        }
        for text in ["", "10.0.0.7", "10.0.0.7:", "10.0.0.7:65536", "10.0.0.7:x"] {
            assert_eq!(Address::parse(text, &sender), None, "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_is_shown_in_brackets() {
        let address = Address { host: "fd00::7".to_owned(), port: 6380 };
        assert_eq!(address.to_string(), "[fd00::7]:6380");
        assert!(address.is_ip());
    }
}
