//! Discovery and matching, on texts alone.

use super::*;
use crate::host::config::host_json;

const OUT: &str = r#"{"type": "http", "direction": "out", "name": "res"}"#;

/// A trigger with these further members, and one output.
fn http(members: &str) -> String {
    format!(r#"{{"bindings": [{{"type": "httpTrigger", "direction": "in", "name": "req", {members}}}, {OUT}]}}"#)
}

fn loaded_with(files: &[(&str, String)], settings: &[(&str, &str)]) -> Functions {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let text = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "h"}}}"#;
    let config = host_json::parse(text, &settings).unwrap();
    load(files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect(), &config, &settings)
}

fn loaded(files: &[(&str, String)]) -> Functions {
    loaded_with(files, &[("AzureFunctionsJobHost__extensions__http__routePrefix", "")])
}

fn names(functions: &Functions) -> Vec<&str> {
    functions.http.iter().map(|function| function.name.as_str()).collect()
}

#[test]
fn the_first_name_whose_route_and_method_match_wins() {
    let functions = loaded(&[
        ("zz", http(r#""route": "graph/me""#)),
        ("B-all", http(r#""route": "graph/{*path}", "methods": ["get", "head"]"#)),
        ("a-login", http(r#""route": "auth/login", "methods": ["post"]"#)),
        ("health", http(r#""authLevel": "anonymous""#)),
        ("other", http(r#""route": """#)),
    ]);
    assert_eq!(names(&functions), ["a-login", "B-all", "health", "other", "zz"]);
    for (method, path, expected) in [
        ("GET", "/graph/me", Some("B-all")),
        ("HEAD", "/graph", Some("B-all")),
        ("POST", "/graph/me", Some("zz")),
        ("POST", "/auth/login", Some("a-login")),
        ("GET", "/auth/login", None),
        ("PURGE", "/health", Some("health")),
        ("GET", "/other", Some("other")),
        ("GET", "/nowhere", None),
    ] {
        assert_eq!(functions.find(path, method).map(|function| function.name.as_str()), expected, "{method} {path}");
    }
    assert_eq!(functions.http.iter().filter(|function| function.anonymous).count(), 1);
    assert_eq!(loaded_with(&[("f", http(r#""route": "/x""#))], &[]).http[0].route, "api/x");
}

#[test]
fn functions_in_error_are_skipped_and_reported() {
    let functions = loaded(&[
        ("1st", http(r#""route": "a""#)),
        ("host", http(r#""route": "b""#)),
        ("admins", http(r#""route": "/Administration/x""#)),
        ("runtime", http(r#""authLevel": "anonymous""#)),
        ("empty", r#"{"bindings": []}"#.to_owned()),
        ("json", "{".to_owned()),
        ("unsupported", http(r#""route": "a/{b:range(1,2)}""#)),
        ("good", http(r#""route": "same", "methods": ["get"]"#)),
        ("later", http(r#""route": "/SAME/""#)),
        ("third", http(r#""route": "same", "methods": ["post"]"#)),
    ]);
    assert_eq!(names(&functions), ["good", "third"]);
    assert_eq!(functions.errors.len(), 8);
    for name in ["1st", "host", "admins", "runtime", "empty", "json", "unsupported", "later"] {
        let prefix = format!("The '{name}' function is in error: ");
        assert!(functions.errors.iter().any(|error| error.starts_with(&prefix)), "{name}");
    }
}

#[test]
fn only_one_trigger_and_one_output_are_forwarded() {
    let trigger = r#"{"type": "httpTrigger", "direction": "in", "name": "req"}"#;
    let queue = r#"{"type": "queue", "direction": "out", "name": "q"}"#;
    let blob = r#"{"type": "blob", "direction": "in", "name": "b"}"#;
    let with = |bindings: &[&str]| format!(r#"{{"bindings": [{}]}}"#, bindings.join(","));
    let functions = loaded(&[
        ("a", with(&[trigger, OUT])),
        ("b", with(&[trigger, OUT, queue])),
        ("c", with(&[trigger, OUT, blob])),
        ("d", with(&[trigger])),
        ("queue", r#"{"bindings": [{"type": "queueTrigger", "direction": "in", "name": "t"}]}"#.to_owned()),
    ]);
    assert_eq!(functions.http.iter().map(|f| f.forwardable).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(functions.others, ["queue"]);
}

#[test]
fn functions_can_be_disabled_and_selected() {
    let files = [
        ("a", http(r#""route": "a""#)),
        ("b", http(r#""route": "b""#)),
        ("c", http(r#""route": "c""#).replacen('{', r#"{"disabled": true, "#, 1)),
        ("d", http(r#""route": "d""#).replacen('{', r#"{"disabled": "OFF", "#, 1)),
    ];
    for (settings, expected) in [
        (vec![], vec!["a", "b", "d"]),
        (vec![("AzureWebJobs.a.Disabled", "True"), ("OFF", "1")], vec!["b"]),
        (vec![("AzureFunctionsJobHost__functions__0", "B")], vec!["b"]),
    ] {
        assert_eq!(names(&loaded_with(&files, &settings)), expected);
    }
}

#[test]
fn directories_are_read_one_level_deep() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["a", "b/c"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
        std::fs::write(root.path().join(directory).join("function.json"), "{}").unwrap();
    }
    std::fs::write(root.path().join("function.json"), "{}").unwrap();
    assert_eq!(read(root.path()).unwrap(), [("a".to_owned(), "{}".to_owned())]);
}
