//! Keys from Key Vault by the official crates, over TLS and with a managed identity, and the commands that rotate them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use devkit::identity::{self, Identity};
use devkit::vault::{self, Fault, Operation, Vault};

use crate::app::{BINARY, Builder, PATIENCE, TestApp};

const ADA: &str = "ada.lovelace@contoso.example";
const SECRET: &str = "cloakroom-keys";

/// A vault, the identity that it trusts, and its authority's certificate.
pub struct Cloud {
    identity: Identity,
    pub vault: Vault,
    folder: tempfile::TempDir,
}

impl Cloud {
    pub async fn start() -> Self {
        let identity = Identity::start(identity::Options::default()).await.unwrap();
        let vault = Vault::start(vault::Options::new(&identity)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), vault.ca_pem()).unwrap();
        Self { identity, vault, folder }
    }

    /// The variables that point a gateway here.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> =
            self.identity.env().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        variables.insert("SSL_CERT_FILE".to_owned(), self.folder.path().join("ca.pem").display().to_string());
        variables.insert("CLOAKROOM_KEY_VAULT_URL".to_owned(), self.vault.url());
        variables
    }

    /// `cloakroom keys …` with this vault; gives the exit code and what it said.
    pub fn keys(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output =
            Command::new(BINARY).arg("keys").args(arguments).env_clear().envs(self.variables()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    pub fn gateway(&self) -> Builder {
        let builder = TestApp::builder().set("ENC_KEY", "");
        let fast = builder.set("KEY_REFRESH", "1s").set("CLOCK_SKEW", "1s").set("KEY_PROPAGATION", "3s");
        self.variables().into_iter().fold(fast, |builder, (name, value)| builder.variable(&name, value))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_made_by_a_command_and_serves_a_sign_in() {
    let cloud = Cloud::start().await;
    let (code, text) = cloud.keys(&["list"]);
    assert_eq!((code, text.as_str()), (Some(0), "the ring is empty; cloakroom keys rotate makes the first key\n"));
    let app = cloud.gateway().impatient().start().await;
    app.wait_until_ready(503).await;
    let (code, text) = cloud.keys(&["rotate", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let kid = serde_json::from_str::<serde_json::Value>(&text).unwrap()["published"].as_str().unwrap().to_owned();
    assert_eq!(cloud.keys(&["rotate"]), (Some(0), "nothing to do\n".to_owned()), "twice does nothing");
    app.wait_until_ready(200).await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    let (_, listed) = cloud.keys(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (listed["keys"][0]["kid"].as_str(), listed["keys"][0]["state"].as_str()),
        (Some(kid.as_str()), Some("active"))
    );
    let value = cloud.vault.versions(SECRET).remove(0).value;
    assert!(!app.log().contains(&value), "no key in a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_fails_signs_nobody_out_and_is_named() {
    let cloud = Cloud::start().await;
    assert_eq!(cloud.keys(&["rotate"]).0, Some(0));
    let app = cloud.gateway().start().await;
    let mut visitor = app.signed_in(ADA).await;
    for fault in
        [Fault::ForbiddenByRbac, Fault::Garbage, Fault::HangUp, Fault::Status { status: 503, retry_after: Some(3_600) }]
    {
        let told = format!("{fault:?}");
        cloud.vault.fault(&[Operation::List, Operation::Get], fault);
        until(&app, "down", |ready| ready["down"][0] == "keys").await;
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{told}");
        app.signed_in(ADA).await;
        cloud.vault.heal();
        until(&app, "up again", |ready| ready["down"].as_array().unwrap().is_empty()).await;
    }
    assert!(app.log().contains("az role assignment create"), "the remedy is named: {}", app.log());
}

async fn until(app: &TestApp, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
    let begun = Instant::now();
    while !condition(&app.visitor().get("/health/ready").await.json()) {
        assert!(begun.elapsed() < PATIENCE, "never {what}: {}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
