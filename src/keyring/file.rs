//! A ring in a file: the same states as Key Vault's versions, without Azure.
//!
//! Read anew at every refresh. Written under a lock that other processes respect, and in one step, so that a reader
//! sees the old ring or the new one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Answer, KeyId, KeySource, NewVersion, SourceDown, Value, Version};
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, SecretString};

/// The file.
#[derive(Debug, Clone)]
pub struct FileRing {
    path: PathBuf,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    value: Zeroizing<String>,
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

    /// Runs file work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SourceDown> + Send + 'static,
    ) -> Result<T, SourceDown> {
        let ring = self.clone();
        let down = |_| SourceDown("the work on the key file was cut off".to_owned());
        tokio::task::spawn_blocking(move || work(&ring)).await.map_err(down)?
    }

    fn down(&self, problem: impl std::fmt::Display) -> SourceDown {
        SourceDown(format!("the key file {}: {problem}", self.path.display()))
    }

    fn read(&self) -> Result<Contents, SourceDown> {
        let file = File::open(&self.path).map_err(|error| self.down(error))?;
        refuse_if_others_may_read(&file).map_err(|problem| self.down(problem))?;
        let text: SecretString = io::read_to_string(file).map_err(|error| self.down(error))?.into();
        // serde_json's own text may quote the file; its position may not.
        serde_json::from_str(text.expose_secret()).map_err(|error| {
            self.down(format!("not the expected JSON, line {} column {}", error.line(), error.column()))
        })
    }

    fn read_or_none(&self) -> Result<Contents, SourceDown> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Contents::default()),
            _ => self.read(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> Result<T, SourceDown>) -> Result<T, SourceDown> {
        // The lock is a file of its own, as the ring's is replaced by every write.
        let lock = private(&self.beside("lock")).map_err(|error| self.down(error))?;
        lock.lock().map_err(|error| self.down(error))?;
        let mut contents = self.read_or_none()?;
        let outcome = change(&mut contents)?;
        self.replace(&contents).map_err(|error| self.down(error))?;
        Ok(outcome)
    }

    fn replace(&self, contents: &Contents) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_string_pretty(contents)?);
        let fresh = self.beside("new");
        let mut file = private(&fresh)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(fresh, &self.path)
    }

    /// The path of the ring with a further ending.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// A file that only its owner may read and write.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn refuse_if_others_may_read(file: &File) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err("others may read or write it; run chmod 600 on it".to_owned())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the Unix twin can fail")]
fn refuse_if_others_may_read(_file: &File) -> Result<(), String> {
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

fn versions(contents: Contents) -> Vec<Version> {
    let count = contents.keys.len();
    let versions: Vec<Version> = contents.keys.into_iter().filter_map(Entry::version).collect();
    if versions.len() < count {
        tracing::error!("the key file has entries whose id is not 32 hex digits");
    }
    versions
}

impl KeySource for FileRing {
    fn list(&self) -> Answer<'_, Vec<Version>> {
        Box::pin(self.blocking(|ring| ring.read().map(versions)))
    }

    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Value> {
        let id = id.to_owned();
        Box::pin(self.blocking(move |ring| {
            let entry = ring.read()?.keys.into_iter().find(|entry| entry.id == id);
            let entry = entry.ok_or_else(|| ring.down("it no longer has that key"))?;
            if !entry.enabled {
                return Err(ring.down("the key is disabled"));
            }
            Ok(Value { text: entry.value.as_str().into(), content_type: None })
        }))
    }

    fn list_or_empty(&self) -> Answer<'_, Vec<Version>> {
        Box::pin(self.blocking(|ring| ring.read_or_none().map(versions)))
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, now: UnixSeconds) -> Answer<'a, String> {
        let id = format!("{:032x}", rand::random::<u128>());
        let tags = new.activate_now.then(|| ("activate".to_owned(), "now".to_owned()));
        let entry = Entry {
            id: id.clone(),
            value: Zeroizing::new(new.text.expose_secret().to_owned()),
            enabled: true,
            created: now,
            not_before: None,
            expires: Some(new.expires),
            tags: tags.into_iter().collect(),
        };
        Box::pin(self.blocking(move |ring| {
            ring.change(|contents| {
                contents.keys.push(entry);
                Ok(id)
            })
        }))
    }

    fn disable<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        let id = id.to_owned();
        Box::pin(self.blocking(move |ring| {
            ring.change(|contents| {
                let entry = contents.keys.iter_mut().find(|entry| entry.id == id);
                let entry = entry.ok_or_else(|| ring.down("it no longer has that key"))?;
                entry.enabled = false;
                Ok(())
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn two_writers_lose_nothing_and_the_file_stays_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ring = FileRing::new(folder.path().join("keys.json"));
        let write = |number: u64| {
            let ring = ring.clone();
            tokio::spawn(async move {
                let new = NewVersion { text: "A".repeat(43).into(), expires: number, activate_now: false };
                ring.publish(&new, number).await.unwrap()
            })
        };
        let ids: Vec<_> = futures_util::future::join_all((0..20).map(write)).await;
        let listed = ring.list().await.unwrap();
        assert!(ids.into_iter().all(|id| listed.iter().any(|version| version.id == *id.as_ref().unwrap())));
        assert_eq!(listed.len(), 20);
        let mode = std::fs::metadata(folder.path().join("keys.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
