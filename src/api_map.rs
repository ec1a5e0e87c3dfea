//! The API map: which APIs the gateway proxies to, and which methods and paths of each (contract 10.1). Nothing else is
//! reachable. Built once from configuration and shared by `auth`, `tokens` and `proxy`.

pub mod base;
pub mod headers;
mod json;
pub mod path;
pub mod patterns;
pub mod response_headers;

use std::collections::BTreeSet;
use std::slice;
use std::time::Duration;

use http::HeaderName;
use sha2::{Digest, Sha256};

use crate::path::strip_prefix_segments;
use base::Base;
use patterns::AllowList;

/// One API of the map.
#[derive(Debug)]
pub struct Api {
    /// Lower-case letters, digits and hyphens; names the API in `login?api=`, in sessions and in logs.
    pub name: String,
    /// The gateway's path for it: `/graph`, or `/api/` and one segment.
    pub route: String,
    pub base: Base,
    /// Scopes of its access token.
    pub scopes: Vec<String>,
    /// Resource indicator (RFC 8707), for providers that require one.
    pub resource: Option<String>,
    /// Identifies what its access tokens are issued for.
    pub binding: TokenBinding,
    pub allowed: AllowList,
    pub csrf: CsrfMode,
    /// Request headers that are passed besides [`headers::REQUEST`].
    pub request_headers: Vec<HeaderName>,
    /// Response headers that are passed besides [`response_headers::always_passed`].
    pub response_headers: Vec<HeaderName>,
    pub locations: Locations,
    pub cache: CacheMode,
    pub timeouts: Timeouts,
    /// Largest request body in bytes.
    pub max_body: u64,
    sign_in: Option<bool>,
}

/// The first bytes of SHA-256(base ‖ 0x00 ‖ scopes, sorted, with a space between them ‖ 0x00 ‖ resource): what an
/// access token of an API is issued for (contract 4.24b).
pub type TokenBinding = [u8; 8];

/// Whether GET and HEAD need the CSRF header (contract 9.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsrfMode {
    /// Every call needs `X-CSRF: 1`.
    Header,
    /// GET and HEAD of images, downloads and the like are accepted by their fetch metadata.
    FetchMetadata,
}

/// Whether browsers cache responses (contract 8.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// No.
    None,
    /// Yes, and revalidate them at each use.
    Private,
}

/// What the API means by an absolute path in `Location` and the like (contract 10.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locations {
    /// A path on its host (RFC 3986).
    Host,
    /// Outside the path of `base`, a path below `base`, as Microsoft Graph does.
    Base,
}

/// Deadlines of a call (contract 10.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the end of the request body to the head of the response.
    pub first_byte: Duration,
    /// For the whole call; `None` for streams.
    pub total: Option<Duration>,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// All APIs, ordered by name.
#[derive(Debug, Default)]
pub struct ApiMap(Vec<Api>);

impl ApiMap {
    /// Reads the JSON of `apis.json` or the setting `APIS`.
    ///
    /// # Errors
    /// Every error found, each with the API's name.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        json::parse(text).map(Self)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Api> {
        self.0.iter().find(|api| api.name == name)
    }

    pub fn iter(&self) -> slice::Iter<'_, Api> {
        self.0.iter()
    }

    /// Whether browsers cache responses of any API, so that one user's must not be shown to the next (contract 8.9b).
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.0.iter().any(|api| api.cache == CacheMode::Private)
    }

    /// The API whose scopes a sign-in requests when it names none (contract 7.20).
    #[must_use]
    pub fn sign_in_api(&self) -> Option<&Api> {
        let stated = self.0.iter().find(|api| api.sign_in == Some(true));
        let only = if let [only] = self.0.as_slice() { Some(only) } else { None };
        stated.or(only).or_else(|| self.get("graph")).filter(|api| api.sign_in != Some(false))
    }
}

impl Api {
    #[expect(clippy::expect_used, reason = "a digest has 32 bytes")]
    fn binding(base: &Base, scopes: &[String], resource: Option<&str>) -> TokenBinding {
        let scopes: BTreeSet<&str> = scopes.iter().map(String::as_str).collect();
        let scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
        let text = [base.as_str(), &scopes, resource.unwrap_or_default()].join("\0");
        *Sha256::digest(text).first_chunk().expect("a digest is longer than 8 bytes")
    }

    /// The part of a request path below this API's route; `None` if the path is not under it.
    #[must_use]
    pub fn path_below<'a>(&self, path: &'a str) -> Option<&'a str> {
        strip_prefix_segments(path, &self.route)
    }
}

impl<'a> IntoIterator for &'a ApiMap {
    type Item = &'a Api;
    type IntoIter = slice::Iter<'a, Api>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
