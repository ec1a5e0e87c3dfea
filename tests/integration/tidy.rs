//! What must hold of the files themselves: import arrows, generated tables, names, links and the shape of lines.
//!
//! Every failure is a sentence that says what to do.

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
const ORDER: [&str; 27] = [
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
    "tokens",
    "session",
    "keyring",
    "oidc",
    "jose",
    "api_map",
    "upstream",
    "reply",
    "error",
    "telemetry",
    "net",
    "origin",
    "path",
    "secret",
    "clock",
];
/// What only some files may name: the beginning of a path, and the files or folders where it may stand.
const OWNERS: [(&str, &[&str]); 9] = [
    ("warp::", &["src/server.rs", "src/routes.rs", "src/routes/"]),
    ("hyper::server", &["src/server.rs", "src/routes.rs", "src/routes/"]),
    ("hyper::service", &["src/server.rs", "src/routes.rs", "src/routes/"]),
    ("hyper_util::server", &["src/server.rs", "src/routes.rs", "src/routes/"]),
    ("hyper_util::service", &["src/server.rs", "src/routes.rs", "src/routes/"]),
    ("aes_gcm", &["src/session/seal.rs"]),
    ("jsonwebtoken", &["src/jose.rs", "src/jose/"]),
    ("redis::", &["src/store/redis.rs"]),
    ("azure_", &["src/keyring/key_vault.rs", "src/oidc/client.rs"]),
];
/// The functions, and the route of each; the timer has none.
const FUNCTIONS: [(&str, Option<&str>); 10] = [
    ("api-proxy", Some("api/{name}/{*path}")),
    ("auth-callback", Some("auth/callback")),
    ("auth-login", Some("auth/login")),
    ("auth-logout", Some("auth/logout")),
    ("auth-refresh", Some("auth/refresh")),
    ("auth-session", Some("auth/session")),
    ("graph-proxy", Some("graph/{*path}")),
    ("health", Some("health/{*path}")),
    ("rotate-keys", None),
    ("spa", Some("{*path}")),
];
/// Names in our papers that look like settings of the gateway and are none.
const OTHER_VARIABLES: [&str; 5] =
    ["FUNCTIONS_APP_ROOT_PATH", "FUNCTIONS_CUSTOMHANDLER_PORT", "IDENTITY_ENDPOINT", "SSL_CERT_FILE", "TCP_NODELAY"];
/// Most lines of a file under `src/`.
const LONGEST_FILE: usize = 400;
/// Most characters of a line.
const LONGEST_LINE: usize = 120;
/// The command that rewrites generated tables.
const REFRESH: &str = "UPDATE_DOCS=1 cargo test --test integration tidy";

/// Fails with all complaints at once.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The tracked files, by their path from the root, those deleted but not yet committed left out.
fn tracked() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "git ls-files fails: run the tests in a clone of the repository");
    let names = String::from_utf8(output.stdout).unwrap();
    let there = |name: &&str| !name.is_empty() && Path::new(ROOT).join(name).is_file();
    names.split('\0').filter(there).map(str::to_owned).collect()
}

fn files(beneath: &str, ending: &str) -> Vec<(String, String)> {
    let fits = |name: &String| name.starts_with(beneath) && name.ends_with(ending);
    tracked().into_iter().filter(fits).map(|name| (name.clone(), read(&name))).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code without its comments. A `//` inside a string cuts too much, which hides no import.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whatever follows `start` where that begins a path: not inside a longer name or path.
fn after<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let inside = |before: char| before.is_alphanumeric() || before == '_' || before == ':';
    code.match_indices(start)
        .filter(move |(at, _)| !code[..*at].ends_with(inside))
        .map(move |(at, _)| &code[at + start.len()..])
}

/// The first names behind `crate::`, those of a group included.
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
fn groups_of_imports_are_read() {
    let found = modules("use crate::{a, b::{c, d}, e::f};\nlet x = crate::g::h; my_crate::i;", "crate::");
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "e", "g"]);
}

#[test]
fn imports_point_down() {
    let rank = |module: &str| ORDER.iter().position(|of| *of == module);
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files("src/", ".rs").into_iter().filter(|(path, _)| path != "src/lib.rs") {
        let module = path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        let Some(own) = rank(&module) else {
            complaints
                .push(format!("{path}: give the module {module} its place in ORDER of tests/integration/tidy.rs"));
            continue;
        };
        let code = code(&text);
        for target in modules(&code, "crate::").into_iter().chain(modules(&code, "cloakroom::")) {
            match rank(&target) {
                Some(below) if below >= own => {}
                Some(_) => complaints.push(format!(
                    "{path}: {module} imports {target}, which stands higher; move what both need further down"
                )),
                None => complaints.push(format!("{path}: {target} is no module of ORDER; import by the module's path")),
            }
        }
        seen.insert(module);
    }
    let gone = ORDER.iter().filter(|module| !seen.contains(**module));
    complaints.extend(gone.map(|module| format!("take {module} out of ORDER: there is no such module")));
    none(&complaints);
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
    let mut complaints = Vec::new();
    for (path, text) in files("src/", ".rs") {
        let code = code(&text);
        for (start, allowed) in OWNERS {
            if after(&code, start).next().is_some() && !allowed.iter().any(|place| path.starts_with(place)) {
                complaints.push(format!("{path}: {start} belongs to {}; go through it", allowed.join(" and ")));
            }
        }
    }
    none(&complaints);
}

#[test]
fn the_devkit_never_imports_the_product() {
    let mut complaints = Vec::new();
    for (path, text) in files("devkit/", ".rs") {
        if after(&code(&text), "cloakroom::").next().is_some() {
            complaints.push(format!("{path}: write the stand-in's own; one that shares code shares bugs"));
        }
    }
    if dependencies("devkit/Cargo.toml").contains("cloakroom") {
        complaints.push("devkit/Cargo.toml: take the dependency on cloakroom out".to_owned());
    }
    none(&complaints);
}

/// Compares what stands between two markers of a page with what it should be, or writes that.
#[track_caller]
fn generated(page: &str, marker: &str, table: &str) {
    let (begin, end) = (format!("<!-- {marker} -->"), format!("<!-- /{marker} -->"));
    let text = read(page);
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (found, behind)) = parts.unwrap_or_else(|| panic!("{page}: put {begin} and {end} back"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let fresh = format!("{before}{begin}\n{table}{end}{behind}");
        fs::write(Path::new(ROOT).join(page), fresh).unwrap();
    } else {
        assert_eq!(found.trim(), table.trim(), "{page} differs from the code; refresh it: {REFRESH}");
    }
}

/// The same for a file that is generated as a whole.
#[track_caller]
fn generated_file(path: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(Path::new(ROOT).join(path), text).unwrap();
    } else {
        assert_eq!(read(path), text, "{path} differs from the code; refresh it: {REFRESH}");
    }
}

#[test]
fn the_table_of_settings_is_the_codes() {
    generated("docs/configuration.md", "settings", &documentation());
}

#[test]
fn the_table_of_errors_is_the_codes() {
    let mut table = "| status | code | title | `Retry-After` | signing in helps |\n|---|---|---|---|---|\n".to_owned();
    let mut all: Vec<_> = Error::ALL.iter().map(Error::facts).collect();
    all.sort_by_key(|facts| (facts.status.as_u16(), facts.code));
    for facts in all {
        let retry = facts.retry_after.map_or("–".to_owned(), |seconds| format!("{seconds} s"));
        let login = if facts.login_helps { "yes: `login_url`" } else { "–" };
        let (status, code, title) = (facts.status.as_u16(), facts.code, facts.title);
        table += &format!("| {status} | `{code}` | {title} | {retry} | {login} |\n");
    }
    generated("docs/errors.md", "errors", &table);
}

#[test]
fn the_table_of_sign_in_errors_is_generated() {
    let mut table = "| `auth_error` | meaning | what the page should do |\n|---|---|---|\n".to_owned();
    for facts in AuthError::ALL.map(AuthError::facts) {
        table += &format!("| `{}` | {} | {} |\n", facts.code, facts.meaning, facts.advice);
    }
    generated("docs/errors.md", "sign-in-errors", &table);
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
    generated_file("web/dist/codes.js", &text);
}

#[test]
fn the_sample_page_has_a_text_for_every_code() {
    let messages = read("web/dist/messages.js");
    let mut complaints = Vec::new();
    for (name, _, codes) in codes() {
        let table = messages.split(&format!("const {name} = {{")).nth(1).and_then(|rest| rest.split("\n};").next());
        let table = table.unwrap_or_else(|| panic!("web/dist/messages.js: put the table {name} back"));
        let texts: BTreeSet<&str> =
            table.lines().filter_map(|line| line.trim().split_once(": '")).map(|(code, _)| code).collect();
        complaints.extend(codes.difference(&texts).map(|code| format!("add a text for {code} to {name}")));
        complaints.extend(texts.difference(&codes).map(|code| format!("remove {code} from {name}: no such code")));
    }
    none(&complaints.iter().map(|what| format!("web/dist/messages.js: {what}")).collect::<Vec<_>>());
}

#[test]
fn every_setting_that_is_named_exists() {
    let table = documentation();
    let known: BTreeSet<&str> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let name = |text: &str| -> String {
        text.chars().take_while(|one| one.is_ascii_uppercase() || one.is_ascii_digit() || *one == '_').collect()
    };
    let mut papers = files("", ".md");
    papers.retain(|(path, _)| path.starts_with("docs/") || !path.contains('/'));
    let mut complaints = Vec::new();
    for (path, text) in &papers {
        for word in text.split('`').skip(1).step_by(2).filter(|word| name(word) == **word && word.contains('_')) {
            let others = OTHER_VARIABLES.contains(&word) || word.starts_with("AZURE_");
            if !known.contains(word) && !others && !word.starts_with("CLOAKROOM_") {
                complaints.push(format!("{path}: `{word}` is no setting; name one that exists"));
            }
        }
    }
    for (path, text) in papers.into_iter().chain(files("local.settings", "")).chain(files("devkit/", ".rs")) {
        for rest in text.split("CLOAKROOM_").skip(1).map(name).filter(|rest| !rest.is_empty()) {
            if !known.contains(rest.as_str()) {
                complaints.push(format!("{path}: CLOAKROOM_{rest} is no setting; name one that exists"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for (path, text) in files("src/", ".rs") {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            complaints.push(format!("{path} has {lines} lines; split it by concept"));
        }
    }
    none(&complaints);
}

#[test]
fn nothing_is_left_for_later_or_switched_off() {
    // Written in halves, as this file is looked at too.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimplemented", "!"), concat!("to", "do!")];
    let bare_ignore = concat!("#[ign", "ore]");
    let allow = ["#[allow(", "#![allow("];
    let mut complaints = Vec::new();
    for (path, text) in files("", ".rs") {
        for (number, line) in (1..).zip(text.lines()) {
            let mut complain = |what: String| complaints.push(format!("{path}:{number}: {what}"));
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                complain(format!("{mark}: do it now, or write it under \"State\" in README.md"));
            }
            if line.contains(bare_ignore) {
                complain("run the test, or give the reason: #[ignore = \"…\"]".to_owned());
            }
            let product = path.starts_with("src/") || path.starts_with("devkit/src/");
            if product && allow.iter().any(|attribute| line.trim_start().starts_with(attribute)) {
                complain("write #[expect(…, reason = \"…\")] instead".to_owned());
            }
        }
    }
    none(&complaints);
}

#[test]
fn no_path_of_a_machine_is_in_a_file() {
    let inside = |before: u8| before.is_ascii_alphanumeric() || b"_.*-}/".contains(&before);
    let mut complaints = Vec::new();
    for path in tracked() {
        let bytes = fs::read(Path::new(ROOT).join(&path)).unwrap();
        for folder in ["home", "root", "tmp", "work", "Users"].map(|name| format!("/{name}/")) {
            let mut places = memchr::memmem::find_iter(&bytes, &folder);
            if places.any(|at| at == 0 || !inside(bytes[at - 1])) {
                complaints.push(format!("{path}: write the path beneath {folder} relative to the project"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn scripts_are_executable() {
    let listed = Command::new("git").args(["ls-files", "-s", ".ci/run", "infra/hooks/*.sh"]).current_dir(ROOT).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let scripts: Vec<_> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(scripts.len() > 3, "git lists no scripts: name where they are now");
    let plain = scripts.iter().filter(|(mode, _)| !mode.starts_with("100755"));
    none(&plain.map(|(_, path)| format!("git update-index --chmod=+x {path}")).collect::<Vec<_>>());
}

#[test]
fn functions_are_anonymous_and_leave_methods_to_the_gateway() {
    let mut complaints = Vec::new();
    for (path, text) in files("", "/function.json") {
        let folder = path.trim_end_matches("/function.json");
        let function: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let bindings = function["bindings"].as_array().cloned().unwrap_or_default();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{path}: {what}"));
            }
        };
        let Some((_, route)) = FUNCTIONS.iter().find(|(name, _)| *name == folder) else {
            expect(false, "add the function to FUNCTIONS of tests/integration/tidy.rs, or remove it");
            continue;
        };
        let Some(route) = route else {
            expect(bindings.len() == 1 && bindings[0]["type"] == "timerTrigger", "keep the timer as its only binding");
            continue;
        };
        let types: Vec<_> = bindings.iter().map(|binding| (&binding["type"], &binding["direction"])).collect();
        let plain = types == [(&"httpTrigger".into(), &"in".into()), (&"http".into(), &"out".into())];
        expect(plain, "keep one httpTrigger in and one http out; with others the host sends payloads");
        let trigger = bindings.first().cloned().unwrap_or_default();
        expect(trigger["authLevel"] == "anonymous", "say \"authLevel\": \"anonymous\"; the default is function");
        expect(trigger["route"] == **route, &format!("make the route {route}"));
        let methods = if folder == "spa" { serde_json::json!(["get", "head"]) } else { Value::Null };
        expect(trigger["methods"] == methods, "leave methods out (spa: get, head); the host answers others by 404");
    }
    none(&complaints);
}

#[test]
fn the_host_is_told_to_pass_requests_on_as_they_are() {
    let host: Value = serde_json::from_str(&read("host.json")).unwrap();
    assert_eq!(host["extensions"]["http"]["routePrefix"], "", "host.json: keep routePrefix empty");
    for flag in ["enableForwardingHttpRequest", "enableProxyingHttpRequest"] {
        assert_eq!(host["customHandler"][flag], true, "host.json: keep {flag} true, else requests come as payloads");
    }
    let sampled = &host["logging"]["applicationInsights"]["samplingSettings"];
    assert_eq!(
        sampled["excludedTypes"], "Request;Trace;Exception",
        "host.json: alerts count these, so keep all of them"
    );
}

/// The lines of a page with their numbers, without those of code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let kept = |one: &char| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_');
    let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>();
    headings.map(|(_, line)| slug(line).replace(' ', "-")).collect()
}

#[test]
fn links_to_our_own_files_resolve() {
    let mut complaints = Vec::new();
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
                    complaints.push(format!("{path}:{number}: {target} leads nowhere; mend the link"));
                }
            }
        }
    }
    none(&complaints);
}

/// The crates that a manifest names.
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
    let table = page.split("## Dependencies").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    let manifests = ["Cargo.toml", "devkit/Cargo.toml", "benches/Cargo.toml"];
    let mut used: BTreeSet<String> = manifests.into_iter().flat_map(dependencies).collect();
    used.remove("cloakroom");
    let missing = (&used - &explained).into_iter().map(|name| format!("give the reason for {name}"));
    let stale = (&explained - &used).into_iter().map(|name| format!("take {name} out, nothing uses it"));
    none(&missing.chain(stale).map(|what| format!("docs/architecture.md, Dependencies: {what}")).collect::<Vec<_>>());
}

#[test]
fn every_test_that_the_papers_cite_exists() {
    let names = |text: &str| -> BTreeSet<String> {
        let rest = text.split("fn ").skip(1);
        rest.map(|rest| rest.chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect()).collect()
    };
    let existing: BTreeSet<String> = files("", ".rs").iter().flat_map(|(_, text)| names(text)).collect();
    let test_name = |word: &&str| {
        // Names of the SDK's crates are as long as sentences.
        !word.starts_with("azure_")
            && word.matches('_').count() > 2
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let mut complaints = Vec::new();
    for path in ["docs/architecture.md", "docs/threats.md"] {
        for word in read(path).split('`').skip(1).step_by(2).filter(test_name) {
            if !existing.contains(word) {
                complaints.push(format!("{path}: there is no test {word}; cite the one that proves it now"));
            }
        }
    }
    none(&complaints);
}

/// A line of code without what its string literals hold: those cannot be broken by the formatter.
fn without_strings(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect()
}

#[test]
fn lines_are_short_and_clean() {
    let mut complaints = Vec::new();
    let mut judge = |path: &str, number: usize, line: &str, long: bool| {
        let mut complain = |what: &str| complaints.push(format!("{path}:{number}: {what}"));
        if line.ends_with(' ') {
            complain("remove the trailing space");
        }
        if line.contains('\t') {
            complain("write spaces instead of the tab");
        }
        if long {
            complain("break the line before 120 characters");
        }
    };
    for (path, text) in files("", ".rs") {
        let mut in_text = false;
        for (number, line) in (1..).zip(text.lines()) {
            // A string over several lines is text, not code.
            let literal = in_text;
            in_text ^= line.replace("\\\"", "").replace("'\"'", "").matches('"').count() % 2 == 1;
            let long = !literal && !in_text && without_strings(line).chars().count() > LONGEST_LINE;
            judge(&path, number, line, long);
        }
    }
    for (path, text) in files("", ".md") {
        let prose_lines: BTreeSet<usize> = prose(&text).map(|(number, _)| number).collect();
        for (number, line) in (1..).zip(text.lines()) {
            let free = line.starts_with('|') || !prose_lines.contains(&number);
            judge(&path, number, line, !free && line.chars().count() > LONGEST_LINE);
        }
    }
    none(&complaints);
}
