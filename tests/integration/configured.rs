//! A session outlives a change of the configuration: it is of one issuer, and its access tokens are for an API as it
//! was configured (contract 4.24b).

use devkit::graph::{Graph, GraphOptions};
use devkit::provider::{GRAPH, Options, Provider};

use crate::app::{TestApp, api_map, settings};
use crate::lab::ADA;
use crate::visitor::Visitor;

/// Calls, and returns the token that an API got, after so many token requests.
async fn token_of_call(app: &TestApp, visitor: &mut Visitor, api: &Graph, token_requests: u64) -> String {
    let before = app.provider.token_requests();
    api.clear_requests();
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(response.status, 200, "{}: {}", response.text(), app.log());
    assert_eq!(app.provider.token_requests() - before, token_requests);
    api.requests()[0].header("authorization").unwrap().to_owned()
}

async fn restart(app: &mut TestApp, name: &str, value: String) {
    app.settings.insert(format!("CLOAKROOM_{name}"), value);
    app.restart();
    app.wait_until_ready(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_not_sent_to_another_base_nor_for_other_scopes() {
    let mut app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let first = token_of_call(&app, &mut visitor, &app.graph, 0).await;
    let other = Graph::start(GraphOptions::new(&app.provider.issuer())).await.unwrap();
    let mut map = api_map(&app.graph.base());
    map["graph"]["max_body"] = 1_048_576.into();
    restart(&mut app, "APIS", map.to_string()).await;
    assert_eq!(token_of_call(&app, &mut visitor, &app.graph, 0).await, first, "nothing that concerns the token");

    restart(&mut app, "APIS", api_map(&other.base()).to_string()).await;
    let second = token_of_call(&app, &mut visitor, &other, 1).await;
    assert_ne!(second, first);
    assert_eq!(token_of_call(&app, &mut visitor, &other, 0).await, second);

    let mut map = api_map(&other.base());
    map["graph"]["scopes"] = serde_json::json!([format!("{GRAPH}/User.Read"), format!("{GRAPH}/Mail.Send")]);
    restart(&mut app, "APIS", map.to_string()).await;
    let before = other.count();
    let response = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(response.code(), "consent_required", "the token without the new scope is not used: {}", app.log());
    assert_eq!(other.count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_issuer_is_invalid_and_its_tokens_go_nowhere() {
    let mut app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let address = visitor.begin("/").await;
    let callback = app.provider.sign_in(&address, ADA).unwrap().location();
    let other = Provider::start(Options::new(&app.origin)).await.unwrap();
    let authority = settings(&app.origin, &other)["CLOAKROOM_AUTHORITY"].clone();
    restart(&mut app, "AUTHORITY", authority).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "session_expired");
    assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], false);
    // Contract 7.5: so does the login transaction count as absent.
    let back = visitor.clone().come_back(&callback).await;
    assert_eq!(back.header("location"), Some("/?auth_error=login_expired"));
    let mut signs_out = visitor.clone();
    assert_eq!(signs_out.fetch("POST", "/auth/logout").await.status, 200);
    assert!(signs_out.jar.is_empty());
    let refreshed = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((refreshed.status, refreshed.code()), (401, "session_expired"));
    assert!(visitor.jar.keys().all(|name| name.contains("-login-")), "{:?}", visitor.jar.keys());
    assert_eq!((app.graph.count(), other.token_requests()), (0, 0));
}
