//! The functions of a project, and which of them a request matches.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use regex_lite::Regex;
use serde_json::Value;

use super::host_json::HostConfig;
use super::route::Template;
use super::schedule::Schedule;
use super::settings::{Settings, is_on};

#[derive(Debug)]
pub(crate) struct HttpFunction {
    pub(crate) name: String,
    /// The route with its prefix, as text.
    pub(crate) route: String,
    template: Template,
    /// Upper case. `None` is every method.
    methods: Option<Vec<String>>,
    pub(crate) anonymous: bool,
    /// Exactly one input, the trigger, and exactly one output, the response. All others need payload mode.
    pub(crate) forwardable: bool,
    /// The name under which a payload holds the request.
    pub(crate) trigger: String,
    /// The name of the output that becomes the response in payload mode.
    pub(crate) output: Option<String>,
}

#[derive(Debug)]
pub(crate) struct TimerFunction {
    pub(crate) name: String,
    /// The name under which a payload holds the timer.
    pub(crate) trigger: String,
    pub(crate) schedule: Schedule,
    pub(crate) run_on_startup: bool,
    pub(crate) use_monitor: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Functions {
    /// In the order in which they are matched.
    pub(crate) http: Vec<HttpFunction>,
    pub(crate) timers: Vec<Arc<TimerFunction>>,
    /// Functions with another trigger, which this stand-in does not run.
    pub(crate) others: Vec<String>,
    /// What is wrong with the rest, as the host prints it.
    pub(crate) errors: Vec<String>,
}

impl Functions {
    /// The first function whose route and method match. A wrong method is no match at all, hence 404 and not 405.
    pub(crate) fn find(&self, path: &str, method: &str) -> Option<&HttpFunction> {
        self.http.iter().find(|function| {
            let accepted = |methods: &Vec<String>| methods.iter().any(|known| known.eq_ignore_ascii_case(method));
            function.methods.as_ref().is_none_or(accepted) && function.template.matches(path)
        })
    }

    /// Whether there is nothing to start a handler for.
    pub(crate) fn is_empty(&self) -> bool {
        self.http.is_empty() && self.timers.is_empty() && self.others.is_empty()
    }

    fn add(&mut self, name: &str, file: &Value, prefix: &str, settings: &Settings) -> Result<(), String> {
        let bindings = file.get("bindings").and_then(Value::as_array).filter(|bindings| !bindings.is_empty());
        let bindings = bindings.ok_or("At least one binding must be declared.")?;
        let trigger = |kind| bindings.iter().find(|binding| is(binding, "type", kind));
        if let Some(trigger) = trigger("httpTrigger") {
            let new = http_function(name, trigger, bindings, prefix)?;
            if let Some(other) = self.http.iter().find(|other| other.conflicts_with(&new)) {
                let name = &other.name;
                return Err(format!("The route specified conflicts with the route defined by function '{name}'."));
            }
            self.http.push(new);
        } else if let Some(trigger) = trigger("timerTrigger") {
            self.timers.push(Arc::new(timer_function(name, trigger, settings)?));
        } else {
            self.others.push(name.to_owned());
        }
        Ok(())
    }
}

impl HttpFunction {
    /// The methods for the printed table of URLs.
    pub(crate) fn methods(&self) -> String {
        let all = || "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,TRACE".to_owned();
        self.methods.as_ref().map_or_else(all, |methods| methods.join(","))
    }

    /// The values of the route's parameters.
    pub(crate) fn parameters(&self, path: &str) -> BTreeMap<String, String> {
        self.template.parameters(path)
    }

    fn conflicts_with(&self, other: &Self) -> bool {
        let methods_overlap = match (&self.methods, &other.methods) {
            (Some(own), Some(others)) => own.iter().any(|method| others.contains(method)),
            _ => true,
        };
        methods_overlap && self.route.eq_ignore_ascii_case(&other.route)
    }
}

/// The names and contents of all `*/function.json` in a folder.
pub(super) fn read(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let path = entry.path().join("function.json");
        if path.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(path)?));
        }
    }
    Ok(found)
}

/// Loads functions in the host's order: by name without regard to case, whatever their routes are.
pub(super) fn load(mut files: Vec<(String, String)>, config: &HostConfig, settings: &Settings) -> Functions {
    files.sort_by_key(|(name, _)| name.to_ascii_uppercase());
    let mut functions = Functions::default();
    for (name, text) in &files {
        let selected = |names: &Vec<String>| names.iter().any(|selected| selected.eq_ignore_ascii_case(name));
        let file = serde_json::from_str::<Value>(text);
        let disabled = is_disabled(name, file.as_ref().unwrap_or(&Value::Null), settings);
        if disabled || !config.functions.as_ref().is_none_or(selected) {
            continue;
        }
        let added = match file {
            _ if !is_valid_name(name) => Err(format!("'{name}' is not a valid function name.")),
            Ok(file) => functions.add(name, &file, &config.route_prefix, settings),
            Err(error) => Err(format!("function.json is not valid JSON: {error}")),
        };
        if let Err(reason) = added {
            functions.errors.push(format!("The '{name}' function is in error: {reason}"));
        }
    }
    functions
}

fn http_function(name: &str, trigger: &Value, bindings: &[Value], prefix: &str) -> Result<HttpFunction, String> {
    let text = |key: &str| trigger.get(key).and_then(Value::as_str);
    let own = text("route").filter(|route| !route.is_empty()).unwrap_or(name).trim_matches('/');
    let start = own.to_ascii_lowercase();
    if start.starts_with("admin") || start.starts_with("runtime") {
        return Err("The specified route conflicts with one or more built in routes.".to_owned());
    }
    let route = format!("{prefix}/{own}").trim_matches('/').to_owned();
    let output = bindings.iter().find(|binding| is(binding, "type", "http") && is(binding, "direction", "out"));
    let methods = trigger.get("methods").and_then(Value::as_array);
    Ok(HttpFunction {
        name: name.to_owned(),
        template: Template::parse(&route)?,
        route,
        methods: methods.map(|list| list.iter().filter_map(Value::as_str).map(str::to_ascii_uppercase).collect()),
        anonymous: is(trigger, "authLevel", "anonymous"),
        forwardable: is_forwardable(bindings),
        trigger: text("name").unwrap_or_default().to_owned(),
        output: output.and_then(|output| Some(output.get("name")?.as_str()?.to_owned())),
    })
}

fn timer_function(name: &str, trigger: &Value, settings: &Settings) -> Result<TimerFunction, String> {
    let text = |key: &str| trigger.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let flag = |key: &str| trigger.get(key).and_then(Value::as_bool);
    Ok(TimerFunction {
        name: name.to_owned(),
        trigger: text("name").ok_or("The timer trigger has no name.")?.to_owned(),
        schedule: Schedule::parse(text("schedule").ok_or("The timer trigger has no schedule.")?, settings)?,
        run_on_startup: flag("runOnStartup").unwrap_or(false),
        use_monitor: flag("useMonitor").unwrap_or(true),
    })
}

fn is_forwardable(bindings: &[Value]) -> bool {
    let (outputs, inputs): (Vec<_>, Vec<_>) = bindings.iter().partition(|binding| is(binding, "direction", "out"));
    let one = |bindings: &[&Value], kind| matches!(bindings, [binding] if is(binding, "type", kind));
    one(&inputs, "httpTrigger") && one(&outputs, "http")
}

fn is(binding: &Value, key: &str, expected: &str) -> bool {
    binding.get(key).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

fn is_disabled(name: &str, file: &Value, settings: &Settings) -> bool {
    let by_file = match file.get("disabled") {
        Some(Value::Bool(disabled)) => *disabled,
        Some(Value::String(setting)) => is_on(settings, setting.trim_matches('%')),
        _ => false,
    };
    by_file || is_on(settings, &format!("AzureWebJobs.{name}.Disabled"))
}

fn is_valid_name(name: &str) -> bool {
    let valid = Regex::new(r"(?i)^[a-z][a-z0-9_-]{0,127}$").is_ok_and(|pattern| pattern.is_match(name));
    valid && !name.eq_ignore_ascii_case("host")
}

#[cfg(test)]
#[path = "../tests/functions.rs"]
mod tests;
