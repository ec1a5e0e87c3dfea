//! The client files in a page: what they do with addresses and responses of other origins.

use devkit::commands::stack::free_port;
use devkit::host::Mode;
use serde_json::json;

use super::chrome::Chrome;
use super::elsewhere::Elsewhere;
use super::{ADA, sign_in, start};
use crate::app::{ROOT, Reach, TestApp};

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

/// Contract 3.39: the gateway sends a backslash back as three characters, which count.
#[tokio::test]
async fn a_return_path_that_the_gateway_would_not_take_is_left_out() {
    let (app, chrome) = start(Mode::Proxy).await;
    for backslashes in [300, 400] {
        chrome.open(&app.origin).await;
        chrome.shows("anonymous").await;
        let go = format!(
            "import('/cloakroom.js').then((client) => client.signIn({{ returnTo: '/?' + '\\\\'.repeat({backslashes}) }})); \
             return true;"
        );
        chrome.script(&go).await;
        chrome.choose(ADA).await;
        chrome.shows("signed-in").await;
        let path = if backslashes == 300 { format!("/?{}", "%5C".repeat(300)) } else { "/".to_owned() };
        assert_eq!(chrome.address().await, app.origin.clone() + &path);
        chrome.click("#sign-out").await;
        chrome.shows("anonymous").await;
    }
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

/// What the client does with a gateway on another origin, and what each of its calls carries.
const ELSEWHERE: &str = "
    const done = arguments[0];
    const { gateway } = window;
    const thrown = (attempt) => { try { attempt(); return 'none'; } catch (error) { return error.name; } };
    const sent = [];
    const native = window.fetch;
    window.fetch = (request) => {
        const { method, headers, credentials, referrer, referrerPolicy } = request;
        const { origin, pathname } = new URL(request.url);
        const place = origin === location.origin ? 'page' : 'gateway';
        const from = referrer === '' ? 'none' : 'page';
        const call = [method, place, headers.get('X-CSRF'), credentials, from, referrerPolicy];
        if (pathname !== '/auth/session') sent.push(call);
        return native(request);
    };
    (async () => {
        const me = await (await gateway.fetch('/graph/me')).json();
        const denied = await gateway.problem(await gateway.fetch('/graph/no-such-path'));
        const here = await gateway.fetch(location.origin + '/elsewhere', { credentials: 'same-origin' });
        const url = new URL('/graph/me', window.target);
        const request = new Request(url, { referrerPolicy: 'origin' });
        const asked = await gateway.fetch(request);
        const without = await gateway.fetch(new Request(url, { credentials: 'omit', referrer: '' }));
        const chosen = await gateway.fetch(request, { credentials: 'omit' });
        await gateway.fetch(url, new Request(url, { method: 'DELETE' }));
        await gateway.fetch(url, { credentials: undefined });
        await gateway.fetch(url, { credentials: 'same-origin' });
        await gateway.fetch(new Request('/elsewhere'));
        const extended = await gateway.refresh();
        const signIn = thrown(() => gateway.signIn({ url: location.origin }));
        const codes = await Promise.all([here, asked, without, chosen].map((response) => gateway.problem(response)));
        window.fetch = native;
        done([me.displayName, denied.code, codes.map((error) => error?.code ?? null), extended, signIn, sent]);
    })().catch((error) => done([String(error)]));";

/// Contract 19.1.
#[tokio::test]
async fn the_client_serves_a_page_on_another_origin() {
    let chrome = Chrome::start().await;
    let port = free_port().unwrap();
    let spa = format!("http://localhost:{port}");
    let builder =
        TestApp::builder().reach(Reach::Direct).set("ALLOWED_ORIGINS", &spa).set("RETURN_URI", format!("{spa}/"));
    let app = builder.start().await;
    let _served = Elsewhere::client(port, &app.origin).await;
    chrome.open(&format!("{spa}/here?a=b#c")).await;
    chrome.find("body[data-seen='none']").await;
    chrome.script("window.gateway.signIn(); return true;").await;
    chrome.choose(ADA).await;
    chrome.find("body[data-seen='Ada Lovelace']").await;
    assert_eq!(chrome.address().await, format!("{spa}/here?a=b#c"));
    let sent = json!([
        ["GET", "gateway", "1", "include", "page", ""],
        ["GET", "gateway", "1", "include", "page", ""],
        ["GET", "page", null, "same-origin", "page", ""],
        ["GET", "gateway", "1", "include", "page", "origin"],
        ["GET", "gateway", "1", "omit", "none", ""],
        ["GET", "gateway", "1", "omit", "page", ""],
        ["DELETE", "gateway", "1", "include", "page", ""],
        ["GET", "gateway", "1", "include", "page", ""],
        ["GET", "gateway", "1", "include", "page", ""],
        ["GET", "page", null, "same-origin", "page", ""],
        ["POST", "gateway", "1", "include", "page", ""],
    ]);
    let codes = json!([null, null, "session_missing", "session_missing"]);
    let expected = json!(["Ada Lovelace", "route_denied", codes, true, "TypeError", sent]);
    assert_eq!(chrome.script_with(ELSEWHERE, vec![]).await, expected);
    chrome.script("window.gateway.signOut(); return true;").await;
    chrome.find("body[data-seen='none']").await;
    assert_eq!(chrome.address().await, format!("{spa}/"));
}

/// A document that runs no script of its own.
const EMPTY: &str = "/codes.js";

/// What subscriptions get: two of one function, of which one ends, and one that comes late. And how many requests that
/// takes.
const SUBSCRIBED: &str = "
    const done = arguments[0];
    const native = window.fetch;
    let requests = 0;
    let fails = true;
    window.fetch = (request) => {
        requests += 1;
        return fails ? Promise.reject(new TypeError()) : native(request);
    };
    const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1)); };
    import('/cloakroom.js').then(async ({ createCloakroom }) => {
        const gateway = createCloakroom();
        const list = [];
        const listener = (session) => list.push(session.user?.name ?? 'none');
        const ends = [gateway.subscribe(listener), gateway.subscribe(listener)];
        await until(() => requests === 1);
        await gateway.session().catch(() => {});
        fails = false;
        document.dispatchEvent(new Event('visibilitychange'));
        await until(() => list.length === 2);
        await gateway.session();
        ends[1]();
        await native('/auth/logout', { method: 'POST', headers: { 'X-CSRF': '1' } });
        await gateway.fetch('/graph/me');
        await until(() => list.length === 3);
        const late = [];
        const end = gateway.subscribe((session) => late.push(session.user?.name ?? 'none'));
        await until(() => late.length === 1);
        // That there is no session is known by now.
        await gateway.fetch('/graph/me');
        // Its report is on its way when it ends.
        gateway.subscribe((session) => late.push('ended'))();
        end();
        ends[0]();
        document.dispatchEvent(new Event('visibilitychange'));
        await gateway.session();
        window.fetch = native;
        done([list, late, requests]);
    });";

/// Contract 19.1.
#[tokio::test]
async fn a_page_that_subscribed_gets_each_change_of_the_session() {
    let (app, chrome) = start(Mode::Proxy).await;
    sign_in(&chrome, &app.origin, ADA).await;
    chrome.open(&format!("{}{EMPTY}", app.origin)).await;
    let expected = json!([["Ada Lovelace", "Ada Lovelace", "none"], ["none"], 8]);
    assert_eq!(chrome.script_with(SUBSCRIBED, vec![]).await, expected);
}

/// The user whom a page gets last if the responses to its requests overtake each other.
const OVERTAKEN: &str = "
    const done = arguments[0];
    const native = window.fetch;
    const responses = [];
    window.fetch = () => new Promise((resolve) => responses.push((name) => {
        resolve(Response.json({ authenticated: true, user: { sub: name } }));
    }));
    import('/cloakroom.js').then(async ({ createCloakroom }) => {
        const gateway = createCloakroom();
        const seen = [];
        const listener = (session) => seen.push(session.user.sub);
        const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1)); };
        const end = gateway.subscribe(listener);
        const newer = gateway.session();
        // The request that is on its way may be older than what this call notices.
        document.dispatchEvent(new Event('visibilitychange'));
        responses[1]('new');
        await newer;
        responses[0]('old');
        await until(() => responses.length === 3);
        responses[2]('newest');
        await until(() => seen.length === 2);
        // A first subscription gets a session even if the request of the one before it is overtaken.
        document.dispatchEvent(new Event('visibilitychange'));
        const other = gateway.session();
        responses[4]('other');
        await other;
        end();
        gateway.subscribe(listener);
        responses[3]('old');
        await until(() => responses.length === 6);
        responses[5]('last');
        await until(() => seen.length === 4);
        window.fetch = native;
        done(seen);
    });";

#[tokio::test]
async fn a_session_that_arrives_late_replaces_no_newer_one() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&format!("{}{EMPTY}", app.origin)).await;
    assert_eq!(chrome.script_with(OVERTAKEN, vec![]).await, json!(["new", "newest", "other", "last"]));
}

/// What becomes of a request that hangs, and of a response that is not the gateway's.
const UNUSABLE: &str = "
    const done = arguments[0];
    const [native, timeout] = [window.fetch, AbortSignal.timeout];
    const deadlines = [];
    AbortSignal.timeout = (ms) => {
        const deadline = new AbortController();
        deadlines.push([ms, () => deadline.abort(new DOMException('', 'TimeoutError'))]);
        return deadline.signal;
    };
    let requests = 0;
    const found = { authenticated: false, links: {} };
    window.fetch = ({ signal }) => new Promise((resolve, reject) => {
        requests += 1;
        signal.addEventListener('abort', () => reject(signal.reason));
        if (requests > 1) resolve(Response.json(requests === 2 ? found : null));
    });
    import('/cloakroom.js').then(async ({ createCloakroom }) => {
        const gateway = createCloakroom();
        const seen = new Promise((resolve) => gateway.subscribe((session) => resolve(session.authenticated)));
        document.dispatchEvent(new Event('visibilitychange'));
        const [[ms, expire]] = deadlines;
        expire();
        const session = await seen;
        const error = await gateway.session().catch((error) => [error.name, error.code]);
        [window.fetch, AbortSignal.timeout] = [native, timeout];
        done([ms, session, error]);
    });";

#[tokio::test]
async fn a_request_that_hangs_holds_back_no_later_one() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&format!("{}{EMPTY}", app.origin)).await;
    let expected = json!([30_000, false, ["CloakroomError", "unexpected"]]);
    assert_eq!(chrome.script_with(UNUSABLE, vec![]).await, expected);
}

/// As a server that renders pages does: only the functions need an origin.
#[tokio::test]
async fn the_module_is_imported_without_an_origin() {
    let chrome = Chrome::start().await;
    chrome.open("about:blank").await;
    let script = "
        const [source, done] = arguments;
        import('data:text/javascript,' + encodeURIComponent(source)).then(async (module) => {
            const attempts = [() => module.session(), ...['javascript:0', 'data:,', 'no URL'].map(
                (origin) => () => module.createCloakroom({ origin }),
            )];
            done(attempts.map((attempt) => { try { attempt(); return 'none'; } catch (error) { return error.name; } }));
        }, (error) => done(String(error)));";
    let found = chrome.script_with(script, vec![json!(source())]).await;
    assert_eq!(found, json!(["TypeError", "TypeError", "TypeError", "TypeError"]));
}

fn source() -> String {
    std::fs::read_to_string(format!("{ROOT}/web/dist/cloakroom.js")).unwrap()
}

/// Contract 19.2.
#[tokio::test]
async fn the_types_name_what_the_module_exports() {
    let (app, chrome) = start(Mode::Proxy).await;
    chrome.open(&app.origin).await;
    let names = "import('/cloakroom.js').then((module) => arguments[0](Object.keys(module).sort()));";
    let exported = chrome.script_with(names, vec![]).await;
    let types = std::fs::read_to_string(format!("{ROOT}/web/dist/cloakroom.d.ts")).unwrap();
    let value = |line: &str| {
        let rest = ["class", "function", "const"].iter().find_map(|of| line.strip_prefix(&format!("export {of} ")))?;
        Some(rest.split(|of: char| !of.is_alphanumeric()).next()?.to_owned())
    };
    let mut typed: Vec<String> = types.lines().filter_map(value).collect();
    typed.sort();
    assert_eq!(exported, json!(typed));
}
