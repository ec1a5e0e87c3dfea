//! The functions of a project: what its directories say, and which of them a request meets.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::Value;

use super::{
    host_json::HostConfig,
    route::Template,
    settings::{Settings, is_on},
    timer::Timer,
};

/// The methods that a function without `methods` answers, for the printed table only.
const ALL: &str = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,TRACE";

/// A function with an HTTP trigger.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// The route with its prefix, as text.
    pub(super) route: String,
    template: Template,
    /// Upper case. `None` is every method.
    methods: Option<Vec<String>>,
    pub(super) anonymous: bool,
    /// Exactly one input, the trigger, and exactly one output, the response. All others need payload mode.
    pub(super) forwardable: bool,
    /// The name of the trigger, by which payload mode tells the request.
    pub(super) trigger: String,
    /// The name of the output that becomes the response in payload mode.
    pub(super) output: Option<String>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// In the order in which requests meet them.
    pub(super) http: Vec<Function>,
    pub(super) timers: Vec<Arc<Timer>>,
    /// Functions that have another trigger, which this stand-in does not pull.
    pub(super) others: Vec<String>,
    /// What was wrong with the rest, as the host prints it.
    pub(super) errors: Vec<String>,
}

impl Functions {
    /// The first function whose route and method match. A wrong method is no match at all, hence 404 and not 405.
    pub(super) fn find(&self, path: &str, method: &str) -> Option<&Function> {
        self.http.iter().find(|function| {
            let accepted = |methods: &Vec<String>| methods.iter().any(|known| known.eq_ignore_ascii_case(method));
            function.methods.as_ref().is_none_or(accepted) && function.template.matches(path)
        })
    }

    /// Whether there is nothing to start a handler for.
    pub(super) fn is_empty(&self) -> bool {
        self.http.is_empty() && self.timers.is_empty() && self.others.is_empty()
    }

    /// The timer function of that name.
    pub(super) fn timer(&self, name: &str) -> Option<&Arc<Timer>> {
        self.timers.iter().find(|timer| timer.name.eq_ignore_ascii_case(name))
    }

    fn add(&mut self, name: &str, text: &str, prefix: &str, settings: &Settings) -> Result<(), String> {
        let file: Value = serde_json::from_str(text).map_err(|error| format!("function.json is no JSON: {error}"))?;
        let bindings = file.get("bindings").and_then(Value::as_array).filter(|bindings| !bindings.is_empty());
        let bindings = bindings.ok_or("At least one binding must be declared.")?;
        let trigger = |kind| bindings.iter().find(|binding| is(binding, "type", kind));
        if let Some(trigger) = trigger("httpTrigger") {
            let function = http_function(name, trigger, bindings, prefix)?;
            self.refuse_conflict(&function)?;
            self.http.push(function);
        } else if let Some(trigger) = trigger("timerTrigger") {
            self.timers.push(Arc::new(Timer::parse(name, trigger, settings)?));
        } else {
            self.others.push(name.to_owned());
        }
        Ok(())
    }

    fn refuse_conflict(&self, new: &Function) -> Result<(), String> {
        let same = |known: &&Function| known.route.eq_ignore_ascii_case(&new.route) && known.overlaps(new);
        match self.http.iter().find(same) {
            None => Ok(()),
            Some(known) => {
                Err(format!("The route specified conflicts with the route defined by function '{}'.", known.name))
            }
        }
    }
}

impl Function {
    /// The methods for the printed table of URLs.
    pub(super) fn methods(&self) -> String {
        self.methods.as_ref().map_or(ALL.to_owned(), |methods| methods.join(","))
    }

    /// What the path has in the places of the route's parameters.
    pub(super) fn parameters(&self, path: &str) -> BTreeMap<String, String> {
        self.template.captures(path).unwrap_or_default()
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (&self.methods, &other.methods) {
            (Some(own), Some(others)) => own.iter().any(|method| others.contains(method)),
            _ => true,
        }
    }
}

/// The names and contents of all `*/function.json` under a root.
pub(super) fn read(root: &Path) -> std::io::Result<Vec<(String, String)>> {
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
        if !is_selected(name, config) || is_disabled(name, text, settings) {
            continue;
        }
        let added = if is_valid_name(name) {
            functions.add(name, text, &config.route_prefix, settings)
        } else {
            Err(format!("'{name}' is not a valid function name."))
        };
        if let Err(reason) = added {
            functions.errors.push(format!("The '{name}' function is in error: {reason}"));
        }
    }
    functions
}

fn http_function(name: &str, trigger: &Value, bindings: &[Value], prefix: &str) -> Result<Function, String> {
    let text = |key: &str| trigger.get(key).and_then(Value::as_str);
    let own = text("route").filter(|route| !route.is_empty()).unwrap_or(name);
    let start = own.trim_matches('/').to_ascii_lowercase();
    if start.starts_with("admin") || start.starts_with("runtime") {
        return Err("The specified route conflicts with one or more built in routes.".to_owned());
    }
    let route = if prefix.is_empty() { own.to_owned() } else { format!("{prefix}/{}", own.trim_start_matches('/')) };
    let route = route.trim_matches('/').to_owned();
    let output = bindings.iter().find(|binding| is(binding, "type", "http") && is(binding, "direction", "out"));
    Ok(Function {
        name: name.to_owned(),
        template: Template::parse(&route)?,
        route,
        methods: methods(trigger),
        anonymous: text("authLevel").is_some_and(|level| level.eq_ignore_ascii_case("anonymous")),
        forwardable: is_forwardable(bindings),
        trigger: text("name").unwrap_or_default().to_owned(),
        output: output.and_then(|output| Some(output.get("name")?.as_str()?.to_owned())),
    })
}

fn methods(trigger: &Value) -> Option<Vec<String>> {
    let listed = trigger.get("methods")?.as_array()?;
    Some(listed.iter().filter_map(Value::as_str).map(str::to_ascii_uppercase).collect())
}

fn is_forwardable(bindings: &[Value]) -> bool {
    let (outputs, inputs): (Vec<_>, Vec<_>) = bindings.iter().partition(|binding| is(binding, "direction", "out"));
    let one = |bindings: &[&Value], kind| matches!(bindings, [binding] if is(binding, "type", kind));
    one(&inputs, "httpTrigger") && one(&outputs, "http")
}

fn is(binding: &Value, key: &str, expected: &str) -> bool {
    binding.get(key).and_then(Value::as_str).is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

fn is_selected(name: &str, config: &HostConfig) -> bool {
    let listed = |names: &Vec<String>| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    config.functions.as_ref().is_none_or(listed)
}

fn is_disabled(name: &str, text: &str, settings: &Settings) -> bool {
    let file = serde_json::from_str::<Value>(text).unwrap_or_default();
    let by_file = match file.get("disabled") {
        Some(Value::Bool(disabled)) => *disabled,
        Some(Value::String(setting)) => is_on(settings, setting.trim_matches('%')),
        _ => false,
    };
    by_file || is_on(settings, &format!("AzureWebJobs.{name}.Disabled"))
}

/// `^[a-z][a-z0-9_\-]{0,127}$` without regard to case, and not `host`.
fn is_valid_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(letters)
        && !name.eq_ignore_ascii_case("host")
}

#[cfg(test)]
#[path = "tests/functions.rs"]
mod tests;
