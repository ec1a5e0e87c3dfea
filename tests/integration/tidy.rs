//! Checks of the files themselves: import directions, generated tables, names, links, wording and line lengths.
//!
//! Every failure message says what to do.

mod imports;
mod skipped;
mod source;
mod standards;
mod steps;
mod wording;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cloakroom::auth::AuthError;
use cloakroom::config::documentation;
use cloakroom::error::Error;
use serde_json::Value;

use crate::app::ROOT;

/// The modules of `src/` from top to bottom, as in `docs/architecture.md`. Imports point down this list.
const ORDER: &[&str] = &[
    "main",
    "command",
    "server",
    "routes",
    "app",
    "config",
    "functions",
    "health",
    "spa",
    "auth",
    "proxy",
    "guard",
    "listen",
    "places",
    "tokens",
    "store",
    "session",
    "keyring",
    "oidc",
    "jose",
    "api_map",
    "credential",
    "upstream",
    "reply",
    "error",
    "telemetry",
    "net",
    "origin",
    "path",
    "os",
    "secret",
    "clock",
    "sync",
    "id_hash",
];
/// Crates that only some files may use: the start of a path, and the files or folders that may contain it.
const OWNERS: &[(&str, &[&str])] = &[
    ("warp::", &["src/routes.rs", "src/routes/"]),
    ("hyper::server", &["src/server.rs", "src/server/", "src/routes.rs", "src/routes/"]),
    ("hyper::service", &["src/server.rs", "src/server/", "src/routes.rs", "src/routes/"]),
    ("aes_gcm", &["src/session/seal.rs", "src/session/seal/tests.rs"]),
    ("httparse::", &["src/upstream/response.rs"]),
    ("ring::aead", &["src/keyring/subkey.rs", "src/session/seal/tests.rs"]),
    ("jsonwebtoken", &["src/jose.rs", "src/jose/"]),
    ("redis::", &["src/store/redis.rs", "src/store/redis/"]),
    ("std::os::unix", &["src/config/tests/errors.rs", "src/os/", "src/spa/folder/tests.rs"]),
    ("tokio::signal", &["src/os/"]),
    ("azure_", &["src/credential.rs", "src/credential/", "src/keyring/key_vault.rs"]),
    ("azure_identity", &["src/credential.rs", "src/credential/"]),
];
/// The function folders with their routes; the timer has no route.
const FUNCTIONS: &[(&str, Option<&str>)] = &[
    ("api-proxy", Some("api/{name}/{*path}")),
    ("auth-backchannel-logout", Some("auth/backchannel-logout")),
    ("auth-callback", Some("auth/callback")),
    ("auth-frontchannel-logout", Some("auth/frontchannel-logout")),
    ("auth-login", Some("auth/login")),
    ("auth-logout", Some("auth/logout")),
    ("auth-refresh", Some("auth/refresh")),
    ("auth-session", Some("auth/session")),
    ("auth-sessions", Some("auth/sessions/{*path}")),
    ("graph-proxy", Some("graph/{*path}")),
    ("health", Some("health/{*path}")),
    ("rotate_keys", None),
    ("spa", Some("{*path}")),
];
/// Names in the docs that look like settings of the gateway but are not.
const OTHER_VARIABLES: &[&str] = &[
    "CORS_ALLOWED_ORIGINS",
    "FUNCTIONS_APP_ROOT_PATH",
    "FUNCTIONS_CUSTOMHANDLER_PORT",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "SOURCE_DATE_EPOCH",
    "SSL_CERT_FILE",
    "TCP_NODELAY",
    "WEBSITE_SKU",
    "_RJEM_MALLOC_CONF",
];
/// Maximum number of lines of a file under `src/`.
const MAX_FILE_LINES: usize = 400;
/// Maximum number of characters of a line.
const MAX_LINE_CHARS: usize = 120;
/// The command that rewrites the generated tables.
const REFRESH: &str = "UPDATE_DOCS=1 cargo test --test integration tidy";

/// Fails with all findings at once.
#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// The tracked files that exist, by their path from the root.
fn tracked() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "git ls-files fails: run the tests in a clone of the repository");
    let names = String::from_utf8(output.stdout).unwrap();
    let there = |name: &&str| !name.is_empty() && Path::new(ROOT).join(name).is_file();
    names.split('\0').filter(there).map(str::to_owned).collect()
}

/// Paths and texts of the tracked files whose path has this start and end.
fn files(start: &str, end: &str) -> Vec<(String, String)> {
    let matches = |name: &String| name.starts_with(start) && name.ends_with(end);
    tracked().into_iter().filter(matches).map(|name| (name.clone(), read(&name))).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code without its comments. A `//` inside a string removes too much, but never an import.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The text after each `start` that begins a path, not inside a longer name or path.
fn after<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let inside = |before: char| before.is_alphanumeric() || before == '_' || before == ':';
    code.match_indices(start)
        .filter(move |(at, _)| !code[..*at].ends_with(inside))
        .map(move |(at, _)| &code[at + start.len()..])
}

/// The first path segments after `crate::`, including those of a group.
fn modules(code: &str, krate: &str) -> BTreeSet<String> {
    let word = |text: &str| text.trim().chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect();
    let mut found = BTreeSet::new();
    for rest in after(code, krate) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (at, one) in group.char_indices() {
            match one {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    found.insert(word(&group[start..at]));
                    start = at + 1;
                    if one == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn import_groups_are_parsed() {
    let found = modules("use crate::{a, b::{c, d}, e::f};\nlet x = crate::g::h; my_crate::i;", "crate::");
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "e", "g"]);
}

#[test]
fn imports_point_down() {
    let rank = |module: &str| ORDER.iter().position(|of| *of == module);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files("src/", ".rs").into_iter().filter(|(path, _)| path != "src/lib.rs") {
        let module = path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        let Some(own) = rank(&module) else {
            findings.push(format!("{path}: add the module {module} to ORDER in tests/integration/tidy.rs"));
            continue;
        };
        let code = code(&text);
        for target in modules(&code, "crate::").into_iter().chain(modules(&code, "cloakroom::")) {
            match rank(&target) {
                Some(below) if below >= own => {}
                Some(_) => findings.push(format!(
                    "{path}: {module} imports {target}, which is above it; move what both need to a lower module"
                )),
                None => {
                    findings.push(format!("{path}: {target} is not a module of ORDER; import by the module's path"))
                }
            }
        }
        seen.insert(module);
    }
    let missing = ORDER.iter().filter(|module| !seen.contains(**module));
    findings.extend(missing.map(|module| format!("remove {module} from ORDER: there is no such module")));
    assert_none(&findings);
}

#[test]
fn the_architecture_page_lists_the_modules_in_their_order() {
    let page = read("docs/architecture.md");
    let map = page.split("## Code map").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `src/")?.split(['.', '/', '`']).next());
    assert_eq!(rows.collect::<Vec<_>>(), ORDER, "make the code map of docs/architecture.md and ORDER agree");
}

#[test]
fn some_crates_are_named_in_one_place_only() {
    let mut findings = Vec::new();
    for (path, text) in files("src/", ".rs") {
        let code = code(&text);
        for (start, allowed) in OWNERS {
            if after(&code, start).next().is_some() && !allowed.iter().any(|owner| path.starts_with(owner)) {
                findings.push(format!("{path}: only {} may use {start}; call that module", allowed.join(" and ")));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn the_devkit_never_imports_the_product() {
    let mut findings = Vec::new();
    for (path, text) in files("devkit/", ".rs") {
        if after(&code(&text), "cloakroom::").next().is_some() {
            findings.push(format!("{path}: write separate code; a stand-in that shares code shares its bugs"));
        }
    }
    if dependencies("devkit/Cargo.toml").contains("cloakroom") {
        findings.push("devkit/Cargo.toml: remove the dependency on cloakroom".to_owned());
    }
    assert_none(&findings);
}

/// Compares the text between two markers of a page with the table from the code, or with `UPDATE_DOCS` replaces it.
#[track_caller]
fn assert_generated(page: &str, marker: &str, table: &str) {
    let (begin, end) = (format!("<!-- {marker} -->"), format!("<!-- /{marker} -->"));
    let text = read(page);
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (found, rest)) = parts.unwrap_or_else(|| panic!("{page}: restore {begin} and {end}"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = format!("{before}{begin}\n{table}{end}{rest}");
        fs::write(Path::new(ROOT).join(page), updated).unwrap();
    } else {
        assert_eq!(found.trim(), table.trim(), "{page} differs from the code; run {REFRESH}");
    }
}

/// The same for a file that is generated as a whole.
#[track_caller]
fn assert_generated_file(path: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(Path::new(ROOT).join(path), text).unwrap();
    } else {
        assert_eq!(read(path), text, "{path} differs from the code; run {REFRESH}");
    }
}

#[test]
fn the_table_of_settings_matches_the_code() {
    assert_generated("docs/configuration.md", "settings", &documentation());
}

#[test]
fn the_table_of_errors_matches_the_code() {
    let mut table = "| status | code | title | `Retry-After` | signing in helps |\n|---|---|---|---|---|\n".to_owned();
    let mut all: Vec<_> = Error::ALL.iter().map(Error::facts).collect();
    all.sort_by_key(|facts| (facts.status.as_u16(), facts.code));
    for facts in all {
        let retry = facts.retry_after.map_or("–".to_owned(), |seconds| format!("{seconds} s"));
        let login = if facts.login_helps { "yes: `login_url`" } else { "–" };
        let (status, code, title) = (facts.status.as_u16(), facts.code, facts.title);
        table += &format!("| {status} | `{code}` | {title} | {retry} | {login} |\n");
    }
    assert_generated("docs/errors.md", "errors", &table);
}

#[test]
fn the_table_of_sign_in_errors_is_generated() {
    let mut table = "| `auth_error` | meaning | what the page should do |\n|---|---|---|\n".to_owned();
    for facts in AuthError::ALL.map(AuthError::facts) {
        table += &format!("| `{}` | {} | {} |\n", facts.code, facts.meaning, facts.advice);
    }
    assert_generated("docs/errors.md", "sign-in-errors", &table);
}

/// The codes of a page's two kinds of errors, by the name of their table in `messages.js`.
fn codes() -> [(&'static str, &'static str, BTreeSet<&'static str>); 2] {
    [
        (
            "SIGN_IN",
            "Values of `auth_error`: why a sign-in failed.",
            AuthError::ALL.iter().map(|error| error.code()).collect(),
        ),
        (
            "GATEWAY",
            "Values of `Cloakroom-Error`: why the gateway itself responded to a call with an error.",
            Error::ALL.iter().map(|error| error.facts().code).collect(),
        ),
    ]
}

#[test]
fn the_clients_list_of_codes_is_generated() {
    let mut text = format!("// All error codes of the gateway. Generated: {REFRESH}\n");
    for (name, comment, codes) in codes() {
        let lines: String = codes.iter().map(|code| format!("  '{code}',\n")).collect();
        text += &format!("\n/** {comment} */\nexport const {name}_CODES = /** @type {{const}} */ ([\n{lines}]);\n");
    }
    assert_generated_file("web/dist/codes.js", &text);
}

#[test]
fn the_sample_page_has_a_text_for_every_code() {
    let messages = read("web/dist/messages.js");
    let mut findings = Vec::new();
    for (name, _, codes) in codes() {
        let table = messages.split(&format!("const {name} = {{")).nth(1).and_then(|rest| rest.split("\n};").next());
        let table = table.unwrap_or_else(|| panic!("web/dist/messages.js: restore the table {name}"));
        let texts: BTreeSet<&str> =
            table.lines().filter_map(|line| line.trim().split_once(": '")).map(|(code, _)| code).collect();
        findings.extend(codes.difference(&texts).map(|code| format!("add a text for {code} to {name}")));
        findings.extend(texts.difference(&codes).map(|code| format!("remove {code} from {name}: no such code")));
    }
    assert_none(&findings.iter().map(|what| format!("web/dist/messages.js: {what}")).collect::<Vec<_>>());
}

#[test]
fn the_example_error_in_the_docs_matches_the_code() {
    let page = read("docs/errors.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let example: Value = serde_json::from_str(example).unwrap();
    let facts = Error::ALL.iter().map(Error::facts).find(|facts| example["code"] == facts.code).unwrap();
    assert_eq!(example["title"], facts.title, "docs/errors.md: update the example");
    assert_eq!(example["status"], facts.status.as_u16(), "docs/errors.md: update the example");
}

#[test]
fn every_log_event_is_documented() {
    let page = read("docs/operations.md");
    let mut findings = Vec::new();
    for (path, text) in files("src/", ".rs") {
        for event in code(&text).split("event = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            if !page.contains(&format!("`{event}`")) {
                findings.push(format!("{path}: list the event {event} in docs/operations.md, Logs"));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn every_setting_cited_in_docs_exists() {
    let table = documentation();
    let known: BTreeSet<&str> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let name = |text: &str| -> String {
        text.chars().take_while(|one| one.is_ascii_uppercase() || one.is_ascii_digit() || *one == '_').collect()
    };
    let docs = pages();
    let mut findings = Vec::new();
    let parameters = read("infra/main.bicepparam");
    for (path, text) in &docs {
        for word in quoted(text).filter(|word| name(word) == **word && word.contains('_') && *word != "_") {
            let others = OTHER_VARIABLES.contains(&word)
                || word.starts_with("AZURE_")
                || parameters.contains(&format!("readEnvironmentVariable('{word}'"));
            if !known.contains(word) && !others && !word.starts_with("CLOAKROOM_") {
                findings.push(format!("{path}: `{word}` is not a setting; correct the name"));
            }
        }
    }
    for (path, text) in docs.into_iter().chain(files("local.settings", "")).chain(files("devkit/", ".rs")) {
        for rest in text.split("CLOAKROOM_").skip(1).map(name).filter(|rest| !rest.is_empty()) {
            if !known.contains(rest.as_str()) {
                findings.push(format!("{path}: CLOAKROOM_{rest} is not a setting; correct the name"));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for (path, text) in files("src/", ".rs") {
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            findings.push(format!("{path} has {lines} lines, more than {MAX_FILE_LINES}; split it by concept"));
        }
    }
    assert_none(&findings);
}

#[test]
fn there_are_no_open_tasks_and_no_disabled_checks() {
    // Split in two, because this file is checked as well.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimplemented", "!"), concat!("to", "do!")];
    let bare_ignore = concat!("#[ign", "ore]");
    let allow = ["#[allow(", "#![allow("];
    let mut findings = Vec::new();
    for (path, text) in files("", ".rs") {
        for (number, line) in (1..).zip(text.lines()) {
            let mut report = |what: String| findings.push(format!("{path}:{number}: {what}"));
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                report(format!("{mark}: do it now, or list it under \"State\" in README.md"));
            }
            if line.contains(bare_ignore) {
                report("run the test, or give a reason: #[ignore = \"…\"]".to_owned());
            }
            let product = path.starts_with("src/") || path.starts_with("devkit/src/");
            if product && allow.iter().any(|attribute| line.trim_start().starts_with(attribute)) {
                report("write #[expect(…, reason = \"…\")] instead".to_owned());
            }
        }
    }
    assert_none(&findings);
}

/// The gateway writes its log in the background: a line may follow the response to the request that caused it.
#[test]
fn tests_wait_for_lines_of_the_log() {
    let mut findings = Vec::new();
    for (path, text) in files("tests/integration/", ".rs") {
        for (number, line) in (1..).zip(text.lines().map(str::trim_start)) {
            let expects =
                (line.starts_with("assert!(") && !line.starts_with("assert!(!") && line.contains(".log().contains("))
                    || (line.starts_with("assert_eq!(") && line.contains(".log().matches("));
            if expects && !line.contains("self.log()") {
                findings.push(format!("{path}:{number}: use wait_for_log or wait_for_log_count"));
            }
        }
    }
    assert_none(&findings);
}

/// How many tasks of a file belong to no request.
const TASKS_OF_NO_REQUEST: &[(&str, usize)] = &[
    ("src/app.rs", 6),
    ("src/auth/callback_dedup.rs", 1),
    ("src/auth/limited_log.rs", 1),
    ("src/places/unread.rs", 1),
    ("src/server.rs", 1),
    ("src/server/request_body.rs", 2),
    ("src/server/threads.rs", 1),
    ("src/store/cookie.rs", 1),
    ("src/store/redis.rs", 1),
    ("src/store/redis/client/connection.rs", 2),
    ("src/store/redis/client/link.rs", 1),
    ("src/upstream/pool.rs", 2),
];

/// Contract 20.4: what a task logs has the trace id of the request that started it.
#[test]
fn tasks_belong_to_the_request_that_starts_them() {
    const STARTS: [&str; 4] = ["tokio::spawn(", "runtime.spawn(", "tasks.spawn(", "background.spawn("];
    let mut found = Vec::new();
    for (path, text) in files("src/", ".rs") {
        if path.contains("tests") || path == "src/telemetry/request.rs" {
            continue;
        }
        let code = code(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default());
        let started: usize = STARTS.iter().map(|start| code.matches(start).count()).sum();
        let of_requests = code.matches("in_current_request(").count();
        let of_none = TASKS_OF_NO_REQUEST.iter().find(|(file, _)| *file == path).map_or(0, |(_, count)| *count);
        if started != of_requests + of_none {
            found.push(format!(
                "{path}: {started} tasks, {of_requests} in_current_request, {of_none} in TASKS_OF_NO_REQUEST"
            ));
        }
    }
    assert_none(&found);
}

#[test]
fn no_file_contains_an_absolute_path_of_a_machine() {
    let inside = |before: u8| before.is_ascii_alphanumeric() || b"_.*-}/".contains(&before);
    let mut findings = Vec::new();
    for path in tracked() {
        let bytes = fs::read(Path::new(ROOT).join(&path)).unwrap();
        for folder in ["home", "root", "tmp", "work", "Users"].map(|name| format!("/{name}/")) {
            let mut matches = memchr::memmem::find_iter(&bytes, &folder);
            if matches.any(|at| at == 0 || !inside(bytes[at - 1])) {
                findings.push(format!("{path}: write the path under {folder} relative to the project"));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn scripts_are_executable() {
    let listed = Command::new("git").args(["ls-files", "-s", ".ci/run", "infra/hooks/*.sh"]).current_dir(ROOT).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let scripts: Vec<_> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(scripts.len() > 3, "git lists no scripts; update their paths in this test");
    let plain = scripts.iter().filter(|(mode, _)| !mode.starts_with("100755"));
    assert_none(&plain.map(|(_, path)| format!("git update-index --chmod=+x {path}")).collect::<Vec<_>>());
}

#[test]
fn functions_are_anonymous_and_leave_methods_to_the_gateway() {
    let mut findings = Vec::new();
    for (path, text) in files("", "/function.json") {
        let folder = path.trim_end_matches("/function.json");
        let function: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let bindings = function["bindings"].as_array().cloned().unwrap_or_default();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                findings.push(format!("{path}: {what}"));
            }
        };
        let Some((_, route)) = FUNCTIONS.iter().find(|(name, _)| *name == folder) else {
            expect(false, "add the function to FUNCTIONS in tests/integration/tidy.rs, or remove it");
            continue;
        };
        let Some(route) = route else {
            expect(bindings.len() == 1 && bindings[0]["type"] == "timerTrigger", "keep the timer as its only binding");
            // Contract 6.25: the name is part of an app setting's name, AzureWebJobs.<name>.Disabled.
            let settable = folder.chars().all(|one| one.is_ascii_alphanumeric() || one == '_' || one == '.');
            expect(settable, "name it with letters, digits, `.` and `_`, or it cannot be disabled on Linux");
            continue;
        };
        let types: Vec<_> = bindings.iter().map(|binding| (&binding["type"], &binding["direction"])).collect();
        let plain = types == [(&"httpTrigger".into(), &"in".into()), (&"http".into(), &"out".into())];
        expect(plain, "keep one httpTrigger (in) and one http (out); with others the host sends payloads");
        let trigger = bindings.first().cloned().unwrap_or_default();
        expect(trigger["authLevel"] == "anonymous", "set \"authLevel\": \"anonymous\"; the default is function");
        expect(trigger["route"] == **route, &format!("set the route to {route}"));
        let methods = if folder == "spa" { serde_json::json!(["get", "head"]) } else { Value::Null };
        expect(trigger["methods"] == methods, "omit methods (spa: get, head); the host responds to others with 404");
    }
    assert_none(&findings);
}

#[test]
fn host_json_enables_both_modes_and_samples_no_line_of_the_gateway() {
    let host: Value = serde_json::from_str(&read("host.json")).unwrap();
    assert_eq!(host["extensions"]["http"]["routePrefix"], "", "host.json: keep routePrefix empty");
    let protections = serde_json::json!({"Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"});
    assert_eq!(
        host["extensions"]["http"]["customHeaders"], protections,
        "host.json: keep the headers of what the host answers by itself (contract 3.9a)"
    );
    for flag in ["enableForwardingHttpRequest", "enableProxyingHttpRequest"] {
        assert_eq!(host["customHandler"][flag], true, "host.json: keep {flag} true, otherwise the host sends payloads");
    }
    let levels = serde_json::json!({"default": "Warning", "Host.Function.Console": "Information",
        "Host.Results": "Information", "Host.Startup": "Information"});
    assert_eq!(
        host["logging"]["logLevel"], levels,
        "host.json: the gateway's lines and requests, but no line per call"
    );
    let sampled = &host["logging"]["applicationInsights"]["samplingSettings"];
    assert_eq!(
        sampled["excludedTypes"], "Trace;Exception",
        "host.json: traces are the gateway's lines, which alerts count, so exclude them from sampling; not requests"
    );
}

/// The lines of a page with their numbers, without code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The anchors that GitHub generates for the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let kept = |one: &char| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_');
    let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>();
    headings.map(|(_, line)| slug(line).replace(' ', "-")).collect()
}

#[test]
fn links_between_docs_resolve() {
    let mut findings = Vec::new();
    for (path, text) in files("", ".md") {
        let folder = Path::new(ROOT).join(&path).parent().unwrap().to_owned();
        for (number, line) in prose(&text) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { Path::new(ROOT).join(&path) } else { folder.join(file) };
                let page = if anchor.is_empty() { None } else { fs::read_to_string(&file).ok() };
                if !file.exists() || page.is_some_and(|page| !anchors(&page).contains(anchor)) {
                    findings.push(format!("{path}:{number}: {target} does not exist; correct the link"));
                }
            }
        }
    }
    assert_none(&findings);
}

/// The dependencies of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut listed = false;
    for line in read(manifest).lines() {
        if let Some(section) = line.strip_prefix('[') {
            listed = section.trim_end().ends_with("dependencies]");
        } else if listed && let Some((name, _)) = line.split_once('=') {
            found.insert(name.trim().to_owned());
        }
    }
    found
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture_page() {
    let page = read("docs/architecture.md");
    let table = page.split("## Dependencies").nth(1).and_then(|rest| rest.split("\n### ").next()).unwrap_or_default();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    let manifests = ["Cargo.toml", "devkit/Cargo.toml", "benches/Cargo.toml", "models/Cargo.toml"];
    let mut used: BTreeSet<String> = manifests.into_iter().flat_map(dependencies).collect();
    used.remove("cloakroom");
    let missing = (&used - &explained).into_iter().map(|name| format!("add a row with the reason for {name}"));
    let stale = (&explained - &used).into_iter().map(|name| format!("remove {name}, it is not a dependency"));
    assert_none(
        &missing.chain(stale).map(|what| format!("docs/architecture.md, Dependencies: {what}")).collect::<Vec<_>>(),
    );
}

#[test]
fn every_test_cited_in_docs_exists() {
    let names = |keyword: &str, text: &str| -> BTreeSet<String> {
        let rest = text.split(keyword).skip(1);
        rest.map(|rest| rest.chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect()).collect()
    };
    let mut existing: BTreeSet<String> = files("", ".rs").iter().flat_map(|(_, text)| names("fn ", text)).collect();
    existing.extend(files("tests/peers", ".py").iter().flat_map(|(_, text)| names("def ", text)));
    let test_name = |word: &&str| {
        // Crates of the Azure SDK and a parameter of OpenID Connect have names as long as those of tests.
        !word.starts_with("azure_")
            && *word != "post_logout_redirect_uri"
            && word.matches('_').count() > 2
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let mut findings = Vec::new();
    for (path, text) in pages() {
        for word in quoted(&text).filter(test_name) {
            if !existing.contains(word) {
                findings.push(format!("{path}: there is no test {word}; cite the test that proves this now"));
            }
        }
    }
    assert_none(&findings);
}

/// The pages of the docs: all of `docs/`, and those in the root folder.
fn pages() -> Vec<(String, String)> {
    let mut pages = files("", ".md");
    pages.retain(|(path, _)| path.starts_with("docs/") || !path.contains('/'));
    pages
}

#[test]
fn every_path_cited_in_docs_exists() {
    let mut findings = Vec::new();
    for (path, text) in pages() {
        for (number, line) in prose(&text) {
            let first_words = quoted(line).filter_map(|text| text.split(' ').next());
            let is_path =
                |word: &&str| ["src/", "devkit/", "tests/", "infra/"].iter().any(|start| word.starts_with(start));
            for word in first_words.filter(is_path) {
                if !Path::new(ROOT).join(word).exists() {
                    findings.push(format!("{path}:{number}: {word} does not exist; cite the file that replaced it"));
                }
            }
        }
    }
    assert_none(&findings);
}

/// Each row of "Where to find it" has a question, files, and names to start at, which one of the files declares.
#[test]
fn the_table_where_to_find_it_names_what_exists() {
    let page = read("docs/architecture.md");
    let table =
        page.split("## Where to find it").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows: Vec<Vec<&str>> =
        table.lines().skip(4).map(|row| row.split('|').collect()).filter(|row: &Vec<_>| row.len() == 5).collect();
    assert!(rows.len() > 10, "docs/architecture.md: restore the table \"Where to find it\"");
    let mut findings = Vec::new();
    for row in rows {
        let texts: Vec<String> =
            quoted(row[2]).filter_map(|file| fs::read_to_string(Path::new(ROOT).join(file)).ok()).collect();
        for name in quoted(row[3]).filter(|name| !texts.iter().any(|text| declares(text, name))) {
            findings
                .push(format!("docs/architecture.md, Where to find it:{}declares no {name}; update the row", row[2]));
        }
    }
    assert_none(&findings);
}

/// The parts of a line between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether Rust code declares an item of this name.
fn declares(text: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"].iter().any(|kind| {
        let declaration = format!("{kind} {name}");
        text.match_indices(&declaration).any(|(at, _)| {
            !text[at + declaration.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

/// A line of code without its string literals, which the formatter cannot break.
fn without_strings(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect()
}

#[test]
fn lines_are_short_and_clean() {
    let mut findings = Vec::new();
    let mut check = |path: &str, number: usize, line: &str, long: bool| {
        let mut report = |what: &str| findings.push(format!("{path}:{number}: {what}"));
        if line.ends_with(' ') {
            report("remove the trailing space");
        }
        if line.contains('\t') {
            report("write spaces instead of the tab");
        }
        if long {
            report("break the line before 120 characters");
        }
    };
    for (path, text) in files("", ".rs") {
        let mut in_text = false;
        for (number, line) in (1..).zip(text.lines()) {
            // A string literal of several lines is text, not code.
            let literal = in_text;
            in_text ^= line.replace("\\\"", "").replace("'\"'", "").matches('"').count() % 2 == 1;
            let long = !literal && !in_text && without_strings(line).chars().count() > MAX_LINE_CHARS;
            check(&path, number, line, long);
        }
    }
    for (path, text) in files("", ".md") {
        let prose_lines: BTreeSet<usize> = prose(&text).map(|(number, _)| number).collect();
        for (number, line) in (1..).zip(text.lines()) {
            let free = line.starts_with('|') || !prose_lines.contains(&number);
            check(&path, number, line, !free && line.chars().count() > MAX_LINE_CHARS);
        }
    }
    assert_none(&findings);
}
