//! The main journey: sign in, session, call Graph, sign out; directly and through the host in both modes.

use devkit::provider::Provider;

use crate::app::{TestApp, every_reach};
use crate::visitor::Visitor;

#[tokio::test]
async fn a_user_signs_in_calls_graph_and_signs_out_in_every_mode() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).start().await;
        main_journey(&app.origin, &app.provider, || format!("{reach:?}: {}", app.log())).await;
    }
}

/// Runs the main journey. `context` is printed on a failure.
pub async fn main_journey(origin: &str, provider: &Provider, context: impl Fn() -> String) {
    let mut visitor = Visitor::new(origin);
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], false);

    let back = visitor.sign_in(provider, "ada.lovelace@contoso.example", "/inbox?folder=1#top").await;
    assert_eq!((back.status, back.header("location")), (302, Some("/inbox?folder=1#top")), "{}", context());
    let names = ["__Host-Http-cloakroom", "__Host-Http-cloakroom-id"];
    assert_eq!(visitor.jar.keys().collect::<Vec<_>>(), names, "the transaction is deleted");

    let session = visitor.fetch("GET", "/auth/session").await.json();
    assert_eq!(session["authenticated"], true);
    assert_eq!(session["user"]["preferred_username"], "ada.lovelace@contoso.example");
    assert_eq!(session["apis"]["graph"]["status"], "ok");

    let me = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(me.status, 200, "{}: {}", me.text(), context());
    assert_eq!(me.json()["userPrincipalName"], "ada.lovelace@contoso.example");
    assert_eq!(me.header("content-security-policy"), Some("sandbox; default-src 'none'"));

    let out = visitor.fetch("POST", "/auth/logout").await;
    assert_eq!(out.status, 200, "{}: {}", out.text(), context());
    let logout_url = out.json()["logout_url"].as_str().unwrap().to_owned();
    assert!(logout_url.contains("/oauth2/v2.0/logout?"), "{logout_url}");
    assert!(visitor.jar.is_empty(), "every gateway cookie is deleted");
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "session_missing");

    let home = leave(&logout_url).await;
    let state = home.strip_prefix(origin).unwrap();
    let back = visitor.navigate(state).await;
    assert_eq!((back.status, back.header("location")), (302, Some("/")), "{home}");
}

/// Signs out at the provider and returns the address of its redirect.
async fn leave(logout_url: &str) -> String {
    let url = url::Url::parse(logout_url).unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    let response = Visitor::new(&url.origin().ascii_serialization()).navigate(&path).await;
    response.header("location").unwrap_or_else(|| panic!("{}", response.text())).to_owned()
}
