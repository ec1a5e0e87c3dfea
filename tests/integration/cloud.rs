//! A vault and an identity for the real binary, and the journey that must work with any vault.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::identity::{self, Identity};
use serde_json::Value;

use crate::app::{BINARY, Builder, PATIENCE, TestApp};
use crate::visitor::Visitor;

pub const ADA: &str = "ada.lovelace@contoso.example";
/// The name of the session cookie.
pub const SESSION_COOKIE: &str = "__Host-Http-cloakroom";
/// The default value of `KEY_NAME`.
pub const SECRET: &str = "cloakroom-keys";

/// The vault of a gateway's keys, and its identity.
pub struct Cloud {
    pub identity: Identity,
    url: String,
    folder: tempfile::TempDir,
}

impl Cloud {
    /// A vault at `url` with this certificate authority, and the identity that reads it.
    pub fn new(identity: Identity, url: String, ca_pem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca_pem).unwrap();
        Self { identity, url, folder }
    }

    /// The app's identity.
    pub async fn identity() -> Identity {
        Identity::start(identity::Options::default()).await.unwrap()
    }

    /// The variables for a gateway with this vault, with key lifetimes that suit a test.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> =
            self.identity.env().into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        variables.insert("SSL_CERT_FILE".to_owned(), self.folder.path().join("ca.pem").display().to_string());
        let settings = [
            ("KEY_VAULT_URL", self.url.as_str()),
            ("KEY_REFRESH", "1s"),
            ("CLOCK_SKEW", "1s"),
            ("KEY_PROPAGATION", "3s"),
            ("KEY_LIFE", "6s"),
        ];
        variables.extend(settings.map(|(name, value)| (format!("CLOAKROOM_{name}"), value.to_owned())));
        variables
    }

    /// Runs `cloakroom keys …` with this vault; returns the exit code and the output.
    pub fn keys(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output =
            Command::new(BINARY).arg("keys").args(arguments).env_clear().envs(self.variables()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The kid that `cloakroom keys rotate` published, if any.
    pub fn rotate(&self) -> Option<String> {
        let (code, text) = self.keys(&["rotate", "--json"]);
        assert_eq!(code, Some(0), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["published"].as_str().map(str::to_owned)
    }

    /// The key states in `cloakroom keys list`, by kid.
    pub fn states(&self) -> BTreeMap<String, String> {
        let (code, text) = self.keys(&["list", "--json"]);
        assert_eq!(code, Some(0), "{text}");
        let listed: Value = serde_json::from_str(&text).unwrap();
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        listed["keys"].as_array().unwrap().iter().map(|key| (text(key, "kid"), text(key, "state"))).collect()
    }

    /// A gateway with these keys.
    pub fn gateway(&self) -> Builder {
        let builder = TestApp::builder().set("ENC_KEY", "");
        self.variables().into_iter().fold(builder, |builder, (name, value)| builder.variable(&name, value))
    }
}

/// The key id of a browser's session cookie.
pub fn sealed_by(visitor: &Visitor) -> String {
    let sealed = URL_SAFE_NO_PAD.decode(&visitor.jar[SESSION_COOKIE]).unwrap();
    sealed[1..9].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Repeats an attempt until it returns a value.
pub async fn eventually<T>(app: &TestApp, what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "never {what}: {}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the body of `/health/ready` meets a condition.
pub async fn until_ready(app: &TestApp, what: &str, condition: impl Fn(&Value) -> bool) {
    let mut visitor = app.visitor();
    eventually(app, what, async || condition(&visitor.get("/health/ready").await.json()).then_some(())).await;
}

/// Creates a key ring, signs in, calls Graph while the ring rotates, and signs out.
pub async fn whole_journey(cloud: &Cloud) {
    let (code, text) = cloud.keys(&["list"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "the key ring is empty; `cloakroom keys rotate` creates the first key\n")
    );
    let app = cloud.gateway().impatient().start().await;
    app.wait_until_ready(503).await;
    let first = cloud.rotate().unwrap();
    app.wait_until_ready(200).await;
    let before_that = app.log().len();

    let mut visitor = app.signed_in(ADA).await;
    let me = visitor.fetch("GET", "/graph/me").await;
    assert_eq!((me.status, me.json()["userPrincipalName"].as_str()), (200, Some(ADA)));
    assert_eq!(sealed_by(&visitor), first);
    let at_first = visitor.jar.clone();

    let second = eventually(&app, "time for another key", async || cloud.rotate()).await;
    assert_eq!(cloud.rotate(), None, "a second rotation right after the first does nothing");
    eventually(&app, "sealed again", async || {
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 200, "calls work during a rotation: {} {}", response.text(), app.log());
        (sealed_by(&visitor) == second).then_some(())
    })
    .await;
    assert_eq!(cloud.states(), BTreeMap::from([(first, "retiring".to_owned()), (second.clone(), "active".to_owned())]));
    assert_eq!(sealed_by(&app.signed_in(ADA).await), second);
    let mut tab = app.visitor();
    tab.jar.clone_from(&at_first);
    assert_eq!(tab.fetch("GET", "/graph/me").await.status, 200, "the retiring key opens");

    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    assert!(visitor.jar.is_empty());
    visitor.jar = at_first;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.code(), "session_expired", "signed out under every key");
    assert!(!app.log()[before_that..].contains("\"ERROR\""), "{}", app.log());
}
