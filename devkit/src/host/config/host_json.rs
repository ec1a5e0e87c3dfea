//! `host.json`, overridden by app settings, as .NET's configuration binds it: flat, with keys that ignore case.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::schedule::time_span;
use super::settings::Settings;
use crate::host::log::Levels;
use crate::host::options::Mode;

const OVERRIDE_PREFIX: &str = "azurefunctionsjobhost__";

#[derive(Debug)]
pub(crate) struct HostConfig {
    pub(crate) description: Description,
    pub(crate) mode: Mode,
    pub(crate) initialization_timeout: Duration,
    /// `None` is unbounded.
    pub(crate) function_timeout: Option<Duration>,
    /// Without slashes around it; empty when there is none.
    pub(crate) route_prefix: String,
    pub(crate) custom_headers: Vec<(HeaderName, HeaderValue)>,
    /// The only functions to load; `None` loads all.
    pub(crate) functions: Option<Vec<String>>,
    pub(crate) max_outstanding: Option<usize>,
    /// Which lines are written.
    pub(crate) levels: Levels,
}

/// How the handler is started, before `%VAR%` is expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) executable: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) worker_path: Option<String>,
    pub(crate) worker_arguments: Vec<String>,
    pub(crate) working_directory: Option<String>,
    pub(crate) worker_directory: Option<String>,
    pub(crate) stderr_for_errors_only: bool,
}

/// Reads `host.json` and the settings `AzureFunctionsJobHost__a__b` that override it.
pub(super) fn parse(text: &str, settings: &Settings) -> io::Result<HostConfig> {
    let tree = Tree::new(text, settings)?;
    if tree.text("version") != Some("2.0") {
        return Err(io::Error::other("host.json has no version \"2.0\"."));
    }
    let forwarding = tree.flag("customhandler:enableforwardinghttprequest")?.unwrap_or(false);
    let proxying = tree.flag("customhandler:enableproxyinghttprequest")?.unwrap_or(false);
    Ok(HostConfig {
        description: description(&tree)?,
        mode: match (proxying, forwarding) {
            (true, _) => Mode::Proxy,
            (false, true) => Mode::Forward,
            (false, false) => Mode::Payload,
        },
        initialization_timeout: tree
            .time_span("customhandler:initializationtimeout")?
            .flatten()
            .unwrap_or(Duration::from_secs(30)),
        function_timeout: tree.time_span("functiontimeout")?.unwrap_or(Some(Duration::from_secs(30 * 60))),
        route_prefix: tree.text("extensions:http:routeprefix").unwrap_or("api").trim_matches('/').to_owned(),
        custom_headers: tree.headers("extensions:http:customheaders:")?,
        functions: Some(tree.list("functions")).filter(|names| !names.is_empty()),
        max_outstanding: tree.text("extensions:http:maxoutstandingrequests").and_then(|number| number.parse().ok()),
        levels: tree.levels("logging:loglevel:")?,
    })
}

fn description(tree: &Tree) -> io::Result<Description> {
    let key = |name: &str| format!("customhandler:description:{name}");
    if !tree.0.keys().any(|name| name.starts_with(&key(""))) {
        return Err(io::Error::other("Missing worker Description."));
    }
    let owned = |name: &str| tree.text(&key(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(Description {
        executable: owned("defaultexecutablepath")
            .ok_or_else(|| io::Error::other("WorkerDescription DefaultExecutablePath cannot be empty"))?,
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
    fn new(text: &str, settings: &Settings) -> io::Result<Self> {
        let file: Value = serde_json::from_str(text)
            .map_err(|error| io::Error::other(format!("host.json is not valid JSON: {error}")))?;
        if !file.is_object() {
            return Err(io::Error::other("host.json is not a JSON object."));
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

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn flag(&self, key: &str) -> io::Result<Option<bool>> {
        let read = |text: &str| text.to_ascii_lowercase().parse().map_err(|_| invalid(key, text));
        self.text(key).map(read).transpose()
    }

    /// The inner `None` is -1, which is unbounded.
    fn time_span(&self, key: &str) -> io::Result<Option<Option<Duration>>> {
        let read = |text: &str| match text {
            "-1" => Ok(None),
            _ => time_span(text).map(Some).ok_or_else(|| invalid(key, text)),
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

    fn levels(&self, section: &str) -> io::Result<Levels> {
        let rules = self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(section)?, value.as_str())));
        Levels::parse(rules).map_err(|text| invalid(section, text))
    }

    fn headers(&self, section: &str) -> io::Result<Vec<(HeaderName, HeaderValue)>> {
        let own = self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(section)?, value)));
        own.map(|(name, value)| {
            let name = name.parse().map_err(|_| invalid(section, name))?;
            Ok((name, value.parse().map_err(|_| invalid(section, value))?))
        })
        .collect()
    }
}

fn flatten(key: &str, value: &Value, tree: &mut BTreeMap<String, String>) {
    let mut nested = |name: &str, value: &Value| {
        let separator = if key.is_empty() { "" } else { ":" };
        flatten(&format!("{key}{separator}{}", name.to_lowercase()), value, tree);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| nested(name, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| nested(&index.to_string(), item)),
        Value::String(text) => drop(tree.insert(key.to_owned(), text.clone())),
        Value::Null => drop(tree.insert(key.to_owned(), String::new())),
        other => drop(tree.insert(key.to_owned(), other.to_string())),
    }
}

fn invalid(key: &str, value: &str) -> io::Error {
    io::Error::other(format!("host.json: '{value}' is not valid for {key}"))
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
        assert_eq!(config.mode, Mode::Payload);
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
        assert_eq!(config.mode, Mode::Proxy);
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
        assert_eq!(config.mode, Mode::Forward);
        assert_eq!(config.function_timeout, None);
        assert_eq!(config.initialization_timeout, Duration::from_millis(1500));
        assert_eq!(config.description.arguments, ["x"]);
        assert_eq!(config.functions.unwrap(), ["health"]);
    }

    #[test]
    fn errors_name_what_is_missing() {
        let no_path = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": ""}}}"#;
        for (text, expected) in [
            ("[]", "not a JSON object"),
            ("{", "not valid JSON"),
            ("{}", "version"),
            (r#"{"version": "2.0"}"#, "Missing worker Description."),
            (no_path, "DefaultExecutablePath"),
        ] {
            let message = parse(text, &Settings::new()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let settings = with(&[("AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest", "yes")]);
        assert!(parse(SMALL, &settings).is_err());
    }
}
