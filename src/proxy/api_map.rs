//! The API map: which APIs there are, and what of them may be called. Nothing else is reachable.

use std::collections::BTreeMap;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderName, Uri};
use serde::Deserialize;
use url::Url;

use super::header_lists::{always_passed, may_be_passed};
use super::path::ProvenPath;
use super::patterns::Allowed;
use crate::guard::csrf::Mode;
use crate::origin::is_secure;

/// Largest body in bytes where the map names none.
const MAX_BODY: u64 = 10 * 1_024 * 1_024;

/// Longest deadline of a call.
const LONGEST: Duration = Duration::from_secs(86_400);

/// One API.
#[derive(Debug)]
pub struct Api {
    /// Its name: a word of lower-case letters, digits and hyphens.
    pub name: String,
    /// The path under which the gateway offers it.
    pub route: String,
    /// Where it is.
    pub base: Base,
    /// Asked at sign-in for its access token.
    pub scopes: Vec<String>,
    /// Resource indicator, for providers that want one (RFC 8707).
    pub resource: Option<String>,
    /// What may be called.
    pub allowed: Allowed,
    /// Whether reading needs the CSRF header.
    pub csrf: Mode,
    /// Request headers that go on besides the usual ones.
    pub request_headers: Vec<HeaderName>,
    /// Whether the sign-in asks for its scopes; unset leaves it to the map.
    pub sign_in: Option<bool>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Largest body of a request in bytes.
    pub max_body: u64,
}

/// Deadlines of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the head of the answer.
    pub first_byte: Duration,
    /// For the whole call; none for streams.
    pub total: Option<Duration>,
}

/// An API's base URL, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

impl Base {
    /// Reads a base URL: https, or http on loopback; without query, fragment and user.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "base is an https URL (http on loopback only) without query, fragment and user";
        let url = Url::parse(text).map_err(|_| RULE)?;
        let plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        if !plain || !is_secure(&url) {
            return Err(RULE);
        }
        let uri: Uri = url.as_str().parse().map_err(|_| RULE)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(RULE) };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), prefix })
    }

    /// The address of a path beneath this base; asserted to be beneath it.
    #[must_use]
    pub fn uri(&self, path: &ProvenPath<'_>, query: Option<&str>) -> Option<Uri> {
        let mut target = String::with_capacity(self.prefix.len() + path.raw.len() + query.map_or(0, str::len) + 2);
        target.push_str(&self.prefix);
        target.push_str(path.raw);
        if target.is_empty() {
            target.push('/');
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
            .ok()?;
        self.contains(&uri).then_some(uri)
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    fn contains(&self, uri: &Uri) -> bool {
        let beneath =
            uri.path().strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        beneath && uri.scheme() == Some(&self.scheme) && uri.authority() == Some(&self.authority)
    }

    /// The path behind this base of an address that an API named, absolute or from its root.
    #[must_use]
    pub fn relative(&self, location: &str) -> Option<String> {
        let own = Url::parse(&format!("{}://{}{}/", self.scheme, self.authority, self.prefix)).ok()?;
        let target =
            if location.starts_with('/') || location.contains("://") { own.join(location).ok()? } else { return None };
        if target.origin() != own.origin() {
            return None;
        }
        let rest = target.path().strip_prefix(&self.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let fragment = target.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
        Some(format!("{rest}{query}{fragment}"))
    }
}

/// The entry of the map as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    route: Option<String>,
    base: String,
    #[serde(default)]
    scopes: Vec<String>,
    resource: Option<String>,
    allow: Vec<String>,
    #[serde(default)]
    csrf: CsrfEntry,
    #[serde(default)]
    request_headers: Vec<String>,
    sign_in: Option<bool>,
    #[serde(default)]
    timeouts: TimeoutsEntry,
    max_body: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum CsrfEntry {
    #[default]
    Header,
    FetchMetadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeoutsEntry {
    connect: String,
    first_byte: String,
    total: Option<String>,
}

impl Default for TimeoutsEntry {
    fn default() -> Self {
        Self { connect: "2s".to_owned(), first_byte: "30s".to_owned(), total: Some("100s".to_owned()) }
    }
}

/// Reads an API map.
///
/// # Errors
/// Every fault found, each with the API's name.
pub fn parse(json: &str) -> Result<Vec<Api>, Vec<String>> {
    let entries: BTreeMap<String, Entry> = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
    let mut faults = Vec::new();
    let mut apis: Vec<Api> = Vec::new();
    for (name, entry) in entries {
        match entry.into_api(&name) {
            Ok(api) => match apis.iter().find(|other| other.route == api.route) {
                Some(other) => faults.push(format!("{name}: the route {} is {}'s", api.route, other.name)),
                None => apis.push(api),
            },
            Err(problems) => faults.extend(problems.into_iter().map(|problem| format!("{name}: {problem}"))),
        }
    }
    if apis.iter().filter(|api| api.sign_in == Some(true)).count() > 1 {
        faults.push("only one API may have \"sign_in\": true".to_owned());
    }
    if faults.is_empty() { Ok(apis) } else { Err(faults) }
}

/// The API whose scopes the sign-in asks for: the one that says so, else the only one, else `graph`.
#[must_use]
pub fn sign_in_api(apis: &[Api]) -> Option<&Api> {
    let willing = |api: &&Api| api.sign_in != Some(false);
    let stated = apis.iter().find(|api| api.sign_in == Some(true));
    let only = if let [only] = apis { Some(only) } else { None };
    stated.or(only).or_else(|| apis.iter().find(|api| api.name == "graph")).filter(willing)
}

impl Entry {
    fn into_api(self, name: &str) -> Result<Api, Vec<String>> {
        let mut faults = Vec::new();
        let mut note = |problem: String| faults.push(problem);
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(word) {
            note("a name is 1 to 64 lower-case letters, digits and hyphens".to_owned());
        }
        let route = self.route.unwrap_or_else(|| format!("/api/{name}"));
        if route != "/graph" && !is_api_route(&route) {
            note("route is /graph, or /api/ and one word".to_owned());
        }
        if self.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
            note("a scope is a word without spaces".to_owned());
        }
        let base = Base::parse(&self.base).map_err(|rule| note(rule.to_owned())).ok();
        let allowed = Allowed::compile(&self.allow).map_err(&mut note).ok();
        let request_headers = header_names(&self.request_headers).map_err(&mut note).ok();
        let timeouts = self.timeouts.parse().map_err(&mut note).ok();
        match (base, allowed, request_headers, timeouts) {
            (Some(base), Some(allowed), Some(request_headers), Some(timeouts)) if faults.is_empty() => Ok(Api {
                name: name.to_owned(),
                route,
                base,
                scopes: self.scopes,
                resource: self.resource,
                allowed,
                csrf: match self.csrf {
                    CsrfEntry::Header => Mode::Header,
                    CsrfEntry::FetchMetadata => Mode::FetchMetadata,
                },
                request_headers,
                sign_in: self.sign_in,
                timeouts,
                max_body: self.max_body.unwrap_or(MAX_BODY),
            }),
            _ => Err(faults),
        }
    }
}

fn is_api_route(route: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    route
        .strip_prefix("/api/")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(word) && name != "." && name != "..")
}

fn header_names(names: &[String]) -> Result<Vec<HeaderName>, String> {
    let parse = |name: &String| {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok().filter(may_be_passed);
        parsed.ok_or_else(|| format!("request_headers: {name:?} may not be passed on"))
    };
    let mut parsed = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    // What goes on anyway, or is named twice, would else be sent twice.
    parsed.retain(|name| !always_passed(name));
    parsed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    parsed.dedup();
    Ok(parsed)
}

impl TimeoutsEntry {
    fn parse(&self) -> Result<Timeouts, String> {
        let duration = |name: &str, text: &str| {
            let parsed =
                humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero() && *duration <= LONGEST);
            parsed.ok_or_else(|| format!("timeouts.{name} is a duration such as 30s, of a day at most"))
        };
        Ok(Timeouts {
            connect: duration("connect", &self.connect)?,
            first_byte: duration("first_byte", &self.first_byte)?,
            total: self.total.as_deref().map(|total| duration("total", total)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
