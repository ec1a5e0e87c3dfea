//! Signing out by fetch, form and link (contract 3.12 to 3.20).

use std::sync::{Arc, Mutex};

use cloakroom::clock::now;
use cloakroom::error::Error;
use cloakroom::keyring::{KeyId, KeySource, NewVersion, SourceFuture, SourceUnavailable, Value, Version};
use devkit::provider::{Alteration, Endpoint, Mutation, Options};
use serde_json::json;

use crate::app::{Builder, TestApp, every_reach};
use crate::key_vault::{key, kid};
use crate::lab::{Lab, ORIGIN};
use crate::start::sealed_under_an_unknown_key;
use crate::visitor::{NAVIGATION, Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn is_signed_in(visitor: &mut Visitor) -> bool {
    visitor.fetch("GET", "/auth/session").await.json()["authenticated"] == true
}

#[tokio::test]
async fn sign_out_by_fetch_needs_the_csrf_header_and_an_allowed_origin() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let own = app.origin.clone();
    for (headers, code) in [
        (vec![("sec-fetch-site", "same-origin")], "csrf_failed"),
        (vec![("sec-fetch-site", "same-site"), ("x-csrf", "1")], "origin_denied"),
        (vec![("sec-fetch-site", "cross-site"), ("x-csrf", "1")], "origin_denied"),
        (vec![("x-csrf", "1")], "origin_denied"),
        (vec![("x-csrf", "1"), ("origin", "null")], "origin_denied"),
        (vec![("x-csrf", "1"), ("origin", "https://evil.example")], "origin_denied"),
    ] {
        let response = visitor.send("POST", "/auth/logout", &headers, "").await;
        assert_eq!((response.status, response.code()), (403, code), "{headers:?}");
        assert!(is_signed_in(&mut visitor).await);
    }
    let response = visitor.send("POST", "/auth/logout", &[("x-csrf", "1"), ("origin", &own)], "").await;
    assert_eq!(response.status, 200);
    assert!(!is_signed_in(&mut visitor).await);
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200, "a second sign-out succeeds");
}

#[tokio::test]
async fn sign_out_by_form_needs_same_origin_or_a_logout_token() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        for headers in [
            vec![FORM],
            vec![FORM, ("sec-fetch-site", "cross-site")],
            vec![FORM, ("origin", "null")],
            vec![FORM, ("sec-fetch-site", "same-site")],
        ] {
            let response = visitor.send("POST", "/auth/logout", &headers, "lt=x").await;
            assert_eq!((response.status, response.code()), (403, "origin_denied"), "{reach:?} {headers:?}");
        }
        let link = visitor.fetch("GET", "/auth/session").await.json()["links"]["logout"].as_str().unwrap().to_owned();
        let token = link.split("lt=").nth(1).unwrap();
        for site in ["cross-site", "same-site", "none"] {
            let foreign = [FORM, ("sec-fetch-site", site)];
            let response = visitor.send("POST", "/auth/logout", &foreign, format!("lt={token}")).await;
            assert_eq!(response.code(), "origin_denied", "{reach:?} {site}: `lt` does not override fetch metadata");
        }
        let mut other = app.signed_in("grace.hopper@contoso.example").await;
        let response = other.send("POST", "/auth/logout", &[FORM], format!("lt={token}")).await;
        assert_eq!(response.code(), "origin_denied", "another session's `lt` is invalid");
        let response = visitor.send("POST", "/auth/logout", &[FORM], format!("lt={token}")).await;
        assert_eq!(response.status, 303, "{reach:?}: {}", response.text());
        assert!(response.header("location").unwrap().contains("/logout?"));
        assert!(!is_signed_in(&mut visitor).await);
        let response = other
            .send("POST", "/auth/logout", &[FORM, ("sec-fetch-site", "same-origin"), ("origin", "null")], "a=b")
            .await;
        assert_eq!(response.status, 303, "{reach:?}: {}", response.text());
        assert!(!is_signed_in(&mut other).await);
    }
}

/// Contract 3.13: in forwarding mode the host drops the content type of an empty form.
#[tokio::test]
async fn an_empty_form_without_a_content_type_signs_out_if_its_origin_is_ours() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        let mut visitor = app.signed_in(ADA).await;
        let mut foreign = NAVIGATION.to_vec();
        foreign[3] = ("sec-fetch-site", "cross-site");
        let response = visitor.send("POST", "/auth/logout", &foreign, "").await;
        assert_eq!((response.status, response.code()), (403, "origin_denied"), "{reach:?}");
        let response = visitor.send("POST", "/auth/logout", &NAVIGATION, "").await;
        assert_eq!(response.status, 303, "{reach:?}: {}", response.text());
        assert!(!is_signed_in(&mut visitor).await);
    }
}

/// Contract 3.12: no client holds a place with a body that does not arrive.
#[tokio::test]
async fn a_sign_out_is_checked_before_its_body_is_read() {
    let app = TestApp::start().await;
    for (headers, code) in [("", "origin_denied"), ("Sec-Fetch-Site: same-origin\r\n", "csrf_failed")] {
        let head = format!("POST /auth/logout HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 10\r\n\r\na");
        // It waits for a response, not for the end of the connection.
        let received = crate::raw::exchange(app.port, &head);
        assert!(received.starts_with("HTTP/1.1 403") && received.contains(code), "{received}");
    }
}

/// Contract 3.17: Cognito and Auth0 return the browser without the state.
#[tokio::test]
async fn a_return_without_state_and_session_goes_to_the_page() {
    let app = TestApp::start().await;
    let response = app.visitor().navigate("/auth/logout").await;
    assert_eq!((response.status, response.header("location")), (302, Some("/")));
    let mut visitor = app.visitor();
    visitor.jar.insert("__Host-Http-cloakroom-id".to_owned(), "x".to_owned());
    assert_eq!(visitor.navigate("/auth/logout").await.status, 200, "this browser may have a session");
    let mut visitor = app.signed_in(ADA).await;
    let page = visitor.navigate("/auth/logout").await.text();
    let token = page.split_once("name=lt value=\"").unwrap().1.split_once('"').unwrap().0;
    let response = visitor.send("POST", "/auth/logout", &[FORM], format!("lt={token}")).await;
    assert_eq!(response.status, 303, "the page's form signs out without fetch metadata, by its token");
}

/// Contract 4.18: an outage of the keys keeps no user from signing out in this browser.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_sign_out_deletes_the_cookies_and_the_provider_gets_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("keys.json").display().to_string();
    let app = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", missing).impatient().start().await;
    app.wait_until_ready(503).await;
    let mut visitor = app.visitor();
    visitor.jar.insert("__Host-Http-cloakroom".to_owned(), sealed_under_an_unknown_key());
    let page = visitor.navigate("/auth/logout").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<form method=post") && !page.text().contains("name=lt"), "{}", page.text());
    let response = visitor.fetch("POST", "/auth/logout").await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(visitor.jar.is_empty());
    let url = url::Url::parse(response.json()["logout_url"].as_str().unwrap()).unwrap();
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "post_logout_redirect_uri"]);
    app.wait_for_log("the end-session URL has no `state`").await;
    // Contract 20.4: of this session nothing is known.
    app.wait_for_log("\"sign_out_incomplete\"").await;
    // Contract 4.24a, 3.9b: a companion names no session to end, and no number of sign-outs fills the log.
    let companion = format!("{}.{}", "A".repeat(43), "A".repeat(16));
    for _ in 0..30 {
        let mut other = app.visitor();
        other.jar.insert("__Host-Http-cloakroom".to_owned(), sealed_under_an_unknown_key());
        other.jar.insert("__Host-Http-cloakroom-id".to_owned(), companion.clone());
        assert_eq!(other.fetch("POST", "/auth/logout").await.status, 200);
    }
    app.wait_for_log_count("sign_out_incomplete", 20).await;
    assert!(!app.log().contains("signed_out") && !app.log().contains("0000000000000000"), "{}", app.log());
    let back = visitor.navigate("/auth/logout").await;
    assert_eq!((back.status, back.header("location")), (302, Some("/")), "the return is accepted without it");
}

/// A published key and, unless it is left out, an active one that is listed but cannot be read.
#[derive(Debug)]
struct Keys {
    with_active: bool,
}

impl KeySource for Keys {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        let version = |byte: u8, created| Version {
            id: kid(byte).repeat(2),
            kid: KeyId([byte; 8]),
            enabled: true,
            created,
            not_before: None,
            expires: None,
            activate_now: false,
        };
        let active = self.with_active.then(|| version(1, 0));
        let versions = active.into_iter().chain([version(2, now())]).collect();
        Box::pin(async { Ok(versions) })
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        let value = Value { text: key(2).into(), content_type: None };
        let readable = id.starts_with(&kid(2));
        Box::pin(async move { if readable { Ok(value) } else { Err(SourceUnavailable("unreadable".to_owned())) } })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: u64) -> SourceFuture<'a, String> {
        Box::pin(async { Err(SourceUnavailable("read only".to_owned())) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(SourceUnavailable("read only".to_owned())) })
    }
}

/// Contract 3.17: the form has a token that works, or there is no form.
#[tokio::test]
async fn without_a_sealing_key_the_confirmation_page_is_a_503() {
    let mut lab = Lab::new(Options::new(ORIGIN), &[]).await;
    lab.use_keys(Arc::new(Keys { with_active: false })).await;
    let jar = lab.signed_in(now()).await;
    assert_eq!(lab.try_logout_page(&jar, "", now()).await, Ok((200, String::new())));
    lab.use_keys(Arc::new(Keys { with_active: true })).await;
    let session = lab.session(&jar, now()).await;
    assert_eq!((&session["authenticated"], &session["links"]["logout"]), (&json!(true), &json!("/auth/logout")));
    assert_eq!(lab.try_logout_page(&jar, "", now()).await, Err(Error::KeysUnavailable));
}

#[tokio::test]
async fn a_link_signs_out_with_a_token_and_asks_for_confirmation_without() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let link = visitor.fetch("GET", "/auth/session").await.json()["links"]["logout"].as_str().unwrap().to_owned();
    for path in ["/auth/logout", "/auth/logout?lt=x", "/auth/logout?state=x"] {
        let response = visitor.navigate(path).await;
        assert_eq!(response.status, 200, "{path}");
        assert!(response.text().contains("<form method=post action=/auth/logout>"));
        assert_eq!(response.header("referrer-policy"), Some("same-origin"));
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains(&format!("form-action 'self' http://{}", app.provider.addr())), "{policy}");
        assert!(is_signed_in(&mut visitor).await);
    }
    let mut stranger = app.signed_in(ADA).await;
    assert_eq!(stranger.navigate(&link).await.status, 200, "a link works only with the session's cookie");
    assert!(is_signed_in(&mut stranger).await);
    let response = visitor.navigate(&link).await;
    assert_eq!(response.status, 302);
    assert!(!is_signed_in(&mut visitor).await);
}

#[tokio::test]
async fn sign_out_deletes_a_cookie_that_does_not_open() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    visitor.jar.insert("__Host-Http-cloakroom".to_owned(), "broken".to_owned());
    visitor.begin("/").await;
    assert_eq!(visitor.jar.len(), 2);
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    assert!(visitor.jar.is_empty());
}

#[tokio::test]
async fn the_end_session_url_has_a_logout_hint_and_no_token() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let response = visitor.fetch("POST", "/auth/logout").await.json();
    let url = url::Url::parse(response["logout_url"].as_str().unwrap()).unwrap();
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["client_id", "post_logout_redirect_uri", "logout_hint", "state"]);
}

/// Contract 12.22: what Auth0 and Cognito need.
#[tokio::test]
async fn the_end_session_url_and_its_return_parameter_can_be_set() {
    let app = TestApp::builder()
        .set("END_SESSION_URL", "https://login.example/v2/logout?federated=1")
        .set("END_SESSION_RETURN_PARAM", "returnTo")
        .start()
        .await;
    let mut visitor = app.signed_in(ADA).await;
    let policy = visitor.navigate("/auth/logout").await;
    let policy = policy.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https://login.example;"), "{policy}");
    let response = visitor.fetch("POST", "/auth/logout").await.json();
    let url = url::Url::parse(response["logout_url"].as_str().unwrap()).unwrap();
    assert_eq!((url.host_str(), url.path()), (Some("login.example"), "/v2/logout"));
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["federated", "client_id", "returnTo", "logout_hint", "state"]);
}

#[tokio::test]
async fn the_refresh_token_is_revoked_if_the_provider_supports_it() {
    let options = Options { revocation: true, ..Options::new("http://x") };
    let app = TestApp::builder().provider(options).start().await;
    let mut visitor = app.signed_in(ADA).await;
    let issued = app.provider.secrets().into_iter().find(|(kind, _)| kind == "refresh_token").unwrap().1;
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    let requests = app.provider.requests();
    let revoked: Vec<_> = requests.iter().filter_map(|request| request.form_field("token")).collect();
    assert_eq!(revoked, [issued]);
}

#[tokio::test]
async fn other_methods_get_405_with_allow() {
    let app = TestApp::start().await;
    let response = app.visitor().send("PUT", "/auth/logout", &NAVIGATION, "").await;
    assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD, POST")));
}

/// The ID tokens that the provider has issued, the newest last.
fn id_tokens(issued: &Mutex<Vec<String>>) -> Vec<String> {
    issued.lock().unwrap().clone()
}

/// A gateway that keeps the ID token, and all that are issued.
async fn with_hint(builder: Builder) -> (TestApp, Arc<Mutex<Vec<String>>>) {
    let app = builder.set("END_SESSION_ID_TOKEN_HINT", "true").start().await;
    let issued: Arc<Mutex<Vec<String>>> = Arc::default();
    let store = Arc::clone(&issued);
    app.provider.set_alteration(
        Endpoint::Token,
        Some(Alteration::json(move |tokens| {
            store.lock().unwrap().extend(tokens["id_token"].as_str().map(str::to_owned));
        })),
    );
    (app, issued)
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned())
}

/// The path of `logout_url`.
async fn sign_out(app: &TestApp, visitor: &mut Visitor) -> String {
    let response = visitor.fetch("POST", "/auth/logout").await;
    assert_eq!(response.status, 200, "{}", response.text());
    let url = response.json()["logout_url"].as_str().unwrap().to_owned();
    assert!(url.len() <= 4_096);
    let path = url.strip_prefix(&app.origin).unwrap_or_else(|| panic!("{url}"));
    assert!(path.starts_with("/auth/logout?out="), "{url}");
    path.to_owned()
}

/// Contract 12.22 and 2.3: no script gets the ID token.
#[tokio::test]
async fn the_id_token_goes_to_the_end_session_endpoint_and_to_no_script() {
    for reach in every_reach() {
        let (app, issued) = with_hint(TestApp::builder().reach(reach)).await;
        let mut visitor = app.signed_in(ADA).await;
        let path = sign_out(&app, &mut visitor).await;
        assert!(!is_signed_in(&mut visitor).await);
        let token = id_tokens(&issued).pop().unwrap();
        let received = String::from_utf8_lossy(&visitor.received).into_owned();
        for part in token.split('.') {
            assert!(!received.contains(part), "{reach:?}");
        }
        let away = visitor.navigate(&path).await;
        let location = away.header("location").unwrap().to_owned();
        assert_eq!(away.status, 302);
        assert!(location.starts_with(&format!("http://{}/", app.provider.addr())), "{location}");
        assert_eq!(parameter(&location, "id_token_hint"), Some(token), "{reach:?}");
        assert_eq!(parameter(&location, "logout_hint").as_deref(), Some(ADA));
        assert!(parameter(&location, "state").is_some());
        assert!(visitor.jar.is_empty(), "the cookie that it needs is deleted");
        assert!(!app.log().contains("id_token_hint") && !app.log().contains("out="), "{reach:?}");
    }
}

/// Contract 12.22: whoever gets hold of `logout_url` gets nothing of what is sealed in it.
#[tokio::test]
async fn a_logout_url_brings_the_id_token_only_by_a_navigation_of_its_own_browser() {
    let (app, _) = with_hint(TestApp::builder()).await;
    let mut visitor = app.signed_in(ADA).await;
    let path = sign_out(&app, &mut visitor).await;
    let without_hints = |response: &Response| {
        let location = response.header("location").unwrap();
        assert_eq!(response.status, 302);
        assert_eq!((parameter(location, "id_token_hint"), parameter(location, "logout_hint")), (None, None));
        assert!(location.starts_with(&format!("http://{}/", app.provider.addr())), "{location}");
    };
    without_hints(&app.visitor().navigate(&path).await);
    let mut other = app.signed_in(ADA).await;
    sign_out(&app, &mut other).await;
    without_hints(&other.navigate(&path).await);
    let response = app.signed_in(ADA).await.navigate(&path.replace("?out=", "?state=")).await;
    assert_eq!(response.status, 200, "it is no state of a provider's return: the page asks");
    without_hints(&visitor.fetch("GET", &path).await);
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "same-origin")];
    without_hints(&visitor.send("GET", &path, &frame, "").await);
    let sealed = path.strip_prefix("/auth/logout?out=").unwrap();
    for damaged in [format!("{sealed}A"), sealed[..sealed.len() - 4].to_owned(), String::new()] {
        let response = visitor.clone().navigate(&format!("/auth/logout?out={damaged}")).await;
        assert_eq!(response.header("location"), Some("/"), "no session, so there is nothing to confirm");
    }
    let link = app.signed_in(ADA).await.fetch("GET", "/auth/session").await.json();
    let token = link["links"]["logout"].as_str().unwrap().split("lt=").nth(1).unwrap().to_owned();
    let response = visitor.clone().navigate(&format!("/auth/logout?out={token}")).await;
    assert_eq!(response.header("location"), Some("/"), "another purpose");
    let location = visitor.navigate(&path).await.header("location").unwrap().to_owned();
    assert!(parameter(&location, "id_token_hint").is_some(), "none of that has used it up");
    let state = parameter(&location, "state").unwrap();
    let response = visitor.navigate(&format!("/auth/logout?out={state}")).await;
    assert_eq!(response.header("location"), Some("/"), "a state is no such value");
    without_hints(&visitor.navigate(&path).await);
}

/// Contract 12.22: forms and links are navigations, so that they lead there at once.
#[tokio::test]
async fn forms_and_links_redirect_with_the_id_token() {
    let (app, issued) = with_hint(TestApp::builder()).await;
    let mut visitor = app.signed_in(ADA).await;
    let form = [FORM, ("sec-fetch-site", "same-origin")];
    let response = visitor.send("POST", "/auth/logout", &form, "a=b").await;
    let hint = parameter(response.header("location").unwrap(), "id_token_hint");
    assert_eq!((response.status, hint), (303, id_tokens(&issued).pop()));
    let mut visitor = app.signed_in(ADA).await;
    let link = visitor.fetch("GET", "/auth/session").await.json()["links"]["logout"].as_str().unwrap().to_owned();
    let response = visitor.navigate(&link).await;
    let hint = parameter(response.header("location").unwrap(), "id_token_hint");
    assert_eq!((response.status, hint), (302, id_tokens(&issued).pop()));
    for (mode, dest) in [("cors", "empty"), ("navigate", "iframe")] {
        let mut visitor = app.signed_in(ADA).await;
        let link = visitor.fetch("GET", "/auth/session").await.json()["links"]["logout"].as_str().unwrap().to_owned();
        let by = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
        let jar = visitor.jar.clone();
        let response = visitor.send("GET", &link, &by, "").await;
        let hint = parameter(response.header("location").unwrap(), "id_token_hint");
        assert_eq!((response.status, hint), (302, None), "a script that follows the link: {mode} {dest}");
        visitor.jar = jar;
        let response = visitor.send("POST", "/auth/logout", &[&[FORM], &by[..]].concat(), "a=b").await;
        let hint = parameter(response.header("location").unwrap(), "id_token_hint");
        assert_eq!((response.status, hint), (303, None), "a script that sends the form: {mode} {dest}");
    }
    let response = app.visitor().fetch("POST", "/auth/logout").await.json();
    assert!(response["logout_url"].as_str().unwrap().contains("/logout?client_id="), "without a session: no ID token");
}

/// Contract 12.22. The cookie alone has it: another instance may answer next.
#[tokio::test]
async fn a_refreshed_id_token_replaces_the_one_of_the_sign_in() {
    let (mut app, issued) = with_hint(TestApp::builder()).await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204);
    let all = id_tokens(&issued);
    assert!(all.len() == 2 && all[0] != all[1], "{all:?}");
    app.restart();
    app.wait_until_ready(200).await;
    let path = sign_out(&app, &mut visitor).await;
    let location = visitor.navigate(&path).await.header("location").unwrap().to_owned();
    assert_eq!(parameter(&location, "id_token_hint"), all.last().cloned());
}

/// Contract 2.3: without the setting the ID token is not kept.
#[tokio::test]
async fn without_the_setting_no_id_token_is_kept() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let reply = visitor.fetch("POST", "/auth/logout").await;
    let url = reply.json()["logout_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("http://{}/", app.provider.addr())), "{url}");
    assert_eq!(parameter(&url, "id_token_hint"), None);
    assert!(visitor.jar.is_empty(), "no cookie is left, not even that of a handover");
}

/// A page on another site signs out by a cross-site `fetch`, whose response may write `SameSite=None` only.
#[tokio::test]
async fn the_cookie_of_a_sign_out_reaches_a_browser_whose_page_is_on_another_site() {
    for (same_site, expected) in [("none", "SameSite=None"), ("strict", "SameSite=Lax")] {
        let (app, _) = with_hint(TestApp::builder().set("SAMESITE", same_site)).await;
        let response = app.signed_in(ADA).await.fetch("POST", "/auth/logout").await;
        let mut lines = response.headers_named("set-cookie");
        let line = lines.find(|line| line.starts_with("__Host-Http-cloakroom-login-out=")).unwrap();
        assert!(line.contains("; Secure; HttpOnly; ") && line.contains(expected), "{line}");
    }
}

/// A claim of so many bytes in every ID token.
fn padding(bytes: usize) -> Mutation {
    Mutation::new(move |draft| draft.claims["padding"] = "x".repeat(bytes).into())
}

/// Contract 12.22.
#[tokio::test]
async fn an_id_token_that_makes_the_logout_url_too_long_is_omitted() {
    let small = Options { access_token_size: 0, refresh_token_size: 100, ..Options::new("http://unused") };
    let (app, _) = with_hint(TestApp::builder().provider(small)).await;
    app.provider.set_mutation(Some(padding(2_600)));
    let mut visitor = app.signed_in(ADA).await;
    assert!(visitor.cookie_header().len() > 4_000, "the session holds it");
    let response = visitor.fetch("POST", "/auth/logout").await;
    let by_fetch = response.json()["logout_url"].as_str().unwrap().to_owned();
    let response = app.signed_in(ADA).await.send("POST", "/auth/logout", &NAVIGATION, "").await;
    let by_form = response.header("location").unwrap().to_owned();
    for url in [by_fetch, by_form] {
        assert!(url.starts_with(&format!("http://{}/", app.provider.addr())), "{url}");
        assert_eq!((parameter(&url, "id_token_hint"), parameter(&url, "logout_hint").as_deref()), (None, Some(ADA)));
    }
}

/// Contract 12.22 and 4.15: only sign-out needs the ID token, so that it is left out before any access token.
#[tokio::test]
async fn an_id_token_that_does_not_fit_the_budget_is_left_out_before_access_tokens() {
    let (mut app, _) = with_hint(TestApp::builder()).await;
    app.provider.set_mutation(Some(padding(5_000)));
    let mut visitor = app.signed_in(ADA).await;
    assert!(visitor.cookie_header().len() <= 7_100, "{}", visitor.cookie_header().len());
    app.restart();
    app.wait_until_ready(200).await;
    let before = app.provider.token_requests();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert_eq!(app.provider.token_requests(), before, "the cookie has kept the access token");
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    let url = visitor.fetch("POST", "/auth/logout").await.json()["logout_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("http://{}/", app.provider.addr())), "{url}");
    assert_eq!(parameter(&url, "id_token_hint"), None);
}

/// Contract 12.22 and 4.16: without a refresh token no access token may be left out, but the ID token may.
#[tokio::test]
async fn an_id_token_never_makes_a_session_too_large() {
    let (app, _) = with_hint(TestApp::builder().set("SCOPES", "openid")).await;
    app.provider.set_mutation(Some(padding(6_000)));
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
}

/// Contract 3.12, 3.13: only in forwarding mode a form loses its content type, and only an empty one.
#[tokio::test(flavor = "multi_thread")]
async fn a_navigation_with_a_body_and_without_a_content_type_is_no_form() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let of_a_page = [
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-site", "same-origin"),
        ("accept", "text/html"),
    ];
    let response = visitor.send("POST", "/auth/logout", &of_a_page, "x").await;
    assert_eq!((response.status, response.code()), (403, "csrf_failed"));
    assert_eq!(visitor.send("POST", "/auth/logout", &of_a_page, "").await.status, 303);
}
