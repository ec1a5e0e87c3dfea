//! `host.json`, overridden by app settings, as .NET's configuration binds it: flat, with keys that ignore case.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::{HostError, settings::Settings};

const OVERRIDE_PREFIX: &str = "azurefunctionsjobhost__";

/// What the stand-in takes from `host.json`.
#[derive(Debug)]
pub(super) struct HostConfig {
    pub(super) description: Description,
    pub(super) forwarding: bool,
    pub(super) proxying: bool,
    pub(super) initialization_timeout: Duration,
    /// `None` is unbounded.
    pub(super) function_timeout: Option<Duration>,
    /// Without slashes around it; empty when there is none.
    pub(super) route_prefix: String,
    pub(super) custom_headers: Vec<(HeaderName, HeaderValue)>,
    /// The only functions to load; `None` loads all.
    pub(super) functions: Option<Vec<String>>,
    pub(super) max_outstanding: Option<usize>,
}

/// How the handler is started, before `%VAR%` is expanded.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    pub(super) executable: String,
    pub(super) arguments: Vec<String>,
    pub(super) worker_path: Option<String>,
    pub(super) worker_arguments: Vec<String>,
    pub(super) working_directory: Option<String>,
    pub(super) worker_directory: Option<String>,
    pub(super) stderr_for_errors_only: bool,
}

/// Reads `host.json` and the settings `AzureFunctionsJobHost__a__b` that override it.
pub(super) fn parse(text: &str, settings: &Settings) -> Result<HostConfig, HostError> {
    let tree = Tree::new(text, settings)?;
    if tree.text("version") != Some("2.0") {
        return Err(HostError::Configuration("host.json has no version \"2.0\".".to_owned()));
    }
    Ok(HostConfig {
        description: description(&tree)?,
        forwarding: tree.flag("customhandler:enableforwardinghttprequest")?.unwrap_or(false),
        proxying: tree.flag("customhandler:enableproxyinghttprequest")?.unwrap_or(false),
        initialization_timeout: tree
            .time_span("customhandler:initializationtimeout")?
            .flatten()
            .unwrap_or(Duration::from_secs(30)),
        function_timeout: tree.time_span("functiontimeout")?.unwrap_or(Some(Duration::from_secs(30 * 60))),
        route_prefix: tree.text("extensions:http:routeprefix").unwrap_or("api").trim_matches('/').to_owned(),
        custom_headers: tree.headers("extensions:http:customheaders:")?,
        functions: Some(tree.list("functions")).filter(|names| !names.is_empty()),
        max_outstanding: tree.text("extensions:http:maxoutstandingrequests").and_then(|number| number.parse().ok()),
    })
}

fn description(tree: &Tree) -> Result<Description, HostError> {
    let section = "customhandler:description";
    let key = |name: &str| format!("{section}:{name}");
    if !tree.has(section) {
        return Err(HostError::Configuration("Missing worker Description.".to_owned()));
    }
    let owned = |name: &str| tree.text(&key(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Description {
        executable: owned("defaultexecutablepath").ok_or_else(|| {
            HostError::Configuration("WorkerDescription DefaultExecutablePath cannot be empty".to_owned())
        })?,
        arguments: tree.list(&key("arguments")),
        worker_path: owned("defaultworkerpath"),
        worker_arguments: tree.list(&key("workerarguments")),
        working_directory: owned("workingdirectory"),
        worker_directory: owned("workerdirectory"),
        stderr_for_errors_only: tree.flag(&key("usestderrorstreamforerrorsonly"))?.unwrap_or(true),
    })
}

/// The whole configuration: lower-case keys, nested by colons.
struct Tree(BTreeMap<String, String>);

impl Tree {
    fn new(text: &str, settings: &Settings) -> Result<Self, HostError> {
        let file: Value = serde_json::from_str(text)
            .map_err(|error| HostError::Configuration(format!("host.json is no JSON: {error}")))?;
        if !file.is_object() {
            return Err(HostError::Configuration("host.json is no JSON object.".to_owned()));
        }
        let mut tree = BTreeMap::new();
        flatten("", &file, &mut tree);
        for (name, value) in settings {
            if let Some(key) = name.to_lowercase().strip_prefix(OVERRIDE_PREFIX) {
                tree.insert(key.replace("__", ":"), value.clone());
            }
        }
        Ok(Self(tree))
    }

    fn has(&self, section: &str) -> bool {
        self.0.keys().any(|key| key.strip_prefix(section).is_some_and(|rest| rest.starts_with(':')))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, HostError> {
        let read = |text: &str| text.to_ascii_lowercase().parse().map_err(|_| invalid(key, text));
        self.text(key).map(read).transpose()
    }

    fn time_span(&self, key: &str) -> Result<Option<Option<Duration>>, HostError> {
        let read = |text: &str| match time_span(text) {
            _ if text == "-1" => Ok(None),
            Some(span) => Ok(Some(span)),
            None => Err(invalid(key, text)),
        };
        self.text(key).map(read).transpose()
    }

    /// The elements of a list. As an app setting, a list may also be one JSON text.
    fn list(&self, key: &str) -> Vec<String> {
        if let Some(list) = self.text(key).and_then(|text| serde_json::from_str(text).ok()) {
            return list;
        }
        (0..).map_while(|index| self.text(&format!("{key}:{index}"))).map(str::to_owned).collect()
    }

    fn headers(&self, section: &str) -> Result<Vec<(HeaderName, HeaderValue)>, HostError> {
        let own = self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(section)?, value)));
        own.map(|(name, value)| {
            let name = name.parse().map_err(|_| invalid(section, name))?;
            Ok((name, value.parse().map_err(|_| invalid(section, value))?))
        })
        .collect()
    }
}

fn flatten(key: &str, value: &Value, tree: &mut BTreeMap<String, String>) {
    let below = |name: &str| {
        if key.is_empty() { name.to_lowercase() } else { format!("{key}:{}", name.to_lowercase()) }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| flatten(&below(name), value, tree)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| flatten(&below(&index.to_string()), item, tree));
        }
        Value::String(text) => drop(tree.insert(key.to_owned(), text.clone())),
        Value::Null => drop(tree.insert(key.to_owned(), String::new())),
        other => drop(tree.insert(key.to_owned(), other.to_string())),
    }
}

/// A .NET `TimeSpan`: `[d.]hh:mm[:ss[.fff]]`, or a bare number of days.
pub(super) fn time_span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if !days.contains(':') => (days.parse().ok()?, clock),
        _ if !text.contains(':') => (text.parse().ok()?, "0:0"),
        _ => (0_u64, text),
    };
    let mut parts = clock.split(':');
    let hours: u64 = parts.next()?.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = parts.next()?.parse().ok().filter(|minutes| *minutes < 60)?;
    let seconds: f64 = parts.next().unwrap_or("0").parse().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60);
    parts.next().is_none().then(|| whole + Duration::from_secs_f64(seconds))
}

fn invalid(key: &str, value: &str) -> HostError {
    HostError::Configuration(format!("host.json: '{value}' is not valid for {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}}}"#;

    fn with(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_are_those_of_the_host() {
        let config = parse(SMALL, &Settings::new()).unwrap();
        assert_eq!(config.description.executable, "handler");
        assert!(config.description.stderr_for_errors_only);
        assert!(!config.forwarding && !config.proxying);
        assert_eq!(config.initialization_timeout, Duration::from_secs(30));
        assert_eq!(config.function_timeout, Some(Duration::from_secs(1800)));
        assert_eq!(config.route_prefix, "api");
        assert!(config.custom_headers.is_empty() && config.functions.is_none() && config.max_outstanding.is_none());
    }

    #[test]
    fn keys_ignore_case() {
        let text = r#"{"Version": "2.0", "CUSTOMHANDLER": {"enableproxyinghttprequest": true,
            "Description": {"DefaultExecutablePath": "h", "Arguments": ["a", "b c"]}},
            "extensions": {"HTTP": {"RoutePrefix": "", "customHeaders": {"X-Frame-Options": "DENY"}}}}"#;
        let config = parse(text, &Settings::new()).unwrap();
        assert!(config.proxying);
        assert_eq!(config.description.arguments, ["a", "b c"]);
        assert_eq!(config.route_prefix, "");
        assert_eq!(config.custom_headers, [("x-frame-options".parse().unwrap(), "DENY".parse().unwrap())]);
    }

    #[test]
    fn settings_override_the_file() {
        let settings = with(&[
            ("AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest", "True"),
            ("AZUREFUNCTIONSJOBHOST__functionTimeout", "-1"),
            ("AzureFunctionsJobHost__customHandler__initializationTimeout", "00:00:01.5"),
            ("AzureFunctionsJobHost__customHandler__description__arguments", r#"["x"]"#),
            ("AzureFunctionsJobHost__functions__0", "health"),
        ]);
        let config = parse(SMALL, &settings).unwrap();
        assert!(config.forwarding);
        assert_eq!(config.function_timeout, None);
        assert_eq!(config.initialization_timeout, Duration::from_millis(1500));
        assert_eq!(config.description.arguments, ["x"]);
        assert_eq!(config.functions.unwrap(), ["health"]);
    }

    #[test]
    fn what_is_missing_is_told() {
        let message = |text: &str| parse(text, &Settings::new()).unwrap_err().to_string();
        assert!(message("[]").contains("no JSON object"));
        assert!(message("{").contains("no JSON"));
        assert!(message("{}").contains("version"));
        assert_eq!(message(r#"{"version": "2.0"}"#), "Missing worker Description.");
        let no_path = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": ""}}}"#;
        assert!(message(no_path).contains("DefaultExecutablePath"));
        let settings = with(&[("AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest", "yes")]);
        assert!(parse(SMALL, &settings).is_err());
    }

    #[test]
    fn time_spans_are_those_of_net() {
        for (text, seconds) in [("00:05:00", 300.0), ("1.00:00:01", 86401.0), ("0:0:0.25", 0.25), ("2", 172_800.0)] {
            assert_eq!(time_span(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "5m", "25:00:00", "00:60:00", "1:2:3:4", "00:00:-1"] {
            assert_eq!(time_span(text), None, "{text}");
        }
    }
}
