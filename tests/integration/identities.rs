//! Every kind of identity (contract 6.5) with the real binary: it opens the vault and authenticates the client. The
//! managed identity has further tests in `managed_identity`, and the store in `redis_sessions::workload_identity`.

mod virtual_machine;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devkit::identity::{self, Identity};
use devkit::provider::Recorded;
use devkit::vault::{self, Vault};
use devkit::workload::{Cluster, Entra, Options};

use crate::app::{BINARY, Builder, TestApp};
use crate::canaries::found;
use crate::cloud::SECRET;
use crate::visitor::Visitor;

pub const ACCOUNT: &str = "gateway";
pub const HOUR: Duration = Duration::from_secs(3_600);

/// A pod whose service account an identity trusts.
pub struct Pod {
    pub identity: Identity,
    pub cluster: Cluster,
    pub entra: Entra,
    folder: tempfile::TempDir,
}

impl Pod {
    /// With tokens of the identity that live for so long. The SDK requests new ones five minutes before they expire.
    pub async fn start(token_life: Duration) -> Self {
        let options = identity::Options { token_life, ..identity::Options::default() };
        let client_id = options.system_assigned.clone().unwrap();
        let identity = Identity::start(options).await.unwrap();
        let cluster = Cluster::start().await.unwrap();
        let (issuer, subject) = (cluster.issuer(), Cluster::subject(ACCOUNT));
        let entra = Entra::start(Options { identity: identity.clone(), client_id, issuer, subject }).await.unwrap();
        let pod = Self { identity, cluster, entra, folder: tempfile::tempdir().unwrap() };
        pod.project(HOUR);
        pod
    }

    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("azure-identity-token")
    }

    /// Replaces the token of the service account.
    pub fn project(&self, life: Duration) -> String {
        self.cluster.project(&self.token_file(), ACCOUNT, life).unwrap()
    }

    /// The pod's variables, and a file with these authorities besides Entra's.
    pub fn variables(&self, authorities: &[&str]) -> BTreeMap<String, String> {
        let roots = self.folder.path().join("ca.pem");
        std::fs::write(&roots, [authorities, &[self.entra.ca_pem()]].concat().concat()).unwrap();
        let files = [("AZURE_FEDERATED_TOKEN_FILE", self.token_file()), ("SSL_CERT_FILE", roots)];
        let files = files.map(|(name, path)| (name, path.display().to_string()));
        self.entra.env().into_iter().chain(files).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A gateway without a secret in this pod.
    pub fn gateway(&self, authorities: &[&str]) -> Builder {
        let builder = TestApp::builder().trusting(self.cluster.issuer(), Cluster::subject(ACCOUNT));
        with(builder, self.variables(authorities))
    }

    pub fn assert_no_secret_is_logged_or_sent(&self, app: &TestApp, browser: &Visitor) {
        let secrets = [self.identity.secrets(), self.cluster.secrets(), app.provider.secrets()].concat();
        assert_not_found(secrets, app, browser);
    }
}

fn with(builder: Builder, variables: BTreeMap<String, String>) -> Builder {
    variables.into_iter().fold(builder, |builder, (name, value)| builder.variable(&name, value))
}

fn assert_not_found(secrets: Vec<(String, String)>, app: &TestApp, browser: &Visitor) {
    let secrets: Vec<_> = secrets.into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
    assert!(secrets.len() > 2);
    assert_eq!(found(app.log().as_bytes(), &secrets), [""; 0], "in the log");
    assert_eq!(found(&browser.received, &secrets), [""; 0], "in the browser");
}

/// A vault with a key, for tokens of this identity.
async fn vault(identity: &Identity) -> Vault {
    let vault = Vault::start(vault::Options::new(identity)).await.unwrap();
    vault.put_with(SECRET, &crate::key_vault::key(1), |version| version.created -= 60);
    vault
}

fn vault_settings(vault: &Vault) -> BTreeMap<String, String> {
    let settings = [
        ("ENC_KEY", String::new()),
        ("KEY_VAULT_URL", vault.url()),
        ("KEY_REFRESH", "1s".to_owned()),
        ("CLOCK_SKEW", "1s".to_owned()),
        ("KEY_PROPAGATION", "3s".to_owned()),
    ];
    settings.into_iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), value)).collect()
}

/// The client assertion of the newest request for tokens.
fn newest_assertion(app: &TestApp) -> Option<String> {
    let requests: Vec<Recorded> = app.provider.requests();
    requests.iter().rev().find_map(|request| request.form_field("client_assertion"))
}

/// Runs `cloakroom check --online` with an app's settings and others; returns the exit code and the output.
fn check(app: &TestApp, changes: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["check", "--online"]).env_clear().envs(&app.settings).envs(changes.iter().copied());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}
