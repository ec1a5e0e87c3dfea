//! Keys from Key Vault with the official crates, over TLS and with a managed identity, and the commands that rotate
//! them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::api_map::ApiMap;
use cloakroom::clock;
use cloakroom::keyring::{Key, KeyId, Purpose};
use cloakroom::secret::Key32;
use cloakroom::session::payload::{AccessToken, Session, User};
use cloakroom::session::seal::{Binding, Times, seal};
use devkit::provider;
use devkit::vault::{self, Fault, Operation, Vault, Version};

use crate::app::TestApp;
use crate::cloud::{ADA, Cloud, SECRET, SESSION_COOKIE, eventually, sealed_by, until_ready, whole_journey};
use crate::visitor::Visitor;

/// The vault stand-in, with the identity that it trusts.
pub struct Setup {
    pub cloud: Cloud,
    pub vault: Vault,
}

impl Setup {
    /// An empty vault.
    pub async fn empty() -> Self {
        let identity = Cloud::identity().await;
        let vault = Vault::start(vault::Options::new(&identity)).await.unwrap();
        Self { cloud: Cloud::new(identity, vault.url(), vault.ca_pem()), vault }
    }

    /// A vault with a key that was created so many seconds ago.
    pub async fn with_key(age: u64) -> Self {
        let setup = Self::empty().await;
        setup.add(1, age);
        setup
    }

    /// Adds a key of which every byte, and every byte of its id, is this, created so many seconds ago; returns its kid.
    /// Use different ages: of two keys created in one second the greater id is newer, and real ids are random.
    pub fn add(&self, byte: u8, age: u64) -> String {
        self.add_with(byte, age, |_| {})
    }

    /// Adds a key with other attributes or another value.
    pub fn add_with(&self, byte: u8, age: u64, edit: impl FnOnce(&mut Version)) -> String {
        let created = self.vault.now() - age;
        self.vault.put_with(SECRET, &key(byte), |version| {
            version.id = format!("{byte:02x}").repeat(16);
            version.created = created;
            edit(version);
        });
        kid(byte)
    }

    /// A gateway that is ready.
    pub async fn app(&self) -> TestApp {
        self.cloud.gateway().start().await
    }
}

/// The kid of a key that [`Setup::add`] created.
pub fn kid(byte: u8) -> String {
    format!("{byte:02x}").repeat(8)
}

/// The value of a key.
pub fn key(byte: u8) -> String {
    URL_SAFE_NO_PAD.encode([byte; 32])
}

/// A session of Ada as another instance of an app sealed it, under a key of [`Setup::add`].
pub fn sealed_elsewhere(app: &TestApp, byte: u8) -> Visitor {
    let key = Key::new(KeyId([byte; 8]), &Key32::new([byte; 32]));
    let user = User { sub: "ada-lovelace-subject-1".to_owned(), ..User::default() };
    let now = clock::now();
    let mut session = Session::new([byte; 16], user, now);
    session.issuer = Some(app.provider.issuer());
    let apis = ApiMap::parse(&app.settings["CLOAKROOM_APIS"]).unwrap();
    session.access_tokens.push(AccessToken {
        api: "graph".to_owned(),
        token: app.provider.access_token(ADA, &format!("{}/User.Read", provider::GRAPH)).unwrap().into(),
        expires_at: now + 3_600,
        life: 3_600,
        binding: Some(apis.get("graph").unwrap().binding),
    });
    let binding =
        Binding { purpose: Purpose::Session, name: SESSION_COOKIE, handle: None, client_id: provider::CLIENT_ID };
    let times = Times { issued_at: now, expires_at: now + 3_600 };
    let sealed = seal(&key, binding, [byte; 12], times, &session.encode());
    let mut visitor = app.visitor();
    visitor.jar.insert(SESSION_COOKIE.to_owned(), sealed);
    visitor
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_journey_with_a_rotation_by_the_command() {
    let setup = Setup::empty().await;
    whole_journey(&setup.cloud).await;
    let (_, text) = setup.cloud.keys(&["list"]);
    for version in setup.vault.versions(SECRET) {
        assert!(!text.contains(&version.value), "no key in the output of a command");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_vault_signs_no_user_out_and_is_reported() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let mut visitor = app.signed_in(ADA).await;
    setup.vault.fault(&[Operation::List, Operation::Get], Fault::ForbiddenByRbac);
    until_ready(&app, "down", |ready| ready["down"][0] == "keys").await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    // The log has the command that fixes it.
    app.wait_for_log("az role assignment create").await;
    setup.vault.clear_faults();
    until_ready(&app, "available again", |ready| ready["down"].as_array().unwrap().is_empty()).await;
    let value = &setup.vault.versions(SECRET)[0].value;
    assert!(!app.log().contains(value.as_str()), "no key in a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_reseals_the_session_without_interruption() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let mut visitor = app.signed_in(ADA).await;
    let before = sealed_by(&visitor);
    let after = setup.add(2, 0);
    eventually(&app, "re-sealed", async || {
        let response = visitor.fetch("GET", "/graph/me").await;
        assert_eq!(response.status, 200, "{} {}", response.text(), app.log());
        (sealed_by(&visitor) != before).then_some(())
    })
    .await;
    assert_eq!(sealed_by(&visitor), after);
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_vault_rejects_is_replaced() {
    let setup = Setup::with_key(60).await;
    let app = setup.app().await;
    let token_requests = setup.cloud.identity.count();
    setup.cloud.identity.expire_tokens();
    setup.add(2, 30);
    eventually(&app, "read by the gateway", async || (sealed_by(&app.signed_in(ADA).await) == kid(2)).then_some(()))
        .await;
    assert_eq!(app.visitor().get("/health/ready").await.json()["down"], serde_json::json!([]));
    assert_eq!(setup.cloud.identity.count(), token_requests + 1, "with one new token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_past_its_life_is_reported_and_stays_in_use() {
    let setup = Setup::with_key(2 * 3_600).await;
    let app = setup.app().await;
    until_ready(&app, "overdue", |ready| ready["overdue"][0] == "keys").await;
    let mut visitor = app.signed_in(ADA).await;
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(app.visitor().get("/health/ready").await.status, 200);
    app.wait_for_log(r#""event":"key_overdue""#).await;
    setup.cloud.rotate().unwrap();
    until_ready(&app, "not overdue any more", |ready| ready["overdue"] == serde_json::json!([])).await;
}
