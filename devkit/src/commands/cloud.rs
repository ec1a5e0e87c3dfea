//! What Azure gives to an app: a vault for its keys, and an identity that may use it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::{self, Identity};
use crate::vault::{self, Vault};
use crate::web::random_text;

/// The secret whose versions are the key ring.
const SECRET: &str = "cloakroom-keys";
/// What the handbook has pipelines say of the value.
const CONTENT_TYPE: &str = "application/vnd.cloakroom.key";

/// A vault that starts empty and keeps its versions in memory only, and the identity that it trusts.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The identity's endpoint.
    pub identity: Identity,
    /// The vault.
    pub vault: Vault,
    authority: PathBuf,
}

impl Cloud {
    /// Starts both, and writes the certificate of the vault's authority to a file.
    ///
    /// # Errors
    /// No port is free, or the file cannot be written.
    pub async fn start(authority: &Path) -> io::Result<Self> {
        let identity = Identity::start(identity::Options::default()).await?;
        let vault = Vault::start(vault::Options::new(&identity)).await?;
        if let Some(folder) = authority.parent() {
            std::fs::create_dir_all(folder)?;
        }
        vault.write_ca(authority)?;
        Ok(Self { identity, vault, authority: authority.to_owned() })
    }

    /// The variables that an app needs to find its keys.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let identity = self.identity.env().map(|(name, value)| (name.to_owned(), value));
        let own = [
            ("CLOAKROOM_KEY_VAULT_URL".to_owned(), self.vault.url()),
            ("SSL_CERT_FILE".to_owned(), self.authority.display().to_string()),
        ];
        identity.into_iter().chain(own).collect()
    }

    /// Puts a key into the vault as a pipeline does that is in a hurry: it seals 30 s later. Gives the version's id.
    pub fn put_key(&self) -> String {
        self.vault.put_with(SECRET, &random_text(32), |version| {
            version.content_type = Some(CONTENT_TYPE.to_owned());
            version.tags.insert("activate".to_owned(), "now".to_owned());
        })
    }

    /// How many versions the ring has.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.vault.versions(SECRET).len()
    }
}
