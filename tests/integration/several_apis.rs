//! Several APIs from one sign-in, each with its own access token, without a store (contract 7.21, 7.22).

use devkit::graph::{Graph, GraphOptions};
use devkit::provider::{Alteration, Endpoint, Options};
use serde_json::{Value, json};

use crate::app::{Reach, TestApp, api_map, every_reach};
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace@contoso.example";

/// Graph, and two more APIs with their own audiences: consent exists for one of them, not for the other.
async fn start(reach: Reach) -> (TestApp, [Graph; 3]) {
    start_with(reach, Options::new("http://unused")).await
}

async fn start_with(reach: Reach, options: Options) -> (TestApp, [Graph; 3]) {
    // The APIs need the provider's address, so they start after the first gateway.
    let first = TestApp::builder().reach(reach);
    let port = devkit::commands::stack::free_port().unwrap();
    let provider = Options { addr: std::net::SocketAddr::from(([127, 0, 0, 1], port)), ..options };
    let issuer = format!("http://127.0.0.1:{port}/{}/v2.0", devkit::provider::TENANT);
    let api = async |audience: &str| {
        let options = GraphOptions { audience: audience.to_owned(), ..GraphOptions::new(&issuer) };
        Graph::start(options).await.unwrap()
    };
    let apis = [api(devkit::provider::GRAPH).await, api("api://orders").await, api("api://ledger").await];
    let mut map = api_map(&apis[0].base());
    for (name, graph) in [("orders", &apis[1]), ("ledger", &apis[2])] {
        let scope = if name == "orders" { "api://orders/Orders.Read" } else { "api://ledger/Ledger.Read" };
        map[name] = json!({"base": graph.base(), "scopes": [scope], "allow": ["GET /me", "POST /echo/**"]});
    }
    let app = first.provider(provider).set("APIS", map.to_string()).start().await;
    assert_eq!(app.provider.issuer(), issuer);
    (app, apis)
}

async fn statuses(visitor: &mut Visitor) -> Value {
    let session = visitor.fetch("GET", "/auth/session").await.json();
    let status = |name: &str| session["apis"][name]["status"].clone();
    json!([status("graph"), status("orders"), status("ledger")])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apis_with_different_audiences_work_from_one_sign_in() {
    for reach in every_reach() {
        let (app, apis) = start(reach).await;
        let mut visitor = app.signed_in(ADA).await;
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{reach:?}: {}", app.log());
        let before = app.provider.token_requests();
        for _ in 0..3 {
            assert_eq!(visitor.fetch("GET", "/api/orders/me").await.status, 200, "{reach:?}: {}", app.log());
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
        }
        assert_eq!(app.provider.token_requests() - before, 1, "one refresh, then the session holds the token");
        let posted = visitor.send("POST", "/api/orders/echo/x", &crate::visitor::CALL, "{}").await;
        assert_eq!(posted.status, 200, "{reach:?}: every method of the map reaches an API");
        let bearer = |graph: &Graph| graph.requests()[0].header("authorization").unwrap().to_owned();
        assert_ne!(bearer(&apis[0]), bearer(&apis[1]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_is_requested_for_one_api_only() {
    let (app, _apis) = start(Reach::Direct).await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(statuses(&mut visitor).await, json!(["ok", "ok", "ok"]));
    let rejected = visitor.fetch("GET", "/api/ledger/me").await;
    assert_eq!((rejected.status, rejected.code()), (401, "consent_required"), "{}", app.log());
    assert_eq!(rejected.json()["login_url"], "/auth/login?api=ledger");
    assert_eq!(statuses(&mut visitor).await, json!(["ok", "ok", "needs_consent"]));
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "the session is kept");
    let away = visitor.navigate("/auth/login?api=ledger").await;
    let address = away.header("location").unwrap().to_owned();
    assert!(address.contains("Ledger.Read") && !address.contains("User.Read"), "{address}");
    let callback = app.provider.sign_in(&address, ADA).unwrap();
    assert_eq!(visitor.come_back(&callback.location()).await.header("location"), Some("/"));
    for path in ["/api/ledger/me", "/graph/me", "/api/orders/me"] {
        assert_eq!(visitor.fetch("GET", path).await.status, 200, "{path}: {}", app.log());
    }
    let unknown = visitor.navigate("/auth/login?api=nothing").await;
    assert_eq!((unknown.status, unknown.code()), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_fails_for_one_api_writes_the_tokens_of_the_others() {
    let (app, _apis) = start(Reach::Direct).await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/api/orders/me").await.status, 200);
    let rejected = devkit::provider::OAuthError {
        suberror: Some("consent_required"),
        ..devkit::provider::OAuthError::new("invalid_grant")
    };
    app.provider.fault_next(&[Endpoint::Token], 1, devkit::provider::Fault::Error(rejected));
    let before = visitor.jar.clone();
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!((response.status, response.code()), (401, "consent_required"));
    assert_ne!(visitor.jar, before, "the refresh is activity, and the other API's token is new");
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

/// Contract 7.18: the provider accepts nothing but the new refresh token any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_is_written_with_the_error_of_a_call_that_got_no_access_token() {
    let options = Options { one_time_refresh: true, ..Options::new("http://unused") };
    let (mut app, _apis) = start_with(Reach::Direct, options).await;
    let mut visitor = app.signed_in(ADA).await;
    let without_consent = Alteration::json(|tokens| tokens["scope"] = "openid offline_access".into());
    app.provider.set_alteration(Endpoint::Token, Some(without_consent));
    let rejected = visitor.fetch("GET", "/api/orders/me").await;
    assert_eq!((rejected.status, rejected.code()), (401, "consent_required"), "{}", app.log());
    assert!(rejected.header("set-cookie").is_some());
    app.provider.set_alteration(Endpoint::Token, None);
    // Another instance knows only the cookie.
    app.restart();
    app.wait_until_ready(200).await;
    assert_eq!(visitor.fetch("GET", "/api/orders/me").await.status, 200, "{}", app.log());
    let before = app.provider.token_requests();
    let rejected = visitor.fetch("GET", "/api/ledger/me").await;
    assert_eq!((rejected.status, rejected.code()), (401, "consent_required"), "{}", app.log());
    assert!(app.provider.token_requests() > before && rejected.header("set-cookie").is_none(), "nothing is new");
}
