//! The JSON form of the API map; `docs/apis.schema.json` describes it for editors.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use http::HeaderName;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::base::Base;
use super::patterns::AllowList;
use super::{Api, CacheMode, CsrfMode, Locations, Timeouts, headers, response_headers};

/// Largest request body in bytes where the map does not set one.
const MAX_BODY: u64 = 10 * 1_024 * 1_024;
/// Longest timeout that is accepted.
const LONGEST: Duration = Duration::from_secs(86_400);

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
    #[serde(default)]
    response_headers: Vec<String>,
    locations: Option<LocationsEntry>,
    #[serde(default)]
    cache: CacheEntry,
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
#[serde(rename_all = "kebab-case")]
enum LocationsEntry {
    Base,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum CacheEntry {
    #[default]
    None,
    Private,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeoutsEntry {
    connect: String,
    first_byte: String,
    total: Option<String>,
    idle: String,
}

impl Default for TimeoutsEntry {
    fn default() -> Self {
        let [connect, first_byte, total, idle] = ["2s", "30s", "100s", "60s"].map(str::to_owned);
        Self { connect, first_byte, total: Some(total), idle }
    }
}

/// The APIs by name, in their order, with all that have one name.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of APIs by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

/// What is wrong with the JSON, without what it says there (contract 12.2): serde quotes values in front of what it
/// expected.
fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The value itself may have the words that follow it.
    let expected = text.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
    let kinds = [
        ("invalid type: ", "invalid type"),
        ("invalid value: ", "invalid value"),
        ("unknown variant ", "unknown value"),
    ];
    let kind = kinds.into_iter().find(|(start, _)| text.starts_with(start)).map(|(_, kind)| kind);
    kind.map_or_else(|| text.clone(), |kind| format!("{kind}, expected {expected}"))
}

pub(super) fn parse(text: &str) -> Result<Vec<Api>, Vec<String>> {
    let Entries(mut entries) = serde_json::from_str(text).map_err(|error| vec![without_value(&error)])?;
    // Stable, so that of two with one name the second is reported.
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut errors = Vec::new();
    let mut apis: Vec<Api> = Vec::new();
    let mut names = BTreeSet::new();
    for (name, entry) in entries {
        let is_first = names.insert(name.clone());
        if !is_first {
            errors.push(format!("{name}: another API has this name"));
        }
        match entry.into_api(&name) {
            Ok(_) if !is_first => {}
            Ok(api) => match apis.iter().find(|other| other.route == api.route) {
                Some(other) => errors.push(format!("{name}: route {} is already used by {}", api.route, other.name)),
                None => apis.push(api),
            },
            Err(problems) => errors.extend(problems.into_iter().map(|problem| format!("{name}: {problem}"))),
        }
    }
    if apis.iter().filter(|api| api.sign_in == Some(true)).count() > 1 {
        errors.push("only one API may have \"sign_in\": true".to_owned());
    }
    if errors.is_empty() { Ok(apis) } else { Err(errors) }
}

impl Entry {
    fn into_api(self, name: &str) -> Result<Api, Vec<String>> {
        let mut errors = Vec::new();
        let mut record = |problem: String| errors.push(problem);
        let allowed_in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed_in_name) {
            record("the name must be 1 to 64 lower-case letters, digits and hyphens".to_owned());
        }
        let route = self.route.unwrap_or_else(|| format!("/api/{name}"));
        if route != "/graph" && !is_api_route(&route) {
            record("route must be /graph, or /api/ and one segment of letters, digits, -, _ and .".to_owned());
        }
        if self.scopes.iter().any(|scope| scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_graphic())) {
            record("each of scopes must be one scope of visible ASCII, without spaces".to_owned());
        }
        let base = Base::parse(&self.base).map_err(|rule| record(format!("base {rule}"))).ok();
        let allowed = AllowList::compile(&self.allow).map_err(&mut record).ok();
        let request_headers =
            header_names("request_headers", &self.request_headers, headers::may_be_passed, headers::always_passed);
        let request_headers = request_headers.map_err(&mut record).ok();
        let (may_be_passed, always_passed) = (response_headers::may_be_passed, response_headers::always_passed);
        let response_headers = header_names("response_headers", &self.response_headers, may_be_passed, always_passed);
        let response_headers = response_headers.map_err(&mut record).ok();
        let timeouts = self.timeouts.parse().map_err(&mut record).ok();
        match (base, allowed, request_headers.zip(response_headers), timeouts) {
            (Some(base), Some(allowed), Some((request_headers, response_headers)), Some(timeouts))
                if errors.is_empty() =>
            {
                Ok(Api {
                    name: name.to_owned(),
                    route,
                    binding: Api::binding(&base, &self.scopes, self.resource.as_deref()),
                    base,
                    scopes: self.scopes,
                    resource: self.resource,
                    allowed,
                    csrf: match self.csrf {
                        CsrfEntry::Header => CsrfMode::Header,
                        CsrfEntry::FetchMetadata => CsrfMode::FetchMetadata,
                    },
                    request_headers,
                    response_headers,
                    locations: self.locations.map_or(Locations::Host, |LocationsEntry::Base| Locations::Base),
                    cache: match self.cache {
                        CacheEntry::None => CacheMode::None,
                        CacheEntry::Private => CacheMode::Private,
                    },
                    timeouts,
                    max_body: self.max_body.unwrap_or(MAX_BODY),
                    sign_in: self.sign_in,
                })
            }
            _ => Err(errors),
        }
    }
}

fn is_api_route(route: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    route
        .strip_prefix("/api/")
        .is_some_and(|name| !name.is_empty() && name.bytes().all(allowed) && name != "." && name != "..")
}

/// Reads the names of a member. `may_be_passed`: those that can be added; `always_passed`: the built-in ones.
fn header_names(
    member: &str,
    names: &[String],
    may_be_passed: fn(&HeaderName) -> bool,
    always_passed: fn(&HeaderName) -> bool,
) -> Result<Vec<HeaderName>, String> {
    let parse = |(index, name): (usize, &String)| {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        let parsed = parsed.filter(|name| always_passed(name) || may_be_passed(name));
        parsed.ok_or_else(|| format!("{member}[{index}] is no header that can be passed; remove it"))
    };
    let mut parsed = names.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    // A header that is passed anyway, or that is listed twice, would otherwise be sent twice.
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
            parsed.ok_or_else(|| format!("timeouts.{name} must be a duration such as 30s, at most a day"))
        };
        Ok(Timeouts {
            connect: duration("connect", &self.connect)?,
            first_byte: duration("first_byte", &self.first_byte)?,
            total: self.total.as_deref().map(|total| duration("total", total)).transpose()?,
            idle: duration("idle", &self.idle)?,
        })
    }
}
