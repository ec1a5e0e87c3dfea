//! Where the gateway listens, and how many threads and requests it has there (contract section 17).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::places::{Limits, UNDER_FUNCTIONS};

/// `MAX_IN_FLIGHT` outside Functions, unless it is set.
const STANDALONE_IN_FLIGHT: usize = 1_000;

/// The address, and who connects to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// The Functions host, at this port on loopback.
    Functions(u16),
    /// Clients, through an ingress that terminates TLS.
    Standalone(SocketAddr),
}

/// The settings of the process that serves.
#[derive(Debug, Clone)]
pub struct Config {
    /// `None` for a process that does not serve.
    pub address: Option<Address>,
    /// How many threads serve requests.
    pub threads: NonZeroUsize,
    /// How many requests may be in flight.
    pub limits: Limits,
    /// How long requests are still accepted after SIGTERM.
    pub drain_delay: Duration,
}

impl Address {
    /// Reads `address:port`.
    ///
    /// # Errors
    /// What it must be.
    pub fn standalone(text: &str) -> Result<Self, &'static str> {
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        address.map(Self::Standalone).ok_or("must be an IP address and a port, such as 0.0.0.0:8080 or [::]:8080")
    }

    /// What to bind.
    #[must_use]
    pub fn socket(self) -> SocketAddr {
        match self {
            Self::Functions(port) => (Ipv4Addr::LOCALHOST, port).into(),
            Self::Standalone(address) => address,
        }
    }

    /// Where this machine may reach it: an unspecified address at loopback, that of IPv6 also where IPv6 is off.
    #[must_use]
    pub fn local(self) -> Vec<SocketAddr> {
        let socket = self.socket();
        let (v4, v6) = ((Ipv4Addr::LOCALHOST, socket.port()).into(), (Ipv6Addr::LOCALHOST, socket.port()).into());
        match socket.ip() {
            ip if !ip.is_unspecified() => vec![socket],
            ip if ip.is_ipv4() => vec![v4],
            _ => vec![v6, v4],
        }
    }

    /// The port on which the Functions host connects; `None` outside Functions.
    #[must_use]
    pub const fn functions_port(self) -> Option<u16> {
        match self {
            Self::Functions(port) => Some(port),
            Self::Standalone(_) => None,
        }
    }
}

impl Config {
    #[must_use]
    pub const fn is_standalone(&self) -> bool {
        matches!(self.address, Some(Address::Standalone(_)))
    }
}

/// How many threads serve unless that is set: the host gives a custom handler one core (contract 17.5).
#[must_use]
pub fn default_threads(is_standalone: bool) -> NonZeroUsize {
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    if is_standalone { cores() } else { NonZeroUsize::MIN }
}

/// How many requests may be in flight unless that is set (contract 17.4).
#[must_use]
pub const fn default_in_flight(is_standalone: bool) -> usize {
    if is_standalone { STANDALONE_IN_FLIGHT } else { UNDER_FUNCTIONS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_an_ip_address_and_a_port() {
        for good in ["0.0.0.0:8080", "[::]:8080", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(Address::standalone(good).unwrap().socket().to_string(), good);
        }
        for bad in
            ["", "8080", ":8080", "localhost:8080", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:65536", "::1:8080", " [::]:1"]
        {
            assert!(Address::standalone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unspecified_address_is_reached_at_loopback() {
        let join = |all: Vec<SocketAddr>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let local = |text| join(Address::standalone(text).unwrap().local());
        assert_eq!(local("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(local("[::]:8080"), "[::1]:8080 127.0.0.1:8080");
        assert_eq!(local("10.0.0.4:8080"), "10.0.0.4:8080");
        assert_eq!(join(Address::Functions(3_000).local()), "127.0.0.1:3000");
    }
}
