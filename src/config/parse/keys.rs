//! The one source of the keys, and the parameters of a key's life.

use std::sync::Arc;
use std::time::Duration;

use super::{ConfigParser, PREFIX};
use crate::config::Keys;
use crate::keyring::KeySource;
use crate::keyring::file::FileRing;
use crate::keyring::key_vault::{Identity, KeyVault};
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::origin::Origin;
use crate::secret::Key32;
use crate::session::Limits;

impl ConfigParser<'_> {
    pub(super) fn keys(&mut self, sessions: &Limits) -> Option<Keys> {
        let refresh = self.duration("KEY_REFRESH", Duration::from_secs(300));
        let propagation = self.duration("KEY_PROPAGATION", Duration::from_secs(900));
        if propagation < refresh * 2 + sessions.clock_skew {
            self.fault(
                "KEY_PROPAGATION",
                format!("is less than twice {PREFIX}KEY_REFRESH and {PREFIX}CLOCK_SKEW together"),
            );
        }
        let life = self.duration("KEY_LIFE", Duration::from_secs(30 * 86_400));
        if life < propagation * 2 {
            self.fault("KEY_LIFE", format!("is less than twice {PREFIX}KEY_PROPAGATION"));
        }
        let source = self.key_source()?;
        let retention = sessions.max + sessions.clock_skew;
        Some(Keys { source, parameters: Parameters { propagation, life, retention }, refresh })
    }

    /// The one source that is configured.
    fn key_source(&mut self) -> Option<Arc<dyn KeySource>> {
        const SOURCES: [&str; 3] = ["KEY_VAULT_URL", "KEY_FILE", "ENC_KEY"];
        let named: Vec<&str> = SOURCES.into_iter().filter(|name| self.get(name).is_some()).collect();
        let [name] = named.as_slice() else {
            match named.as_slice() {
                [] => self.fault("KEY_VAULT_URL", format!("or {PREFIX}KEY_FILE or {PREFIX}ENC_KEY is required")),
                [.., extra] => self.fault(extra, "conflicts with another key source; set only one"),
            }
            return None;
        };
        if *name != "KEY_VAULT_URL" && self.get("KEY_NAME").is_some() {
            self.fault("KEY_NAME", format!("is only valid together with {PREFIX}KEY_VAULT_URL"));
        }
        let value = self.get(name)?;
        match *name {
            "KEY_FILE" => Some(Arc::new(FileRing::new(value.into()))),
            "ENC_KEY" => {
                let key = Key32::from_base64(value).ok_or("is base64 or base64url of 32 bytes");
                Some(Arc::new(StaticKey::new(&self.or_record("ENC_KEY", key)?)))
            }
            _ => self.key_vault(value),
        }
    }

    fn key_vault(&mut self, url: &str) -> Option<Arc<dyn KeySource>> {
        let origin = Origin::parse(url).ok().filter(|origin| origin.url().scheme() == "https");
        let origin = self.or_record("KEY_VAULT_URL", origin.ok_or("is the vault's https address without a path"));
        let name = self.get("KEY_NAME").unwrap_or("cloakroom-keys");
        let good =
            (1..=127).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let name =
            self.or_record("KEY_NAME", good.then(|| name.to_owned()).ok_or("is 1 to 127 letters, digits and hyphens"));
        let identity = if self.vars.get("IDENTITY_ENDPOINT").is_some() {
            Identity::Managed(self.vars.get("AZURE_CLIENT_ID").map(str::to_owned))
        } else {
            Identity::Developer
        };
        Some(Arc::new(KeyVault::new(origin?.url().clone(), name?, identity, Arc::clone(&self.net))))
    }
}
