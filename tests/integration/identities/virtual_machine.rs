//! The identity of a virtual machine. Its metadata service has a fixed address, so that the test has a network of its
//! own, in which that is one of the machine's.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::process::Command;

use devkit::identity::{self, Fault, Identity};
use serde_json::json;

use super::{assert_not_found, check, newest_assertion, vault, vault_settings, with};
use crate::app::TestApp;
use crate::cloud::{ADA, until_ready};

/// Set inside the network.
const INSIDE: &str = "CLOAKROOM_TEST_INSIDE_NETWORK";
const SET_UP: &str = r#"ip link set lo up && ip addr add 169.254.169.254/32 dev lo && exec "$0" "$@""#;
const USER_ASSIGNED: &str = "11111111-2222-4333-8444-555555555555";

/// Runs a test of this module again, in a network namespace with only a loopback interface.
fn run_in_own_network(test: &str) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", SET_UP]).arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Contract 6.5, 7.7.
#[tokio::test(flavor = "multi_thread")]
async fn the_identity_of_the_machine_opens_the_vault_and_authenticates_the_client() {
    if std::env::var_os(INSIDE).is_none() {
        let test = "the_identity_of_the_machine_opens_the_vault_and_authenticates_the_client";
        return run_in_own_network(&format!("identities::virtual_machine::{test}"));
    }
    let identity = Identity::start(identity::Options {
        addr: SocketAddr::from(([169, 254, 169, 254], 80)),
        user_assigned: vec![USER_ASSIGNED.to_owned()],
        token_life: std::time::Duration::from_secs(120),
        ..identity::Options::default()
    })
    .await
    .unwrap();
    let vault = vault(&identity).await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("ca.pem");
    vault.write_ca(&roots).unwrap();
    let builder = TestApp::builder()
        .trusting(identity.issuer(), identity.principal(USER_ASSIGNED).unwrap())
        .variable("SSL_CERT_FILE", roots.display().to_string())
        .variable("AZURE_CLIENT_ID", USER_ASSIGNED)
        .set("VM_IDENTITY", "on");
    let app = with(builder, vault_settings(&vault)).start().await;
    let mut ada = app.signed_in(ADA).await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    assert!(newest_assertion(&app).is_some_and(|token| identity.secrets().iter().any(|(_, value)| *value == token)));
    for request in identity.requests() {
        assert_eq!(request.path(), "/metadata/identity/oauth2/token");
        assert_eq!(request.header("metadata"), Some("true"));
        assert!(request.query().unwrap().contains(&format!("client_id={USER_ASSIGNED}")), "{:?}", request.query());
    }

    // The SDK repeats a request to this endpoint for more than a minute; the gateway does not wait for that.
    identity.fault(&[], Fault::status(500));
    until_ready(&app, "down", |ready| ready["down"][0] == "keys").await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200);
    identity.clear_faults();
    until_ready(&app, "available again", |ready| ready["down"] == json!([])).await;
    identity.fault(&[], Fault::status(400));
    let (code, said) = check(&app, &[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("no token (status 400): check that the virtual machine has an identity"), "{said}");
    assert_not_found([identity.secrets(), app.provider.secrets()].concat(), &app, &ada);
}
