//! What the source must not contain, outside of tests: code for one operating system (in the devkit neither), and
//! defaults that stand for an error where values are sealed.

use super::{assert_none, code, files};

/// Conditions of compilation that depend on the operating system.
const SYSTEMS: [&str; 6] = ["unix", "windows", "target_os", "target_family", "target_vendor", "target_env"];
/// Paths that exist on one operating system only.
const SYSTEM_PATHS: [&str; 4] = ["std::os::", "tokio::signal::unix", "tokio::signal::windows", "rustix::"];

fn product() -> Vec<(String, String)> {
    sources("src/")
}

/// The files under a folder that are no tests, without comments and without their module of tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let sources = files(folder, ".rs").into_iter().filter(|(path, _)| !is_test(path));
    sources.map(|(path, text)| (path, without_tests(&code(&text)).to_owned())).collect()
}

fn without_tests(code: &str) -> &str {
    // Of a module in a file of its own only the declaration is here, anywhere among the items.
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
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
        ("rustix::process::geteuid()", "rustix::"),
        ("#[cfg(test)]\nmod tests;\n\n#[cfg(unix)]\nfn f() {}", "unix"),
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
    for folder in ["src/", "devkit/src/"] {
        let module = format!("{folder}os");
        let is_inside = |path: &str| path.strip_prefix(&module).is_some_and(|rest| rest.starts_with(['.', '/']));
        let sources = sources(folder);
        assert!(sources.iter().any(|(path, code)| is_inside(path) && !system_specific(code).is_empty()), "{module}");
        for (path, code) in sources.iter().filter(|(path, _)| !is_inside(path)) {
            for what in system_specific(code) {
                findings.push(format!("{path}: {what}; move what depends on the operating system to {module}"));
            }
        }
    }
    assert_none(&findings);
}

/// Where values are sealed and keys are kept.
const SEALING: [&str; 5] = ["src/auth", "src/keyring", "src/session", "src/store", "src/tokens/challenge.rs"];
/// Defaults there that stand for no error: the file, a part of the statement, and why.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("src/auth/login.rs", "required.unwrap_or_default()", "without a challenge nothing is required"),
    ("src/auth/session.rs", "token.map_or_else(|_|", "without a sealing key the link leads to the confirmation page"),
    ("src/keyring/key_vault.rs", "code.unwrap_or_default()", "a part of a log line that the vault may leave out"),
    ("src/keyring/key_vault.rs", "inner.unwrap_or_default()", "the same"),
    ("src/keyring/key_vault.rs", "vault.url.host_str()", "a name in the advice of a log line"),
    ("src/keyring/key_vault.rs", "item.attributes.clone()", "attributes are optional in the vault's API"),
    ("src/keyring/revocations.rs", "stored.map(|text|", "a source without a list has revoked nothing"),
    ("src/keyring/revocations/cache.rs", "list.unwrap_or_default()", "the same"),
    ("src/session/companion.rs", "self.issuer.as_deref()", "sessions of version 2 have no issuer"),
    ("src/session/service/end_from_elsewhere.rs", "open.session.issuer.clone()", "the same"),
    ("src/tokens/challenge.rs", "capability.get(\"values\")", "a claims request need not name capabilities"),
];

/// The start of an expression that is empty or zero.
const EMPTY: [&str; 10] =
    ["\"\"", "b\"\"", "&[]", "[]", "vec![]", "0", "None", "Vec::new()", "String::new()", "Default"];

/// Code with each chain of calls on one line, to the first line of its last closure.
fn unbroken(code: &str) -> String {
    code.lines().map(str::trim).fold(String::new(), |joined, line| {
        let continues = line.starts_with('.') || joined.ends_with(['{', '(', '|']);
        joined + if continues { "" } else { "\n" } + line
    })
}

/// Whether a value takes the place of an error, or of something else that is not there, without its name: a default,
/// what a closure makes that ignores its argument, an empty value, or any value after an `ok()`.
fn hides_an_error(line: &str) -> bool {
    let after = |call: &'static str| line.split(call).skip(1);
    let is_empty = |argument: &str| EMPTY.iter().any(|empty| argument.starts_with(empty));
    let from_ignored = |argument: &str| {
        // Another error is none that is hidden.
        argument.strip_prefix("|_").and_then(|rest| rest.split_once('|')).is_some_and(|(_, body)| {
            let body = body.trim_start_matches([' ', '{']);
            !body.starts_with("Err(") && !body.starts_with("return Err(")
        })
    };
    line.contains("unwrap_or_default()")
        || after(".unwrap_or_else(").chain(after(".map_or_else(")).any(from_ignored)
        || after(".unwrap_or(").any(is_empty)
        || [".ok().unwrap_or", ".ok().map_or", ".ok().flatten().unwrap_or("].iter().any(|calls| line.contains(calls))
}

#[test]
fn defaults_that_hide_an_error_are_recognized() {
    for code in [
        "HeaderValue::from_str(&line).unwrap_or_else(|_| HeaderValue::from_static(\"\"))",
        "HeaderValue::from_str(&line)\n    .unwrap_or_else(|_error| {\n        HeaderValue::from_static(\"\")\n    })",
        "postcard::to_allocvec(&form).unwrap_or_default()",
        "let payload = self\n    .encode()\n    .ok()\n    .unwrap_or_else(Vec::new);",
        "seal(payload).unwrap_or(\"\")",
        "seal(payload).unwrap_or(String::new())",
        "u32::try_from(micros).unwrap_or(0)",
        "seal(payload).map_or_else(|_| Vec::new(), Vec::from)",
        "seal(payload).ok().map_or(\"\", String::as_str)",
    ] {
        assert!(unbroken(code).lines().any(hides_an_error), "{code}");
    }
    for code in [
        "timeout(both).await.unwrap_or_else(|_| Err(SourceUnavailable(problem)))",
        "timeout(both)\n    .await\n    .unwrap_or_else(|_| {\n        Err(SourceUnavailable(problem))\n    })",
        "seal(payload).unwrap_or_else(|error| respond(&error))",
        "location.await.ok().flatten().unwrap_or_else(|| self.home())",
        "required_acr.as_ref().map_or(\"\", AcrValues::as_str)",
        "rest.split_at_checked(size).unwrap_or((rest, \"\"))",
        "seal(payload).await.ok()?",
        "opened.ok().and_then(decode)",
    ] {
        assert!(!unbroken(code).lines().any(hides_an_error), "{code}");
    }
}

/// An impossible error must not become an empty ciphertext, payload, header or token (`expect` says why it is
/// impossible).
#[test]
fn no_default_stands_for_an_error_where_values_are_sealed() {
    let mut findings = Vec::new();
    for (path, code) in product().into_iter().filter(|(path, _)| SEALING.iter().any(|start| path.starts_with(start))) {
        let is_listed = |line: &str| DEFAULTS.iter().any(|(file, part, _)| *file == path && line.contains(part));
        for line in unbroken(&code).lines().filter(|line| hides_an_error(line) && !is_listed(line)) {
            findings.push(format!("{path}: {line}: return the error, or say with `expect` why there is none"));
        }
    }
    assert_none(&findings);
}

/// Only it writes into memory that does not grow.
#[test]
fn one_function_serializes_what_is_sealed() {
    let serializes = |code: &str| code.contains("postcard::to_") || code.contains("postcard::ser");
    let findings = product().into_iter().filter(|(path, code)| path != "src/session/binary.rs" && serializes(code));
    let advice = "call session::binary::encode, which leaves no copy of a secret in freed memory";
    assert_none(&findings.map(|(path, _)| format!("{path}: {advice}")).collect::<Vec<_>>());
}
