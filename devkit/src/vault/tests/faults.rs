use std::time::Instant;

use serde_json::json;

use super::*;

async fn started() -> Setup {
    let setup = Setup::start().await;
    setup.vault.put("ring", "value");
    setup
}

/// Whether a request fails before a whole answer came.
async fn breaks(setup: &Setup) -> bool {
    let url = format!("{}/secrets/ring?api-version=7.6", setup.vault.url());
    match setup.client.get(url).bearer_auth(setup.identity.token(KEY_VAULT)).send().await {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_fault_applies_to_its_operations_only() {
    let setup = started().await;
    setup.vault.fault(&[Operation::List], Fault::ForbiddenByRbac);
    let (status, refused) = setup.get("/secrets/ring/versions").await;
    assert_eq!((status, codes(&refused)), (403, ("Forbidden", "ForbiddenByRbac")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("secrets/readMetadata/action"));
    assert_eq!(setup.get("/secrets/ring").await.0, 200);
    setup.vault.fault(&[Operation::Set, Operation::Update], Fault::ForbiddenByFirewall);
    let (_, refused) = setup.call(Method::PUT, "/secrets/ring", Some(json!({"value": "x"}))).await;
    assert_eq!(codes(&refused), ("Forbidden", "ForbiddenByFirewall"));
    assert_eq!(setup.vault.versions("ring").len(), 1);
    // A request without a token gets the challenge.
    let url = format!("{}/secrets/ring/versions?api-version=7.6", setup.vault.url());
    assert_eq!(setup.client.get(url).send().await.unwrap().status(), 401);
    setup.vault.clear_faults();
    assert_eq!(setup.get("/secrets/ring/versions").await.0, 200);
}

#[tokio::test]
async fn a_fault_can_be_set_for_some_requests() {
    let setup = started().await;
    setup.vault.fault_next(&[], 2, Fault::Status { status: 429, retry_after: Some(3_600) });
    let url = format!("{}/secrets/ring?api-version=7.6", setup.vault.url());
    let answer = setup.client.get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"3600".parse().unwrap()));
    assert_eq!(codes(&setup.get("/secrets/ring/versions").await.1).0, "Throttled");
    assert_eq!(setup.get("/secrets/ring").await.0, 200);
}

#[tokio::test]
async fn responses_are_broken_or_lost() {
    let setup = started().await;
    let one = |fault| setup.vault.fault_next(&[], 1, fault);
    one(Fault::status(503));
    assert_eq!(setup.get("/secrets/ring").await.0, 503);
    for fault in [Fault::Garbage, Fault::CutJson] {
        one(fault);
        assert_eq!(setup.get("/secrets/ring").await, (200, Value::Null));
    }
    for fault in [Fault::HangUp, Fault::LoseResponse, Fault::Truncated] {
        one(fault);
        assert!(breaks(&setup).await, "{fault:?}");
    }
    assert!(!breaks(&setup).await);
    // The request of a lost response was executed.
    one(Fault::LoseResponse);
    let url = format!("{}/secrets/ring?api-version=7.6", setup.vault.url());
    let put = setup.client.put(url).bearer_auth(setup.identity.token(KEY_VAULT)).json(&json!({"value": "x"}));
    assert!(put.send().await.is_err());
    assert_eq!(setup.vault.versions("ring").len(), 2);
}

#[tokio::test]
async fn responses_are_delayed_or_never_sent() {
    let setup = started().await;
    setup.vault.fault_next(&[], 1, Fault::Delay(Duration::from_millis(200)));
    let start = Instant::now();
    assert_eq!(setup.get("/secrets/ring").await.0, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    setup.vault.fault(&[], Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(200), setup.get("/secrets/ring")).await.is_err());
    setup.vault.clear_faults();
    assert_eq!(setup.get("/secrets/ring").await.0, 200);
}

#[tokio::test]
async fn connections_are_refused_or_ignored() {
    let setup = started().await;
    assert!(!breaks(&setup).await);
    let addr = setup.vault.addr();
    setup.vault.set_accept_mode(AcceptMode::Refused).await.unwrap();
    // Idle connections are closed too.
    assert!(breaks(&setup).await);
    let refused = tokio::net::TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    setup.vault.set_accept_mode(AcceptMode::Silent).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), breaks(&setup)).await.is_err());
    setup.vault.set_accept_mode(AcceptMode::Normal).await.unwrap();
    assert!(!breaks(&setup).await);
    assert_eq!(setup.vault.addr(), addr);
    setup.vault.stop().await;
    assert!(breaks(&setup).await);
    TcpListener::bind(addr).await.unwrap();
}
