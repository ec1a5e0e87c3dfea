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
    let text = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "h"}},
        "extensions": {"http": {"routePrefix": ""}}}"#;
    let config = host_json::parse(text, &settings).unwrap();
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    load(files, &config, &settings)
}

fn loaded(files: &[(&str, String)]) -> Functions {
    loaded_with(files, &[])
}

fn found<'a>(functions: &'a Functions, method: &str, path: &str) -> Option<&'a str> {
    functions.find(path, method).map(|function| function.name.as_str())
}

#[test]
fn the_first_name_wins_even_if_another_route_is_more_specific() {
    let functions = loaded(&[
        ("zz", http(r#""route": "graph/me""#)),
        ("B-all", http(r#""route": "graph/{*path}""#)),
        ("a-login", http(r#""route": "auth/login""#)),
    ]);
    assert_eq!(functions.http.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a-login", "B-all", "zz"]);
    assert_eq!(found(&functions, "GET", "/graph/me"), Some("B-all"));
    assert_eq!(found(&functions, "GET", "/auth/login"), Some("a-login"));
    assert_eq!(found(&functions, "GET", "/nowhere"), None);
}

#[test]
fn a_wrong_method_is_no_match() {
    let functions = loaded(&[
        ("a", http(r#""route": "x", "methods": ["post"]"#)),
        ("b", http(r#""route": "{*all}", "methods": ["get", "head"]"#)),
    ]);
    assert_eq!(found(&functions, "POST", "/x"), Some("a"));
    assert_eq!(found(&functions, "GET", "/x"), Some("b"));
    assert_eq!(found(&functions, "HEAD", "/"), Some("b"));
    assert_eq!(found(&functions, "DELETE", "/x"), None);
}

#[test]
fn a_missing_route_is_the_name() {
    let functions = loaded(&[("health", http(r#""authLevel": "anonymous""#)), ("other", http(r#""route": """#))]);
    assert_eq!(found(&functions, "PURGE", "/health"), Some("health"));
    assert_eq!(found(&functions, "GET", "/other"), Some("other"));
    assert!(functions.http[0].anonymous && !functions.http[1].anonymous);
}

#[test]
fn the_prefix_comes_before_every_route() {
    let files = vec![("f".to_owned(), http(r#""route": "/x""#))];
    let text = r#"{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "h"}}}"#;
    let config = host_json::parse(text, &Settings::new()).unwrap();
    assert_eq!(load(files, &config, &Settings::new()).http[0].route, "api/x");
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
    assert_eq!(functions.http.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["good", "third"]);
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
    let names = |settings: &[(&str, &str)]| {
        let functions = loaded_with(&files, settings);
        functions.http.into_iter().map(|function| function.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["a", "b", "d"]);
    assert_eq!(names(&[("AzureWebJobs.a.Disabled", "True"), ("OFF", "1")]), ["b"]);
    assert_eq!(names(&[("AzureFunctionsJobHost__functions__0", "B")]), ["b"]);
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
