//! Microsoft's own Graph client in the browser, through `web/dist/graph-middleware.js`: see `tests/peers/graph-client`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devkit::commands::stack::free_port;
use devkit::host::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::chrome::Chrome;
use super::{ADA, MODES};
use crate::app::{ROOT, Reach, TestApp};
use crate::canaries::found;
use crate::visitor::Visitor;

/// Size of all chunks but the last.
const CHUNK: usize = 320 * 1024;
/// A file of three chunks.
const LENGTH: usize = 2 * CHUNK + 1_000;

fn folder() -> PathBuf {
    Path::new(ROOT).join("tests/peers/graph-client")
}

/// The page with the client, bundled like an application.
fn page() -> TempDir {
    let page = tempfile::tempdir().unwrap();
    let installed = folder().join("node_modules/esbuild").is_dir();
    assert!(installed, "the packages of {} are missing; `cargo dev test` installs them", folder().display());
    let status = Command::new("node").arg("build.mjs").arg(page.path()).current_dir(folder()).status();
    assert!(status.is_ok_and(|status| status.success()), "the page cannot be built; `cargo dev test` installs Node.js");
    page
}

/// `graph.mjs`: batches, files and uploads, in front of the app's Graph. It ends with its stdin.
struct Drive {
    _process: Child,
    origin: String,
}

impl Drive {
    fn start(port: u16, graph: u16) -> Self {
        let mut process = Command::new("node")
            .args(["graph.mjs", &port.to_string(), &graph.to_string()])
            .current_dir(folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ready = BufReader::new(process.stdout.take().unwrap()).lines().next();
        assert_eq!(ready.unwrap().unwrap(), "ready");
        Self { _process: process, origin: format!("http://127.0.0.1:{port}") }
    }

    /// Its files, and the requests to the upload host.
    async fn state(&self) -> Value {
        Visitor::new(&self.origin).get("/state").await.json()
    }
}

/// Ada signed in on the page, with the API map of `docs/graph-client.md`.
async fn start(mode: Mode) -> (TestApp, Chrome, Drive, TempDir) {
    let (page, port) = (page(), free_port().unwrap());
    let entry = json!({
        "base": format!("http://127.0.0.1:{port}/v1.0"),
        "allow": ["GET /me", "GET /me/**", "POST /me/drive/root:/**/createUploadSession",
                  "POST /me/drive/items/*/createUploadSession", "POST /$batch"],
        "request_headers": ["ConsistencyLevel", "Prefer", "client-request-id", "SdkVersion"],
    });
    let builder = TestApp::builder().reach(Reach::Host(mode)).graph_entry(entry);
    let app = builder.set("SPA", page.path().display().to_string()).start();
    let (app, chrome) = tokio::join!(app, Chrome::start());
    let drive = Drive::start(port, app.graph.addr().port());
    // Graph's links have its own origin, whatever base the gateway uses.
    app.graph.set_link_origin("https://graph.microsoft.com");
    chrome.open(&format!("{}/auth/login", app.origin)).await;
    chrome.choose(ADA).await;
    chrome.find("body[data-signed-in=true]").await;
    (app, chrome, drive, page)
}

/// The content that the page generates.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + (at >> 8)) % 251).unwrap()).collect()
}

/// Everything that scripts saw of the network and can read from the browser.
async fn visible(chrome: &Chrome) -> String {
    let all = "return JSON.stringify([seen, document.cookie, {...localStorage}, {...sessionStorage},
        document.documentElement.outerHTML, performance.getEntries()])";
    chrome.script(all).await.as_str().unwrap().to_owned()
}

/// Every request at the API came through the gateway, with its token.
fn assert_all_by_the_gateway(app: &TestApp) {
    for request in app.graph.requests() {
        let header = |name| request.header(name).unwrap_or_default();
        assert!(header("authorization").starts_with("Bearer ey"), "{request:?}");
        assert!(header("sdkversion").starts_with("graph-js/3."), "{request:?}");
        assert_eq!(header("client-request-id").len(), 36, "{request:?}");
        assert_eq!((request.header("cookie"), request.header("x-csrf")), (None, None));
    }
}

#[tokio::test]
async fn microsofts_graph_client_pages_uploads_batches_and_syncs() {
    for mode in MODES {
        let (app, chrome, drive, _page) = start(mode).await;
        let subjects: Vec<String> = (0..25).map(|number| format!("Message {number}")).collect();
        assert_eq!(chrome.script("return graph.pages()").await, json!(subjects), "{mode:?}");
        let queries: Vec<_> = app.graph.requests().iter().map(|request| request.query().unwrap().to_owned()).collect();
        assert_eq!(queries.len(), 3, "{queries:?}");
        let photo = json!(["image/png", 0x89, b'P', b'N', b'G']);
        assert_eq!(chrome.script("return graph.photo()").await, photo);

        // The map allows no PATCH. The map does not check the contents of a batch, as the docs say.
        assert_eq!(chrome.script("return graph.attempt('/me', 'patch')").await["code"], "method_denied");
        assert_eq!(chrome.script("return graph.batch()").await, json!([ADA, 2, 204]), "{mode:?}");
        let batch = app.graph.requests().pop().unwrap();
        assert_eq!((batch.method.as_str(), batch.target.as_str()), ("POST", "/v1.0/$batch"));

        upload(&app, &chrome, &drive).await;
        assert_all_by_the_gateway(&app);
        let visible = visible(&chrome).await;
        assert!(visible.contains("Message 24") && visible.contains("nextExpectedRanges"), "the page was inspected");
        let secrets: Vec<_> =
            app.provider.secrets().into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
        assert!(secrets.iter().any(|(kind, _)| kind.starts_with("access_token")));
        assert_eq!(found(visible.as_bytes(), &secrets), [""; 0], "{mode:?}");
    }
}

/// A new file in three chunks, what a delta says of it, and new content for it. Only the sessions are created by the
/// gateway.
async fn upload(app: &TestApp, chrome: &Chrome, drive: &Drive) {
    let delta = chrome.script("return graph.delta()").await;
    let link = delta["link"].as_str().unwrap();
    assert!(link.starts_with("https://graph.microsoft.com/v1.0/me/drive/root/delta(token='"), "{link}");

    let attempted = chrome.script(&format!("return graph.upload('Q3 report.bin', {LENGTH})")).await;
    assert_eq!(
        attempted["done"],
        json!([[0, CHUNK - 1], [CHUNK, 2 * CHUNK - 1], [2 * CHUNK, LENGTH - 1]]),
        "{attempted}"
    );
    let state = drive.state().await;
    let [file] = &state["files"].as_array().unwrap()[..] else { panic!("one file: {attempted}") };
    assert_eq!(file["path"], "/reports/Q3 report.bin");
    assert!(file["content"] == STANDARD.encode(content(LENGTH)), "the file arrived unchanged");
    assert_eq!((&attempted["item"]["id"], &attempted["item"]["name"]), (&file["id"], &json!("Q3 report.bin")));

    let later = chrome.script(&format!("return graph.delta(\"{link}\")")).await;
    assert_eq!(later["names"], json!(["Q3 report.bin"]));
    let shorter = CHUNK + 5;
    let replaced = chrome.script(&format!("return graph.replace({}, {shorter})", file["id"])).await;
    assert_eq!((&replaced["id"], &replaced["size"]), (&file["id"], &json!(shorter)));
    assert_eq!(chrome.script("return graph.cancel()").await, 204);

    assert!(app.graph.requests().iter().all(|request| request.body_length < 1_000), "no chunk reached the API");
    let state = drive.state().await;
    assert!(state["files"][0]["content"] == STANDARD.encode(content(shorter)));
    let uploads = state["requests"].as_array().unwrap();
    for (method, times) in [("PUT", 5), ("GET", 1), ("DELETE", 1)] {
        assert_eq!(uploads.iter().filter(|request| request["method"] == method).count(), times, "{method}");
    }
    for headers in uploads.iter().map(|request| &request["headers"]) {
        for name in ["authorization", "cookie", "x-csrf", "client-request-id", "sdkversion"] {
            assert_eq!(headers.get(name), None, "{headers}");
        }
        let requested = headers["access-control-request-headers"].as_str();
        let expected = |names| names == "content-range,content-type" || names == "content-type";
        assert!(requested.is_none_or(expected), "{requested:?}");
        assert_eq!(headers["origin"], app.origin);
    }
}

#[tokio::test]
async fn microsofts_graph_client_reports_errors_and_stays_on_the_route() {
    for mode in MODES {
        let (app, chrome, _drive, _page) = start(mode).await;
        let attempt = async |call: &str| chrome.script(&format!("return graph.attempt({call})")).await;
        let theirs = attempt("'/me/unknown'").await;
        assert_eq!((&theirs["statusCode"], &theirs["code"]), (&json!(404), &json!("ResourceNotFound")), "{theirs}");
        assert_eq!(app.graph.requests()[0].header("prefer"), Some("odata.maxpagesize=5"));
        let ours = attempt("'/users'").await;
        assert_eq!((&ours["statusCode"], &ours["code"]), (&json!(404), &json!("route_denied")), "{ours}");

        // A path that would leave the route for the sign-out goes to Graph's own host, without a token.
        let astray = attempt("'/me/../../auth/logout', 'post'").await;
        assert_eq!(astray["message"], "Failed to fetch", "{astray}");
        let addresses = chrome.script("return seen.map((call) => call.url)").await;
        assert_eq!(addresses.as_array().unwrap().last().unwrap(), "https://graph.microsoft.com/auth/logout");
        assert_eq!(attempt("'/me'").await["userPrincipalName"], ADA, "still signed in");
        let sent = chrome.script("return Object.fromEntries(seen.at(-2).headers)").await;
        assert_eq!((&sent["x-csrf"], &sent["authorization"]), (&Value::Null, &Value::Null), "{sent}");
        assert_eq!(app.graph.count(), 2);

        chrome.client.delete_all_cookies().await.unwrap();
        let over = attempt("'/me'").await;
        assert_eq!((&over["statusCode"], &over["code"]), (&json!(401), &json!("session_missing")), "{over}");
        let body: Value = serde_json::from_str(over["body"].as_str().unwrap()).unwrap();
        assert!(body["login_url"].as_str().unwrap().starts_with("/auth/login"), "{body}");
        assert_eq!(app.graph.count(), 2);
    }
}
