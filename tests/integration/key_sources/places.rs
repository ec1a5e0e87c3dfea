//! Backends of key rings, with direct access to each that does not use the product.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use cloakroom::credential;
use cloakroom::keyring::KeySource;
use cloakroom::keyring::file::FileRing;
use cloakroom::keyring::key_vault::KeyVault;
use cloakroom::net::OutboundClients;
use devkit::identity::{Identity, KEY_VAULT, Options};
use devkit::os;
use devkit::vault::{self, Vault};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::key_vault::key;

/// The vault's host name: under the domain of the resource in its challenge.
pub const HOST: &str = "cloakroom-test.vault.azure.net";

/// A backend that stores rings by name.
pub enum Place {
    Folder(tempfile::TempDir),
    Vault {
        http: reqwest::Client,
        credential: Credential,
        /// The server of this backend.
        _keep: Box<dyn std::any::Any + Send + Sync>,
    },
}

/// A version of another writer.
pub struct Seed {
    pub value: String,
    pub content_type: Option<&'static str>,
    pub not_before: Option<u64>,
    pub expires: Option<u64>,
    pub tags: &'static [(&'static str, &'static str)],
}

impl Seed {
    /// A key of which every byte is this, without attributes.
    pub fn of(byte: u8) -> Self {
        Self { value: key(byte), content_type: None, not_before: None, expires: None, tags: &[] }
    }
}

impl Place {
    /// A folder with key files.
    pub fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    /// The vault stand-in, under the name of a real vault.
    pub async fn vault() -> Self {
        let (vault, credential) = vault_for(KEY_VAULT).await;
        Self::of_vault(http(vault.ca_pem(), vault.addr()), credential, vault)
    }

    /// A vault that is reachable as [`HOST`].
    pub fn of_vault(http: reqwest::Client, credential: Credential, keep: impl Send + Sync + 'static) -> Self {
        Self::Vault { http, credential, _keep: Box::new(keep) }
    }

    /// The product's key source for a ring.
    pub fn source(&self, ring: &str) -> Arc<dyn KeySource> {
        match self {
            Self::Folder(_) => Arc::new(FileRing::new(self.path(ring))),
            Self::Vault { http, credential, .. } => {
                let net = Arc::new(OutboundClients::with_http(http.clone()));
                let url = format!("https://{HOST}").parse().unwrap();
                Arc::new(KeyVault::new(url, ring.to_owned(), credential.for_gateway(net)))
            }
        }
    }

    /// Creates a version and returns its id.
    pub async fn seed(&self, ring: &str, seed: &Seed) -> String {
        let tags: serde_json::Map<String, Value> =
            seed.tags.iter().map(|(name, value)| (String::from(*name), Value::from(*value))).collect();
        match self {
            Self::Folder(_) => self.write(ring, seed, &tags),
            Self::Vault { http, credential, .. } => {
                let version = json!({
                    "value": seed.value, "contentType": seed.content_type, "tags": tags,
                    "attributes": {"nbf": seed.not_before, "exp": seed.expires},
                });
                let request = http.put(format!("https://{HOST}/secrets/{ring}?api-version=7.6")).json(&version);
                let response = request.bearer_auth(credential.token()).send().await.unwrap();
                assert_eq!(response.status().as_u16(), 200);
                let made: Value = response.json().await.unwrap();
                made["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
            }
        }
    }

    /// Writes the revocation list of a ring, whatever it is.
    pub async fn write_revocations(&self, ring: &str, text: &str, content_type: Option<&str>) {
        match self {
            Self::Folder(_) => {
                let path = self.path(ring);
                let contents: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let contents = format!(r#"{{"keys": {}, "revocations": {text}}}"#, contents["keys"]);
                std::fs::write(path, contents).unwrap();
            }
            Self::Vault { http, credential, .. } => {
                let version = json!({"value": text, "contentType": content_type});
                let address = format!("https://{HOST}/secrets/{ring}-revocations?api-version=7.6");
                let request = http.put(address).json(&version).bearer_auth(credential.token());
                assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
            }
        }
    }

    /// Whether the backend stores content types.
    pub fn keeps_content_types(&self) -> bool {
        matches!(self, Self::Vault { .. })
    }

    fn path(&self, ring: &str) -> PathBuf {
        let Self::Folder(folder) = self else { panic!("no folder") };
        folder.path().join(ring).with_extension("json")
    }

    fn write(&self, ring: &str, seed: &Seed, tags: &serde_json::Map<String, Value>) -> String {
        use std::io::Write;
        let path = self.path(ring);
        let mut contents: Value =
            std::fs::read(&path).map_or_else(|_| json!({"keys": []}), |text| serde_json::from_slice(&text).unwrap());
        let id = format!("{:032x}", rand::random::<u128>());
        let entry = json!({
            "id": id, "value": seed.value, "enabled": true, "created": cloakroom::clock::now(),
            "not_before": seed.not_before, "expires": seed.expires, "tags": tags,
        });
        contents["keys"].as_array_mut().unwrap().push(entry);
        let mut options = os::private_file_options();
        let mut file = options.write(true).create(true).truncate(true).open(path).unwrap();
        file.write_all(contents.to_string().as_bytes()).unwrap();
        id
    }
}

/// A vault for [`HOST`] with this resource in its challenge, and its credential.
pub async fn vault_for(resource: &str) -> (Vault, Credential) {
    let identity = Identity::start(Options::default()).await.unwrap();
    let options = vault::Options {
        names: vec![HOST.to_owned()],
        resource: resource.to_owned(),
        ..vault::Options::new(&identity)
    };
    (Vault::start(options).await.unwrap(), Credential::new(identity.token(KEY_VAULT)))
}

/// A client that trusts this authority only and resolves [`HOST`] to this address.
pub fn http(ca_pem: &str, addr: SocketAddr) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.with_root_certificates(roots).with_no_client_auth())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .resolve(HOST, addr)
        .build()
        .unwrap()
}

/// A credential for the SDK with one token, which counts its uses.
#[derive(Debug, Clone)]
pub struct Credential {
    token: String,
    requests: Arc<AtomicUsize>,
}

impl Credential {
    pub fn new(token: String) -> Self {
        Self { token, requests: Arc::default() }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn for_gateway(&self, net: Arc<OutboundClients>) -> Arc<credential::Credential> {
        let identity = credential::Identity::Given(Arc::new(self.clone()));
        Arc::new(credential::Credential::new(identity, net))
    }
}

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, [format!("{KEY_VAULT}/.default")]);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let expires = OffsetDateTime::now_utc() + std::time::Duration::from_secs(3_600);
        Ok(AccessToken::new(self.token.clone(), expires))
    }
}
