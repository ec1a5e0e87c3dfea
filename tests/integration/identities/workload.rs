//! Workload identity, as Kubernetes' webhook sets it up.

use std::path::Path;
use std::time::Duration;

use devkit::identity::Identity;
use devkit::workload::Fault;
use serde_json::json;

use super::{ACCOUNT, HOUR, Pod, check, newest_assertion, vault, vault_settings, with};
use crate::cloud::{ADA, eventually, until_ready};

/// So short that the SDK requests a token for each use.
const BRIEF: Duration = Duration::from_secs(120);

/// Contract 6.5, 7.7.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_service_account_opens_the_vault_and_authenticates_the_client() {
    let pod = Pod::start(HOUR).await;
    let vault = vault(&pod.identity).await;
    // The next kind of identity is not used where the first applies.
    let other = Identity::start(devkit::identity::Options::default()).await.unwrap();
    let mut builder = with(pod.gateway(&[vault.ca_pem()]), vault_settings(&vault)).set("VM_IDENTITY", "on");
    for (name, value) in other.env() {
        builder = builder.variable(name, value);
    }
    let app = builder.start().await;
    let mut ada = app.signed_in(ADA).await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert_eq!(ada.fetch("POST", "/auth/refresh").await.status, 204);
    assert_eq!(ada.fetch("POST", "/auth/logout").await.status, 200);
    assert_eq!(newest_assertion(&app), std::fs::read_to_string(pod.token_file()).ok());
    assert!(vault.count_gets() > 0);
    assert_eq!(pod.entra.count(), 1, "its token is cached until it expires");
    assert_eq!((pod.entra.errors(), other.count()), (vec![], 0));
    pod.assert_no_secret_is_logged_or_sent(&app, &ada);
}

/// Kubernetes replaces the token before it expires, in the same place.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_read_again() {
    let pod = Pod::start(BRIEF).await;
    let vault = vault(&pod.identity).await;
    let app = with(pod.gateway(&[vault.ca_pem()]), vault_settings(&vault)).start().await;
    let ada = app.signed_in(ADA).await;
    let rotated = pod.project(HOUR);
    eventually(&app, "exchanged", async || {
        let newest = pod.entra.requests().pop().and_then(|request| request.form_field("client_assertion"));
        (newest.as_ref() == Some(&rotated)).then_some(())
    })
    .await;
    app.signed_in(ADA).await;
    assert_eq!(newest_assertion(&app), Some(rotated), "at the provider too");

    pod.entra.advance(2 * HOUR);
    pod.identity.expire_tokens();
    until_ready(&app, "down", |ready| ready["down"][0] == "keys").await;
    app.wait_for_log("no token (status 401, AADSTS700024)").await;
    assert_eq!(ada.clone().fetch("GET", "/graph/me").await.status, 200, "with the keys that are known");
    pod.project(4 * HOUR);
    until_ready(&app, "available again", |ready| ready["down"] == json!([])).await;
    pod.assert_no_secret_is_logged_or_sent(&app, &ada);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_token_endpoint_signs_no_user_out() {
    let pod = Pod::start(BRIEF).await;
    let vault = vault(&pod.identity).await;
    let app = with(pod.gateway(&[vault.ca_pem()]), vault_settings(&vault)).start().await;
    let mut ada = app.signed_in(ADA).await;
    for fault in [Fault::status(500), Fault::status(429), Fault::Garbage, Fault::HangUp] {
        pod.entra.fault(&[], fault);
        // The SDK uses the token that it has as long as the vault accepts it.
        pod.identity.expire_tokens();
        until_ready(&app, "down", |ready| ready["down"][0] == "keys").await;
        assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{fault:?}: {}", app.log());
        pod.entra.clear_faults();
        until_ready(&app, "available again", |ready| ready["down"] == json!([])).await;
    }
    // The SDK does not tell the status of a response that has not the form of Entra's errors.
    app.wait_for_log("no token (Credential): check AZURE_FEDERATED_TOKEN_FILE").await;
    pod.assert_no_secret_is_logged_or_sent(&app, &ada);
}

/// What goes wrong where a pod is set up, and what `check --online` says about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_reported_with_entras_number_and_what_to_check() {
    let pod = Pod::start(HOUR).await;
    let vault = vault(&pod.identity).await;
    let app = with(pod.gateway(&[vault.ca_pem()]), vault_settings(&vault)).start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cases = [
        (file("subject", &pod.cluster.token("another", HOUR)), "no token (status 401, AADSTS700213)"),
        (file("audience", &pod.cluster.token_for("x", ACCOUNT, HOUR)), "no token (status 401, AADSTS700212)"),
        (file("garbage", "CANARY"), "no token (status 401, AADSTS50027)"),
        (file("empty", "\n"), "no token (AZURE_FEDERATED_TOKEN_FILE is empty)"),
        (folder.path().join("missing"), "no token (AZURE_FEDERATED_TOKEN_FILE cannot be read: entity not found)"),
    ];
    for (path, expected) in &cases {
        let (code, said) = check(&app, &[("AZURE_FEDERATED_TOKEN_FILE", path.as_path())]);
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(expected) && said.contains("(a federated credential)"), "{expected}: {said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    let (code, said) = check(&app, &[("AZURE_TENANT_ID", Path::new(""))]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("AZURE_TENANT_ID is required with AZURE_FEDERATED_TOKEN_FILE"), "{said}");
    let (code, said) = check(&app, &[("AZURE_AUTHORITY_HOST", Path::new("https://localhost:9"))]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("AZURE_AUTHORITY_HOST"), "{said}");
}

/// A sign-in without the file is the provider's outage, not the user's fault.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_file_no_code_is_exchanged() {
    let pod = Pod::start(HOUR).await;
    let app = pod.gateway(&[]).start().await;
    std::fs::remove_file(pod.token_file()).unwrap();
    let response = app.visitor().sign_in(&app.provider, ADA, "/here").await;
    assert_eq!(response.header("location"), Some("/here?auth_error=provider_unavailable"), "{}", app.log());
    assert_eq!(app.provider.token_requests(), 0);
    app.wait_for_log("no client assertion: no token (AZURE_FEDERATED_TOKEN_FILE cannot be read: entity not found)")
        .await;
    pod.project(HOUR);
    app.signed_in(ADA).await;
}
