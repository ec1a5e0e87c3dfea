//! Signing out by fetch, form and link (contract 3.12 to 3.20).

use crate::app::{EVERY_REACH, TestApp};
use crate::visitor::{NAVIGATION, Visitor};

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
    for reach in EVERY_REACH {
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
    for reach in EVERY_REACH {
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
    let options = devkit::provider::Options { revocation: true, ..devkit::provider::Options::new("http://x") };
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
