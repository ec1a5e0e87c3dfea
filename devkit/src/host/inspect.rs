//! Checks a project's files by the host's rules, without starting anything.

use std::path::Path;

use super::config::{self, Functions, HostConfig, HttpFunction, Settings};
use super::options::{Mode, Options};

/// How a host would run a project.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The functions that it would run, in its order: name, methods and route, or the trigger.
    pub functions: Vec<String>,
    /// What it would reject, or do otherwise than a gateway needs.
    pub faults: Vec<String>,
}

/// Reads `host.json` and every `function.json` as a host without app settings would.
#[must_use]
pub fn inspect(root: &Path) -> Inspection {
    match config::load(&Options::new(root), &Settings::new()) {
        Err(error) => Inspection { functions: Vec::new(), faults: vec![error.to_string()] },
        Ok((config, functions)) => Inspection { functions: listed(&functions), faults: faults(&config, functions) },
    }
}

fn listed(functions: &Functions) -> Vec<String> {
    let http = functions.http.iter().map(|one| format!("{}: [{}] /{}", one.name, one.methods(), one.route));
    http.chain(functions.timers.iter().map(|timer| format!("{}: timerTrigger", timer.name))).collect()
}

fn faults(config: &HostConfig, functions: Functions) -> Vec<String> {
    let mut faults = Vec::new();
    let executable = &config.description.executable;
    if executable.starts_with(['.', '/']) || executable.contains(['\\', '%']) {
        faults.push(format!("host.json: write '{executable}' as the zip's entry is called: tools compare the texts"));
    }
    if config.mode == Mode::Payload {
        faults
            .push("host.json: without forwarding and proxying the host sends payloads instead of requests".to_owned());
    }
    if functions.is_empty() {
        faults.push("there is no function".to_owned());
    }
    faults.extend(functions.http.iter().flat_map(|function| function_faults(function, &functions)));
    let others = functions.others.iter().map(|name| format!("{name}/function.json: a trigger that nothing here runs"));
    faults.extend(others);
    faults.into_iter().chain(functions.errors).collect()
}

fn function_faults(function: &HttpFunction, all: &Functions) -> Vec<String> {
    let mut faults = Vec::new();
    let mut report = |what: &str| faults.push(format!("{}/function.json: {what}", function.name));
    if !function.anonymous {
        report("authLevel is not anonymous; the host would require a function key");
    }
    if !function.forwardable {
        report("not one httpTrigger and one http output; the host would send payloads");
    }
    // Functions are tried by name, whatever their routes are: try an address that this route matches.
    let segments = function.route.split('/').map(|segment| if segment.starts_with('{') { "0" } else { segment });
    let address: String = segments.flat_map(|segment| ["/", segment]).collect();
    let methods = function.methods();
    let method = methods.split(',').next().unwrap_or_default();
    if let Some(first) = all.find(&address, method).filter(|first| first.name != function.name) {
        report(&format!("'{}' comes first by its name and takes {address}", first.name));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HOST: &str = r#"{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}, "customHandler":
        {"description": {"defaultExecutablePath": "cloakroom"}, "enableForwardingHttpRequest": true}}"#;

    fn http(route: &str, level: &str) -> String {
        format!(
            r#"{{"bindings": [{{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "{level}",
                "route": "{route}"}}, {{"type": "http", "direction": "out", "name": "res"}}]}}"#
        )
    }

    fn faults_of(host: &str, functions: &[(&str, &str)]) -> String {
        let project = tempfile::tempdir().unwrap();
        fs::write(project.path().join("host.json"), host).unwrap();
        for (name, text) in functions {
            fs::create_dir(project.path().join(name)).unwrap();
            fs::write(project.path().join(name).join("function.json"), text).unwrap();
        }
        inspect(project.path()).faults.join("\n")
    }

    #[test]
    fn a_valid_project_has_no_faults_and_lists_its_functions() {
        let project = tempfile::tempdir().unwrap();
        fs::write(project.path().join("host.json"), HOST).unwrap();
        for (name, route) in [("auth", "auth/{name}"), ("spa", "{*path}")] {
            fs::create_dir(project.path().join(name)).unwrap();
            fs::write(project.path().join(name).join("function.json"), http(route, "anonymous")).unwrap();
        }
        let found = inspect(project.path());
        assert!(found.faults.is_empty(), "{:?}", found.faults);
        assert_eq!(found.functions.len(), 2);
        assert!(found.functions[1].ends_with(" /{*path}"), "{:?}", found.functions);
    }

    #[test]
    fn every_fault_of_host_json_and_of_functions_names_its_file() {
        let good = http("{*path}", "anonymous");
        let payload =
            r#"{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "r", "authLevel": "anonymous"}]}"#;
        let queue = r#"{"bindings": [{"type": "queueTrigger", "direction": "in", "name": "q"}]}"#;
        for (host, functions, expected) in [
            ("{", vec![("spa", good.as_str())], "host.json is not valid JSON"),
            (HOST, vec![], "there is no function"),
            (&HOST.replace("\"cloakroom\"", "\"./cloakroom\""), vec![("spa", &good)], "as the zip's entry is called"),
            (&HOST.replace("true", "false"), vec![("spa", &good)], "host.json: without forwarding and proxying"),
            (HOST, vec![("spa", "{}")], "The 'spa' function is in error: At least one binding"),
            (HOST, vec![("1spa", &good)], "'1spa' is not a valid function name"),
            (HOST, vec![("a", &good), ("b", &http("health", "anonymous"))], "b/function.json: 'a' comes first"),
            (HOST, vec![("spa", &http("{*path}", "function"))], "spa/function.json: authLevel is not anonymous"),
            (HOST, vec![("x", payload)], "x/function.json: not one httpTrigger and one http output"),
            (HOST, vec![("q", queue)], "q/function.json: a trigger that nothing here runs"),
            (HOST, vec![("a", &http("admin/x", "anonymous"))], "conflicts with one or more built in routes"),
        ] {
            let faults = faults_of(host, &functions);
            assert!(faults.contains(expected), "{expected}: {faults}");
        }
    }
}
