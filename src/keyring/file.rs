//! A ring in a file: the same states as Key Vault's versions, without Azure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Answer, KeyId, KeySource, SourceDown, Value, Version};
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, SecretString};

/// The file, read anew at every refresh.
#[derive(Debug)]
pub struct FileRing {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    value: SecretString,
    #[serde(default = "enabled_by_default")]
    enabled: bool,
    created: UnixSeconds,
    #[serde(default)]
    not_before: Option<UnixSeconds>,
    #[serde(default)]
    expires: Option<UnixSeconds>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

const fn enabled_by_default() -> bool {
    true
}

impl FileRing {
    /// The ring in the file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    async fn read(&self) -> Result<Contents, SourceDown> {
        let down = |problem: String| SourceDown(format!("the key file {}: {problem}", self.path.display()));
        let metadata = tokio::fs::metadata(&self.path).await.map_err(|error| down(error.to_string()))?;
        refuse_if_others_may_read(&metadata).map_err(down)?;
        let text: SecretString =
            tokio::fs::read_to_string(&self.path).await.map_err(|error| down(error.to_string()))?.into();
        // serde_json's own text may quote the file; its position may not.
        serde_json::from_str(text.expose_secret())
            .map_err(|error| down(format!("not the expected JSON, line {} column {}", error.line(), error.column())))
    }
}

#[cfg(unix)]
fn refuse_if_others_may_read(metadata: &std::fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err("others may read or write it; run chmod 600 on it".to_owned())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the Unix twin can fail")]
fn refuse_if_others_may_read(_metadata: &std::fs::Metadata) -> Result<(), String> {
    Ok(())
}

impl Entry {
    fn version(self) -> Option<Version> {
        Some(Version {
            kid: KeyId::from_version(&self.id)?,
            id: self.id,
            enabled: self.enabled,
            created: self.created,
            not_before: self.not_before,
            expires: self.expires,
            activate_now: self.tags.get("activate").is_some_and(|tag| tag == "now"),
        })
    }
}

impl KeySource for FileRing {
    fn list(&self) -> Answer<'_, Vec<Version>> {
        Box::pin(async move {
            let entries = self.read().await?.keys;
            let count = entries.len();
            let versions: Vec<Version> = entries.into_iter().filter_map(Entry::version).collect();
            if versions.len() < count {
                tracing::error!(file = %self.path.display(), "the key file has entries whose id is not 32 hex digits");
            }
            Ok(versions)
        })
    }

    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Value> {
        Box::pin(async move {
            let entry = self.read().await?.keys.into_iter().find(|entry| entry.id == id);
            let entry = entry.ok_or_else(|| SourceDown("the key file no longer has that key".to_owned()))?;
            Ok(Value { text: entry.value, content_type: None })
        })
    }
}
