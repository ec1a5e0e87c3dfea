//! Origins as browsers write them.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Scheme, host and port, in the form of the `Origin` header; made only by parsing.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    serialized: String,
    url: Url,
}

impl Origin {
    /// Reads an origin: https, or http on loopback; no path, query, fragment or user.
    ///
    /// # Errors
    /// A sentence on what is allowed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "is scheme, host and port only, such as https://app.example.org (http on loopback only)";
        let url = Url::parse(text).map_err(|_| RULE)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        if !bare || !anonymous || text.ends_with(['?', '#']) || !is_secure(&url) {
            return Err(RULE);
        }
        Ok(Self { serialized: url.origin().ascii_serialization(), url })
    }

    /// As the `Origin` header has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.serialized
    }

    /// As a URL, to resolve paths against.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.serialized)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.serialized)
    }
}

/// Whether tokens may travel to a URL: https, or http to this machine.
#[must_use]
pub fn is_secure(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether a URL names this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_secure_origins_are_origins() {
        for good in ["https://app.example.org", "https://app.example.org/", "http://localhost:4280", "http://[::1]:1"] {
            assert!(Origin::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Origin::parse("https://APP.example.org:443").unwrap().as_str(), "https://app.example.org");
        for bad in [
            "",
            "app.example.org",
            "http://app.example.org",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a?",
            "https://a/#",
            "ftp://localhost",
            "null",
            "*",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
