//! The client files in a page: what they do with addresses and responses of other origins.

use devkit::host::Mode;
use serde_json::json;

use super::chrome::Chrome;
use super::{ADA, sign_in, start};
use crate::app::{Reach, TestApp};

/// What `signIn` does with each address: the name of its error, or none.
const SIGN_IN: &str = "
    const [urls, done] = arguments;
    import('/cloakroom.js').then(({ signIn }) => done(urls.map((url) => {
        try { signIn({ url }); return 'left'; } catch (error) { return error.name; }
    })));";

#[tokio::test]
async fn sign_in_follows_no_script_url_and_no_other_origin() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&app.origin).await;
    chrome.shows("anonymous").await;
    let urls = json!([
        "javascript:document.title='x'",
        "https://evil.example/",
        "//evil.example/x",
        "data:text/html,x",
        // Last, since it leaves the page.
        "/auth/login",
    ]);
    let expected = json!(["TypeError", "TypeError", "TypeError", "TypeError", "left"]);
    assert_eq!(chrome.script_with(SIGN_IN, vec![urls]).await, expected);
}

/// Such a path is reached by anybody's link where no host is in front.
#[tokio::test]
async fn the_page_works_at_a_path_that_begins_with_two_slashes() {
    let (app, chrome) = tokio::join!(TestApp::builder().reach(Reach::Direct).start(), Chrome::start());
    for (opened, left) in [
        ("//x?a=%C3%A4+b&auth_error=access_denied&c=%2F#top", "//x?a=%C3%A4+b&c=%2F#top"),
        ("//x?auth_error=access_denied#", "//x"),
        ("//evil.example/x?auth_error=access_denied", "//evil.example/x"),
        ("/x//y?auth_error=access_denied", "/x//y"),
    ] {
        chrome.open(&format!("{}{opened}", app.origin)).await;
        chrome.shows("anonymous").await;
        chrome.find("#error[data-code=access_denied]").await;
        assert_eq!(chrome.address().await, app.origin.clone() + left);
    }
    sign_in(&chrome, &format!("{}//x#", app.origin), ADA).await;
    assert_eq!(chrome.address().await, format!("{}/", app.origin), "the gateway takes no such return path");
    assert_eq!(chrome.console().await, json!([]));
}

/// Responses as other origins send them: `url` cannot be set otherwise.
const PROBLEMS: &str = "
    const [urls, done] = arguments;
    const response = (url) => {
        const headers = { 'Cloakroom-Error': 'session_expired', 'Content-Type': 'application/problem+json' };
        const made = new Response('{\"login_url\":\"https://evil.example\"}', { status: 401, headers });
        Object.defineProperty(made, 'url', { value: url });
        return made;
    };
    import('/cloakroom.js').then(async ({ problem }) => {
        const found = [];
        for (const url of urls) found.push((await problem(response(url)))?.code ?? null);
        done(found);
    });";

#[tokio::test]
async fn only_a_response_of_the_own_origin_is_the_gateways_error() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&app.origin).await;
    chrome.shows("anonymous").await;
    let urls = json!([format!("{}/graph/me", app.origin), "https://evil.example/", ""]);
    assert_eq!(chrome.script_with(PROBLEMS, vec![urls]).await, json!(["session_expired", null, null]));
}

/// What the Graph middleware sends to each address: the value of `X-CSRF`.
const MIDDLEWARE: &str = "
    const [urls, done] = arguments;
    import('/graph-middleware.js').then(async ({ GatewayHandler }) => {
        const sent = [];
        const fetch = window.fetch;
        window.fetch = async (input, init) => {
            const request = new Request(input, init);
            sent.push([new URL(request.url).pathname, request.headers.get('X-CSRF')]);
            return new Response('{}');
        };
        for (const request of urls) await new GatewayHandler().execute({ request, options: {} });
        window.fetch = fetch;
        done(sent);
    });";

#[tokio::test]
async fn the_graph_middleware_adds_the_csrf_header_for_its_route_only() {
    let (app, chrome) = start(Mode::Proxy).await;
    sign_in(&chrome, &app.origin, ADA).await;
    let urls = json!([
        "https://graph.microsoft.com/v1.0/me",
        format!("{}/api/orders/1", app.origin),
        "/api/orders/2",
        "https://graph.microsoft.com/v1.0/../../api/orders/3",
    ]);
    let sent = json!([["/graph/me", "1"], ["/api/orders/1", null], ["/api/orders/2", null], ["/api/orders/3", null]]);
    assert_eq!(chrome.script_with(MIDDLEWARE, vec![urls]).await, sent);
}

/// The requests of the sample page while it is prerendered, and once it is shown. The query makes the browser run the
/// module a second time.
const PRERENDERED: &str = "
    const done = arguments[0];
    const requests = [];
    const fetch = window.fetch;
    window.fetch = (input, init) => { requests.push(new URL(new Request(input, init).url).pathname); return fetch(input, init); };
    Object.defineProperty(document, 'prerendering', { value: true, configurable: true });
    import('/app.js?again').then(() => setTimeout(() => {
        const before = requests.length;
        delete document.prerendering;
        document.dispatchEvent(new Event('prerenderingchange'));
        setTimeout(() => done([before, requests]), 100);
    }, 100));";

/// Contract 3.33: a page that is prerendered and never shown loads no session.
#[tokio::test]
async fn the_sample_page_loads_the_session_only_when_it_is_shown() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&app.origin).await;
    chrome.shows("anonymous").await;
    assert_eq!(chrome.script_with(PRERENDERED, vec![]).await, json!([0, ["/auth/session"]]));
}
