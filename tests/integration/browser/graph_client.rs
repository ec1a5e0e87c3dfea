//! Microsoft's own Graph client in the browser, through `web/dist/graph-middleware.js`: see `tests/peers/graph-client`.

use std::path::Path;
use std::process::Command;

use devkit::host::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::chrome::Chrome;
use super::{ADA, MODES};
use crate::app::{ROOT, Reach, TestApp};
use crate::canaries::found;

/// Of all chunks but the last.
const CHUNK: usize = 320 * 1024;
/// A file of three chunks.
const LENGTH: usize = 2 * CHUNK + 1_000;

/// The page with the client, bundled as an app's would be.
fn page() -> TempDir {
    let (peer, folder) = (Path::new(ROOT).join("tests/peers/graph-client"), tempfile::tempdir().unwrap());
    let installed = peer.join("node_modules/esbuild").is_dir();
    assert!(installed, "the packages of {} are missing; `cargo dev test` installs them", peer.display());
    let status = Command::new("node").arg("build.mjs").arg(folder.path()).current_dir(&peer).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the page cannot be built; `cargo dev test` tells what it needs"
    );
    folder
}

/// Ada at the page, behind a map as `docs/graph-client.md` has it.
async fn start(mode: Mode) -> (TestApp, Chrome, TempDir) {
    let folder = page();
    let entry = json!({
        "allow": ["GET /me", "GET /me/**", "POST /me/drive/root:/**/createUploadSession",
                  "POST /me/drive/items/*/createUploadSession", "POST /$batch"],
        "request_headers": ["ConsistencyLevel", "Prefer", "client-request-id", "SdkVersion"],
    });
    let builder = TestApp::builder().reach(Reach::Host(mode)).graph_entry(entry);
    let app = builder.set("SPA", folder.path().display().to_string()).start();
    let (app, chrome) = tokio::join!(app, Chrome::start());
    // As Graph itself: its links name it, wherever the gateway was told that it is.
    app.graph.link_as("https://graph.microsoft.com");
    chrome.open(&format!("{}/auth/login", app.origin)).await;
    chrome.choose(ADA).await;
    chrome.find("body[data-signed-in=true]").await;
    (app, chrome, folder)
}

/// As the page makes it.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 7 + (at >> 8)) % 251).unwrap()).collect()
}

/// Everything that scripts saw of the network and can see of the browser.
async fn visible(chrome: &Chrome) -> String {
    let all = "return JSON.stringify([seen, document.cookie, {...localStorage}, {...sessionStorage},
        document.documentElement.outerHTML, performance.getEntries()])";
    chrome.script(all).await.as_str().unwrap().to_owned()
}

/// What the API got: everything by the gateway, with its token.
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
        let (app, chrome, _page) = start(mode).await;
        let subjects: Vec<String> = (0..25).map(|number| format!("Message {number}")).collect();
        assert_eq!(chrome.script("return graph.pages()").await, json!(subjects), "{mode:?}");
        let queries: Vec<_> = app.graph.requests().iter().map(|request| request.query().unwrap().to_owned()).collect();
        assert_eq!(queries.len(), 3, "{queries:?}");
        let photo = json!(["image/png", 0x89, b'P', b'N', b'G']);
        assert_eq!(chrome.script("return graph.photo()").await, photo);

        // The map allows no PATCH. What a batch holds is not the map's to see, as the docs say.
        assert_eq!(chrome.script("return graph.attempt('/me', 'patch')").await["code"], "method_denied");
        assert_eq!(chrome.script("return graph.batch()").await, json!([ADA, 2, 204]), "{mode:?}");
        let batch = app.graph.requests().pop().unwrap();
        assert_eq!((batch.method.as_str(), batch.target.as_str()), ("POST", "/v1.0/$batch"));

        upload(&app, &chrome).await;
        assert_all_by_the_gateway(&app);
        let visible = visible(&chrome).await;
        assert!(visible.contains("Message 24") && visible.contains("nextExpectedRanges"), "the page was looked at");
        let secrets: Vec<_> =
            app.provider.secrets().into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
        assert!(secrets.iter().any(|(kind, _)| kind.starts_with("access_token")));
        assert_eq!(found(visible.as_bytes(), &secrets), [""; 0], "{mode:?}");
    }
}

/// A new file in three chunks, what a delta says of it, and new content for it; none of it by the gateway but the
/// beginnings.
async fn upload(app: &TestApp, chrome: &Chrome) {
    let delta = chrome.script("return graph.delta()").await;
    let link = delta["link"].as_str().unwrap();
    assert!(link.starts_with("https://graph.microsoft.com/v1.0/me/drive/root/delta(token='"), "{link}");

    let told = chrome.script(&format!("return graph.upload('Q3 report.bin', {LENGTH})")).await;
    assert_eq!(told["done"], json!([[0, CHUNK - 1], [CHUNK, 2 * CHUNK - 1], [2 * CHUNK, LENGTH - 1]]), "{told}");
    let [file] = &app.graph.files()[..] else { panic!("one file: {told}") };
    assert_eq!(file.path, "/reports/Q3 report.bin");
    assert!(file.content == content(LENGTH), "what arrived is what was sent");
    assert_eq!((&told["item"]["id"], &told["item"]["name"]), (&json!(file.id), &json!("Q3 report.bin")));

    let later = chrome.script(&format!("return graph.delta(\"{link}\")")).await;
    assert_eq!(later["names"], json!(["Q3 report.bin"]));
    let shorter = CHUNK + 5;
    let replaced = chrome.script(&format!("return graph.replace('{}', {shorter})", file.id)).await;
    assert_eq!((&replaced["id"], &replaced["size"]), (&json!(file.id), &json!(shorter)));
    assert!(app.graph.files()[0].content == content(shorter));
    assert_eq!(chrome.script("return graph.cancel()").await, 204);

    assert!(app.graph.requests().iter().all(|request| request.body_length < 1_000), "no chunk went to the API");
    let uploads = app.graph.upload_requests();
    for (method, times) in [("PUT", 5), ("GET", 1), ("DELETE", 1)] {
        assert_eq!(uploads.iter().filter(|request| request.method == method).count(), times, "{method}");
    }
    for request in uploads {
        for name in ["authorization", "cookie", "x-csrf", "client-request-id", "sdkversion"] {
            assert_eq!(request.header(name), None, "{request:?}");
        }
        let asked = request.header("access-control-request-headers");
        assert!(
            asked.is_none_or(|names| names == "content-range,content-type" || names == "content-type"),
            "{asked:?}"
        );
        assert_eq!(request.header("origin"), Some(app.origin.as_str()));
    }
}

#[tokio::test]
async fn microsofts_graph_client_tells_refusals_and_stays_on_the_route() {
    for mode in MODES {
        let (app, chrome, _page) = start(mode).await;
        let attempt = async |call: &str| chrome.script(&format!("return graph.attempt({call})")).await;
        let theirs = attempt("'/me/unknown'").await;
        assert_eq!((&theirs["statusCode"], &theirs["code"]), (&json!(404), &json!("ResourceNotFound")), "{theirs}");
        assert_eq!(app.graph.requests()[0].header("prefer"), Some("odata.maxpagesize=5"));
        let ours = attempt("'/users'").await;
        assert_eq!((&ours["statusCode"], &ours["code"]), (&json!(404), &json!("route_denied")), "{ours}");

        // Beside the route lies the sign-out; a path that leads there goes to Graph's own host, without a token.
        let astray = attempt("'/me/../../auth/logout', 'post'").await;
        assert_eq!(astray["message"], "network", "{astray}");
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
