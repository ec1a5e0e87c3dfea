//! Client authentication (contract 7.7): a token of the app's managed identity as client assertion, or a client secret
//! sent as the provider's metadata says.

use std::time::Duration;

use devkit::identity::{self, Fault, Identity};
use devkit::provider::{CLIENT_SECRET, Options, Recorded};

use crate::app::{Builder, TestApp, every_reach};
use crate::canaries::found;

const ADA: &str = "ada.lovelace@contoso.example";
const USER_ASSIGNED: &str = "11111111-2222-4333-8444-555555555555";

fn system_assigned() -> String {
    identity::Options::default().system_assigned.unwrap()
}

/// A provider with access tokens of two seconds and a revocation endpoint.
fn brief() -> Options {
    Options { access_token_life: Duration::from_secs(2), revocation: true, ..Options::new("http://unused") }
}

async fn old() {
    tokio::time::sleep(Duration::from_millis(3_100)).await;
}

/// The gateway's requests with client authentication.
fn proven(app: &TestApp) -> Vec<Recorded> {
    let ending = |request: &Recorded| ["/token", "/revoke"].iter().any(|end| request.path().ends_with(end));
    app.provider.requests().into_iter().filter(ending).collect()
}

fn assert_no_secret_is_logged_or_sent(app: &TestApp, identity: &Identity, received: &[u8]) {
    let secrets = app.provider.secrets().into_iter().chain(identity.secrets());
    let secrets: Vec<(String, Vec<u8>)> = secrets.map(|(kind, value)| (kind, value.into_bytes())).collect();
    assert!(secrets.iter().any(|(kind, _)| kind == "identity_header"));
    assert_eq!(found(app.log().as_bytes(), &secrets), [""; 0], "in the log");
    assert_eq!(found(received, &secrets), [""; 0], "in the browser");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_secret_sign_in_calls_refresh_and_sign_out_work() {
    for reach in every_reach() {
        let identity = Identity::start(identity::Options::default()).await.unwrap();
        let app = TestApp::builder().reach(reach).provider(brief()).federated(&identity, &system_assigned());
        let app = app.start().await;
        let mut visitor = app.signed_in(ADA).await;
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{reach:?}: {}", app.log());
        old().await;
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{reach:?}: {}", app.log());
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{reach:?}: {}", app.log());
        assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
        let requests = proven(&app);
        assert_eq!(requests.len(), 4, "code, two refreshes, revocation");
        for request in &requests {
            assert!(request.form_field("client_assertion").is_some_and(|token| token.split('.').count() == 3));
            assert_eq!(request.form_field("client_secret"), None);
            assert_eq!(request.header("authorization"), None);
        }
        assert!(!app.log().contains("could not be revoked"), "{}", app.log());
        assert_eq!(identity.count(), 1, "its token is cached until it expires");
        assert_no_secret_is_logged_or_sent(&app, &identity, &visitor.received);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_assigned_identity_is_chosen_by_its_client_id() {
    let options = identity::Options { user_assigned: vec![USER_ASSIGNED.to_owned()], ..identity::Options::default() };
    let identity = Identity::start(options).await.unwrap();
    let app = || TestApp::builder().federated(&identity, USER_ASSIGNED);
    let chosen = app().variable("AZURE_CLIENT_ID", USER_ASSIGNED).start().await;
    let mut visitor = chosen.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    // The system-assigned identity is another one.
    let other = app().start().await;
    let response = other.visitor().sign_in(&other.provider, ADA, "/").await;
    assert_eq!(response.header("location"), Some("/?auth_error=login_failed"), "{}", other.log());
}

/// Faults of an identity endpoint.
const FAILURES: [Fault; 6] =
    [Fault::status(500), Fault::status(400), Fault::status(429), Fault::Garbage, Fault::HangUp, Fault::Hang];

/// An endpoint whose tokens are so short-lived that the gateway requests one each time.
async fn forgetful() -> (Identity, Builder) {
    let options = identity::Options { token_life: Duration::from_secs(120), ..identity::Options::default() };
    let identity = Identity::start(options).await.unwrap();
    let builder = TestApp::builder().provider(brief()).federated(&identity, &system_assigned());
    (identity, builder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_identity_endpoint_is_reported_at_the_sign_in() {
    let (identity, builder) = forgetful().await;
    let app = builder.start().await;
    let mut visitor = app.visitor();
    for fault in FAILURES {
        identity.fault(&[], fault);
        let response = visitor.sign_in(&app.provider, ADA, "/here").await;
        let expected = (302, Some("/here?auth_error=provider_unavailable"));
        assert_eq!((response.status, response.header("location")), expected, "{fault:?}: {}", app.log());
        assert!(visitor.jar.is_empty(), "{fault:?}");
    }
    assert_eq!(app.provider.token_requests(), 0, "no code is exchanged without client authentication");
    identity.clear_faults();
    let response = visitor.sign_in(&app.provider, ADA, "/here").await;
    assert_eq!(response.header("location"), Some("/here"), "it heals: {}", app.log());
    assert_no_secret_is_logged_or_sent(&app, &identity, &visitor.received);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_identity_endpoint_signs_no_user_out() {
    let (identity, builder) = forgetful().await;
    let app = builder.start().await;
    let mut visitor = app.signed_in(ADA).await;
    old().await;
    let signed_in = visitor.jar.clone();
    for fault in FAILURES {
        identity.fault(&[], fault);
        let (method, path) = if fault == Fault::Hang { ("POST", "/auth/refresh") } else { ("GET", "/graph/me") };
        let response = visitor.fetch(method, path).await;
        assert_eq!((response.status, response.code()), (503, "provider_unavailable"), "{fault:?}: {}", app.log());
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&seconds) && response.header("set-cookie").is_none());
        assert_eq!(visitor.fetch("GET", "/auth/session").await.json()["authenticated"], true);
    }
    assert_eq!(visitor.jar, signed_in);
    identity.clear_faults();
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "it heals: {}", app.log());
    assert_no_secret_is_logged_or_sent(&app, &identity, &visitor.received);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_identity_header_makes_the_identity_unavailable() {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let app = TestApp::builder().federated(&identity, &system_assigned()).variable("IDENTITY_HEADER", "CANARY-header");
    let app = app.start().await;
    let response = app.visitor().sign_in(&app.provider, ADA, "/").await;
    assert_eq!(response.header("location"), Some("/?auth_error=provider_unavailable"), "{}", app.log());
    assert_eq!(identity.requests()[0].header("x-identity-header"), Some("CANARY-header"));
    assert!(!app.log().contains("CANARY"), "{}", app.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_secret_is_sent_as_the_metadata_says() {
    let (post, basic) = ("client_secret_post", "client_secret_basic");
    for (announced, by_post) in
        [(None, false), (Some(vec![basic]), false), (Some(vec![post]), true), (Some(vec![basic, post]), true)]
    {
        let methods = announced.as_ref().map(|methods| methods.iter().map(|method| (*method).to_owned()).collect());
        let app = TestApp::builder().provider(Options { secret_methods: methods, ..brief() }).start().await;
        let mut visitor = app.signed_in(ADA).await;
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204);
        visitor.fetch("POST", "/auth/logout").await;
        let requests = proven(&app);
        assert_eq!(requests.len(), 3, "code, refresh, revocation");
        for request in &requests {
            assert_eq!(request.form_field("client_secret").as_deref(), by_post.then_some(CLIENT_SECRET));
            assert_eq!(request.header("authorization").is_some(), !by_post, "{announced:?}");
        }
        // The provider decodes the header, so tokens are issued only if it was encoded correctly.
        assert!(app.provider.secrets().contains(&("client_secret".to_owned(), CLIENT_SECRET.to_owned())));
        assert!(!app.log().contains("could not be revoked"), "{}", app.log());
    }
}
