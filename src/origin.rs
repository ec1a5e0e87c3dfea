//! Origins as browsers serialize them (RFC 6454), and which URLs may carry tokens.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Scheme, host and port, in the form of the `Origin` header. Created only by parsing.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    serialized: String,
    url: Url,
}

impl Origin {
    /// Parses an origin: https, or http on loopback; without path, query, fragment and user, and without a `*`, which
    /// matches nothing (contract 12.7).
    ///
    /// # Errors
    /// What is allowed, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str =
            "must be scheme, host and port only, such as https://app.example.org (http only on loopback)";
        let url = Url::parse(text).map_err(|_| RULE)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        let is_pattern = url.host_str().is_some_and(|host| host.contains('*'));
        if is_pattern || !bare || !anonymous || text.ends_with(['?', '#']) || !is_secure(&url) {
            return Err(RULE);
        }
        Ok(Self { serialized: url.origin().ascii_serialization(), url })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.serialized
    }

    /// The base for resolving paths.
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

/// Whether tokens may be sent to a URL: https, or http on loopback.
#[must_use]
pub fn is_secure(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the host of a URL is a loopback address or `localhost`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback_host(&host))
}

/// Whether a host is a loopback address or `localhost`.
#[must_use]
pub fn is_loopback_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref() == "localhost" || name.as_ref().ends_with(".localhost"),
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
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
            "https://*.example.org",
            "https://%2a.example.org",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }
}
