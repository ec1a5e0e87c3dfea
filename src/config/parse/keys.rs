//! The key source, and the parameters of a key's life (contract 6.3, 6.16).

use std::sync::Arc;

use super::{ConfigParser, Parsed};
use crate::config::settings::{
    ENC_KEY, KEY_FILE, KEY_LIFE, KEY_NAME, KEY_PROPAGATION, KEY_REFRESH, KEY_ROTATE, KEY_VAULT_URL, Setting,
};
use crate::config::{Keys, PREFIX};
use crate::keyring::KeySource;
use crate::keyring::file::FileRing;
use crate::keyring::key_vault::{KeyVault, REVOCATIONS_SUFFIX};
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::origin::Origin;
use crate::os::CAN_CHECK_PRIVATE;
use crate::secret::Key32;
use crate::session::Limits;

impl ConfigParser<'_> {
    /// `sessions`: `None` if it was recorded as an error already.
    pub(super) fn keys(&mut self, sessions: Option<&Limits>) -> Parsed<Keys> {
        let (refresh, propagation, life) =
            (self.duration(&KEY_REFRESH), self.duration(&KEY_PROPAGATION), self.duration(&KEY_LIFE));
        let source = self.key_source();
        let rotate = self.choice(&KEY_ROTATE, &[("on", true), ("off", false)]);
        let (refresh, propagation, life) = (refresh?, propagation?, life?);
        // Without limits the start fails anyway; the checks below are then only less strict.
        let (max, clock_skew) = sessions.map_or_else(Default::default, |limits| (limits.max, limits.clock_skew));
        if propagation < refresh * 2 + clock_skew {
            self.record(
                &KEY_PROPAGATION,
                format!("must be at least twice {PREFIX}KEY_REFRESH plus {PREFIX}CLOCK_SKEW"),
            );
        }
        if life < propagation * 2 {
            self.record(&KEY_LIFE, format!("must be at least twice {PREFIX}KEY_PROPAGATION"));
        }
        let parameters = Parameters { propagation, life, retention: max + clock_skew };
        Ok(Keys { source: source?, parameters, refresh, clock_skew: clock_skew.as_secs(), rotate: rotate? })
    }

    fn key_source(&mut self) -> Parsed<Arc<dyn KeySource>> {
        let set: Vec<_> = [KEY_VAULT_URL, KEY_FILE, ENC_KEY]
            .into_iter()
            .filter_map(|setting| Some((setting, self.set_value(&setting)?)))
            .collect();
        let mut sources: Vec<_> = set.iter().map(|(setting, value)| self.key_source_of(setting, value)).collect();
        if self.set_value(&KEY_VAULT_URL).is_none() && self.set_value(&KEY_NAME).is_some() {
            self.record(&KEY_NAME, format!("is only valid together with {PREFIX}KEY_VAULT_URL"));
        }
        if let [_, .., (extra, _)] = set.as_slice() {
            return Err(self.record(extra, "conflicts with another key source; set only one"));
        }
        let Some(source) = sources.pop() else {
            let others = format!("or {PREFIX}KEY_FILE or {PREFIX}ENC_KEY is required");
            return Err(self.record(&KEY_VAULT_URL, others));
        };
        source
    }

    fn key_source_of(&mut self, setting: &Setting, value: &str) -> Parsed<Arc<dyn KeySource>> {
        match setting.name {
            name if name == KEY_FILE.name => self.or_record(&KEY_FILE, key_file(value, CAN_CHECK_PRIVATE)),
            name if name == ENC_KEY.name => {
                let value = self.secret(&ENC_KEY)?.unwrap_or_default();
                let key = Key32::from_base64(value).ok_or("must be base64 or base64url of 32 bytes");
                Ok(Arc::new(StaticKey::new(&self.or_record(&ENC_KEY, key)?)))
            }
            _ => self.key_vault(value),
        }
    }

    fn key_vault(&mut self, url: &str) -> Parsed<Arc<dyn KeySource>> {
        let url = Origin::parse(url).ok().filter(|origin| origin.url().scheme() == "https");
        let url = self.or_record(&KEY_VAULT_URL, url.ok_or("must be the vault's https URL without a path"));
        let name = self.text(&KEY_NAME);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        // With the suffix the name of the revocation list's secret has at most 127, Key Vault's limit.
        let longest = 127 - REVOCATIONS_SUFFIX.len();
        let is_valid = (1..=longest).contains(&name.len()) && name.bytes().all(allowed);
        let problem = || format!("must be 1 to {longest} letters, digits and hyphens");
        let name = is_valid.then(|| name.to_owned()).ok_or_else(problem);
        let name = self.or_record(&KEY_NAME, name);
        Ok(Arc::new(KeyVault::new(url?.url().clone(), name?, Arc::clone(&self.credential))))
    }
}

/// Contract 6.4: only its owner may read the file, which not every system lets the gateway check.
fn key_file(path: &str, can_check: bool) -> Result<Arc<dyn KeySource>, String> {
    if !can_check {
        return Err(format!(
            "cannot be used on this system, where the gateway cannot check who else may read the file; \
             set {PREFIX}KEY_VAULT_URL, or {PREFIX}ENC_KEY for trials"
        ));
    }
    Ok(Arc::new(FileRing::new(path.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_needs_a_system_on_which_its_readers_can_be_checked() {
        assert!(key_file("keys.json", true).is_ok());
        let problem = key_file("keys.json", false).unwrap_err();
        assert!(problem.contains("CLOAKROOM_KEY_VAULT_URL") && problem.contains("CLOAKROOM_ENC_KEY"), "{problem}");
    }
}
