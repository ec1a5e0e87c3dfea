//! What the product's source must not contain, outside of tests: code for one operating system.

use super::{assert_none, code, files};

/// Conditions of compilation that depend on the operating system.
const SYSTEMS: [&str; 6] = ["unix", "windows", "target_os", "target_family", "target_vendor", "target_env"];
/// Paths that exist on one operating system only.
const SYSTEM_PATHS: [&str; 3] = ["std::os::", "tokio::signal::unix", "tokio::signal::windows"];

/// The files of `src/` that are no tests, without comments and without their module of tests.
fn product() -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let sources = files("src/", ".rs").into_iter().filter(|(path, _)| !is_test(path));
    sources.map(|(path, text)| (path, without_tests(&code(&text)).to_owned())).collect()
}

fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
}

/// The arguments of each `cfg(…)`, `cfg!(…)` and `cfg_attr(…)`.
fn conditions(code: &str) -> impl Iterator<Item = &str> {
    let argument = |rest: &str| {
        let mut depth = 0;
        rest.find(|one: char| {
            depth += i32::from(one == '(') - i32::from(one == ')');
            depth == 0
        })
    };
    ["cfg(", "cfg!(", "cfg_attr("].into_iter().flat_map(move |start| {
        code.match_indices(start).map(move |(at, _)| {
            let rest = &code[at + start.len() - 1..];
            &rest[..argument(rest).unwrap_or(rest.len())]
        })
    })
}

/// What in the code is for one operating system only.
fn system_specific(code: &str) -> Vec<&str> {
    let words = |condition: &str, word: &str| {
        condition.split(|one: char| !one.is_alphanumeric() && one != '_').any(|part| part == word)
    };
    let paths = SYSTEM_PATHS.into_iter().filter(|path| code.contains(path));
    let systems = SYSTEMS.into_iter().filter(|word| conditions(code).any(|condition| words(condition, word)));
    paths.chain(systems).collect()
}

#[test]
fn code_for_one_operating_system_is_recognized() {
    for (code, found) in [
        ("#[cfg(unix)]\nfn f() {}", "unix"),
        ("#[cfg(not(windows))]", "windows"),
        ("if cfg!(target_os = \"linux\") {}", "target_os"),
        ("#[cfg_attr(\n    target_family = \"unix\",\n    inline\n)]", "target_family"),
        ("#[cfg(all(feature = \"x\", any(unix)))]", "unix"),
        ("use std::os::unix::fs::MetadataExt;", "std::os::"),
        ("tokio::signal::unix::signal(kind)", "tokio::signal::unix"),
    ] {
        assert!(system_specific(without_tests(code)).contains(&found), "{code}");
    }
    for code in
        ["#[cfg(debug_assertions)]", "fn unix(windows: u8) {}", "#[cfg(test)]\nmod tests {\n    #[cfg(unix)]\n}"]
    {
        assert_eq!(system_specific(without_tests(code)), [""; 0], "{code}");
    }
}

#[test]
fn only_one_module_has_code_for_one_operating_system() {
    let mut findings = Vec::new();
    for (path, code) in product().into_iter().filter(|(path, _)| path != "src/os.rs" && !path.starts_with("src/os/")) {
        for what in system_specific(&code) {
            findings.push(format!("{path}: {what}; move what depends on the operating system to src/os"));
        }
    }
    assert_none(&findings);
}

/// Where values are sealed and keys are kept.
const SEALING: [&str; 3] = ["src/keyring", "src/session", "src/store"];
/// Defaults there that stand for no error: the file, a part of the line, and why.
const DEFAULTS: [(&str, &str, &str); 8] = [
    ("src/keyring/key_vault.rs", "code.unwrap_or_default()", "a part of a log line that the vault may leave out"),
    ("src/keyring/key_vault.rs", "inner.unwrap_or_default()", "the same"),
    ("src/keyring/key_vault.rs", "vault.url.host_str()", "a name in the advice of a log line"),
    ("src/keyring/key_vault.rs", "item.attributes.clone()", "attributes are optional in the vault's API"),
    ("src/keyring/revocations.rs", "stored.map(|text|", "a source without a list has revoked nothing"),
    ("src/keyring/revocations/cache.rs", "list.unwrap_or_default()", "the same"),
    ("src/session/companion.rs", "session.issuer.as_deref()", "sessions of version 2 have no issuer"),
    ("src/session/service/end_from_elsewhere.rs", "open.session.issuer.clone()", "the same"),
];

/// An impossible error must not become an empty ciphertext, payload or token (`expect` says why it is impossible).
#[test]
fn no_default_stands_for_an_error_where_values_are_sealed() {
    let mut findings = Vec::new();
    for (path, code) in product().into_iter().filter(|(path, _)| SEALING.iter().any(|start| path.starts_with(start))) {
        let is_listed = |line: &str| DEFAULTS.iter().any(|(file, part, _)| *file == path && line.contains(part));
        for line in code.lines().filter(|line| line.contains("unwrap_or_default()") && !is_listed(line)) {
            let line = line.trim();
            findings.push(format!("{path}: {line}: return the error, or say with `expect` why there is none"));
        }
    }
    assert_none(&findings);
}
