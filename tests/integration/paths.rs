//! Hostile request targets: an API gets exactly the expected bytes under its base, or nothing (contract 10.2a to 10.6).
//!
//! The expectation comes from a separate reference, written from the contract and not from the product's code.

mod corpus;

use devkit::graph::{Graph, GraphOptions};
use devkit::host::{Mode, handler_target};
use serde_json::json;

use crate::app::{Reach, TestApp, every_reach};
use crate::raw;

/// The expected result of a target.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// The API gets this target.
    Forwarded(String),
    /// The API gets this target, or the HTTP parser rejects it as no valid URL.
    ForwardedOrRejected(String),
    /// No API gets a request.
    Rejected,
}

/// The result that contract section 10 requires: all of `/graph` may be called, of `/api/other` only `/secret`. What is
/// forwarded includes the name of the API.
fn expected_of(target: &str) -> Expected {
    // A fragment is not part of a request target; if the parser accepts it, it ends the target.
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let under = |route: &str| path.strip_prefix(route).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let found = under("/graph").map(|rest| ("graph", rest)).or(under("/api/other").map(|rest| ("other", rest)));
    let Some((api, rest)) = found.filter(|(_, rest)| every_form_is_harmless(rest.as_bytes())) else {
        return Expected::Rejected;
    };
    if api == "other" && forms(rest.as_bytes()).pop().unwrap() != b"/secret" {
        return Expected::Rejected;
    }
    let rest = if rest == "/" { "" } else { rest };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let passed = format!("{api} /v1.0{rest}{query}");
    if is_valid_for_every_parser(target) { Expected::Forwarded(passed) } else { Expected::ForwardedOrRejected(passed) }
}

/// Whether every HTTP parser accepts a target, by RFC 3986 and by its length.
fn is_valid_for_every_parser(target: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    target.bytes().all(known) && target.len() < 30_000
}

/// The expected result behind a host, which changes targets.
fn expected_through(mode: Mode, target: &str) -> Expected {
    // The host rejects an absolute target whose host is not that of the request.
    if !target.starts_with('/') && target.contains("://") && !target.starts_with("http://localhost/") {
        return Expected::Rejected;
    }
    // It accepts 8 KiB of request line.
    if target.len() + "GET  HTTP/1.1\r\n".len() > 8 * 1_024 {
        return Expected::Rejected;
    }
    match handler_target(mode, target).map_or(Expected::Rejected, |seen| expected_of(&seen)) {
        Expected::Forwarded(passed) if !is_valid_for_every_parser(target) => Expected::ForwardedOrRejected(passed),
        expected => expected,
    }
}

/// A path, and the results of decoding it one to four times.
fn forms(path: &[u8]) -> Vec<Vec<u8>> {
    std::iter::successors(Some(path.to_vec()), |form| Some(decoded(form))).take(5).collect()
}

/// Checks a path and everything that servers could decode it to; more than three decodings are rejected.
fn every_form_is_harmless(path: &[u8]) -> bool {
    let escapes = path.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let valid = escapes.into_iter().all(|(at, _)| hex(path.get(at + 1)) && hex(path.get(at + 2)));
    let forms = forms(path);
    let slashes = |form: &[u8]| form.iter().filter(|byte| **byte == b'/').count();
    let harmless = |form: &Vec<u8>| {
        let odd = form.iter().any(|byte| *byte < 0x20 || *byte == 0x7F || *byte == b'\\');
        let climbs = form.split(|byte| *byte == b'/').any(|segment| {
            let name = segment.split(|byte| *byte == b';').next().unwrap();
            // Some servers trim spaces, or fold dots of other scripts.
            let name: String = String::from_utf8_lossy(name).chars().filter(|of| !of.is_whitespace()).collect();
            let name = name.replace(['\u{2024}', '\u{ff0e}'], ".").replace('\u{2025}', "..");
            name == "." || name == ".."
        });
        !odd && !climbs && slashes(form) == slashes(path)
    };
    valid && forms[3] == forms[4] && forms.iter().all(harmless) && std::str::from_utf8(&forms[4]).is_ok()
}

fn decoded(form: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < form.len() {
        let digits =
            form.get(at + 1..at + 3).filter(|digits| form[at] == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        match digits {
            Some(digits) => {
                out.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                at += 3;
            }
            None => {
                out.push(form[at]);
                at += 1;
            }
        }
    }
    out
}

/// Whether a server that decodes repeatedly, treats `\` as `/` and drops parameters stays under the base.
fn stays_under_the_base(target: &str) -> bool {
    let mut path = target.split('?').next().unwrap().as_bytes().to_vec();
    (0..6).all(|_| {
        let text = String::from_utf8_lossy(&path).replace('\\', "/");
        let mut depth = 0_i32;
        let under = text.strip_prefix("/v1.0").is_some_and(|rest| {
            (rest.is_empty() || rest.starts_with('/'))
                && rest.split('/').skip(1).all(|segment| {
                    match segment.split(';').next().unwrap() {
                        ".." => depth -= 1,
                        "." | "" => {}
                        _ => depth += 1,
                    }
                    depth >= 0
                })
        });
        path = decoded(&path);
        under
    })
}

/// A gateway with Graph, all of which may be called, and another API, whose stand-in is also the other host in the
/// targets.
async fn start(reach: Reach) -> (TestApp, Graph) {
    let other = Graph::start(GraphOptions::new("http://127.0.0.1:9/none")).await.unwrap();
    let entry = json!({"base": other.base(), "scopes": ["api://orders/Orders.Read"], "allow": ["GET /secret"]});
    let builder = TestApp::builder().reach(reach).set("SPA", "none");
    let builder = builder.graph_entry(json!({"allow": ["* /**"]})).other_apis(json!({"other": entry}));
    (builder.start().await, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_target_reaches_another_host_prefix_or_api() {
    let mut forwarded = 0;
    let mut findings = Vec::new();
    for reach in every_reach() {
        let (app, other) = start(reach).await;
        let visitor = app.signed_in("ada.lovelace@contoso.example").await;
        let pid = app.pid();
        let head = format!(
            "Host: localhost\r\nCookie: {}\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\n\r\n",
            visitor.cookie_header()
        );
        // A host responds to other methods than GET itself (contract 3.31).
        let methods = ["GET", "POST", "DELETE"].into_iter().take(if reach == Reach::Direct { 3 } else { 1 });
        for method in methods {
            let response = app.visitor().send(method, "/nothing", &[("accept", "application/json")], "").await;
            assert_eq!((response.status, response.code()), (404, "route_denied"), "contract 12.12: {reach:?} {method}");
        }
        let mut connection = raw::Wire::to(app.port);
        let targets = corpus::targets(&other.addr().to_string());
        assert!(targets.len() >= 300, "{}", targets.len());
        for target in &targets {
            app.graph.clear_requests();
            other.clear_requests();
            if reach != Reach::Direct {
                // The stand-in checks as strictly as the host only what comes first on a connection.
                connection = raw::Wire::to(app.port);
            }
            let response = connection.exchange(format!("GET {target} HTTP/1.1\r\n{head}").as_bytes());
            let received = [sent_on("graph", &app.graph), sent_on("other", &other)].concat();
            let expected = match reach {
                Reach::Direct => expected_of(target),
                Reach::Host(mode) => expected_through(mode, target),
            };
            if let Some(finding) = finding(&expected, &received, &response) {
                findings.push(format!("{reach:?} {target:.200}: {finding}"));
            }
            forwarded += received.len();
        }
        assert_eq!(app.pid(), pid, "{reach:?}");
    }
    assert!(findings.is_empty(), "{} of them\n{}", findings.len(), findings.join("\n"));
    let least = 70 * every_reach().len();
    assert!(forwarded > least, "the corpus has valid paths too: {forwarded}");
}

/// The targets that an API received, with its name. The record has one character per byte.
fn sent_on(name: &str, api: &Graph) -> Vec<String> {
    let text =
        |target: &str| String::from_utf8(target.chars().map(|one| u8::try_from(one).unwrap()).collect()).unwrap();
    api.requests().iter().map(|request| format!("{name} {}", text(&request.target))).collect()
}

/// The difference between the expectation and what API and client received.
fn finding(expected: &Expected, received: &[String], response: &str) -> Option<String> {
    let rejected = [400, 404, 405, 414, 431].contains(&raw::status(response));
    let fits = match (expected, received) {
        (Expected::Rejected | Expected::ForwardedOrRejected(_), []) => rejected,
        (Expected::Forwarded(target) | Expected::ForwardedOrRejected(target), [one]) => {
            one == target && stays_under_the_base(one.split_once(' ').unwrap().1)
        }
        _ => false,
    };
    (!fits).then(|| format!("expected {expected:?}, received {received:?}: {response}"))
}

#[test]
fn the_reference_recognises_what_leaves_the_base() {
    for target in ["/v1.0", "/v1.0/", "/v1.0/a/../b", "/v1.0//a", "/v1.0/a%2Fb?../../x"] {
        assert!(stays_under_the_base(target), "{target}");
    }
    for target in
        ["/v1.0/..", "/v1.0x", "/v1.0/%2e%2e/x", "/v1.0/..;/x", "/v1.0/%255c..%255c..", "/v1.0/a/%252e%252e/.."]
    {
        assert!(!stays_under_the_base(target), "{target}");
    }
    assert_eq!(expected_of("/graph/me?x=%2e%2e"), Expected::Forwarded("graph /v1.0/me?x=%2e%2e".to_owned()));
    assert_eq!(expected_of("/api/other/%73ecret"), Expected::Forwarded("other /v1.0/%73ecret".to_owned()));
    assert_eq!(expected_of("/api/other/me"), Expected::Rejected);
    assert_eq!(expected_of("/graph/%252e%252e/x"), Expected::Rejected);
    assert_eq!(expected_of("/graphx/me"), Expected::Rejected);
}
