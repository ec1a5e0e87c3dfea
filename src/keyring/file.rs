//! A key ring in a file, with the same states as versions in Key Vault (contract 6.4).
//!
//! It is read again at every refresh. Writers hold an exclusive lock and replace the file by a rename, so that a reader
//! sees either the old or the new ring.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::revocations::{self, Addition};
use super::{KeyId, KeySource, NewVersion, SourceFuture, SourceUnavailable, Value, Version};
use crate::clock::UnixSeconds;
use crate::os::{check_private, open_private};
use crate::secret::{ExposeSecret, SecretString};
use crate::telemetry::spawn_blocking;

#[derive(Debug, Clone)]
pub struct FileRing {
    path: PathBuf,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<Entry>,
    /// The revocation list (contract 16.5) as it is in the file, so that writers of keys keep it whatever it is.
    #[serde(default, deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    revocations: Option<Box<RawValue>>,
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

/// A member that is there, since null is a malformed list and not a missing one.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

impl FileRing {
    /// The file need not exist: the first rotation creates it.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// File access blocks, and the runtime may have one thread only.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SourceUnavailable> + Send + 'static,
    ) -> Result<T, SourceUnavailable> {
        let ring = self.clone();
        let cancelled = |_| SourceUnavailable("the access to the key file was cancelled".to_owned());
        spawn_blocking(move || work(&ring)).await.map_err(cancelled)?
    }

    fn unavailable(&self, problem: impl std::fmt::Display) -> SourceUnavailable {
        SourceUnavailable(format!("the key file {}: {problem}", self.path.display()))
    }

    fn read(&self) -> Result<Contents, SourceUnavailable> {
        let file = File::open(&self.path).map_err(|error| self.unavailable(error))?;
        check_private(&file).map_err(|problem| self.unavailable(problem))?;
        let text: SecretString = io::read_to_string(file).map_err(|error| self.unavailable(error))?.into();
        // serde_json's text may quote the file, which contains keys; its position is enough.
        serde_json::from_str(text.expose_secret()).map_err(|error| {
            self.unavailable(format!("not the expected JSON, line {} column {}", error.line(), error.column()))
        })
    }

    fn read_or_empty(&self) -> Result<Contents, SourceUnavailable> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Contents::default()),
            _ => self.read(),
        }
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T, SourceUnavailable>,
    ) -> Result<T, SourceUnavailable> {
        // A separate file, because every write replaces the ring's.
        let lock = open_private(&self.with_suffix("lock")).map_err(|error| self.unavailable(error))?;
        lock.lock().map_err(|error| self.unavailable(error))?;
        let mut contents = self.read_or_empty()?;
        let outcome = change(&mut contents)?;
        self.replace(&contents).map_err(|error| self.unavailable(error))?;
        Ok(outcome)
    }

    fn replace(&self, contents: &Contents) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_string_pretty(contents)?);
        let fresh = self.with_suffix("new");
        let mut file = open_private(&fresh)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(fresh, &self.path)
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }
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
        tracing::error!("key versions ignored: the key file has entries whose id is not 32 hex digits");
    }
    versions
}

impl KeySource for FileRing {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(self.blocking(|ring| ring.read().map(versions)))
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        let id = id.to_owned();
        Box::pin(self.blocking(move |ring| {
            let entry = ring.read()?.keys.into_iter().find(|entry| entry.id == id);
            let entry = entry.ok_or_else(|| ring.unavailable("the key is not in the file any more"))?;
            if !entry.enabled {
                return Err(ring.unavailable("the key is disabled"));
            }
            Ok(Value { text: entry.value.as_str().into(), content_type: None })
        }))
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(self.blocking(|ring| ring.read_or_empty().map(versions)))
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, now: UnixSeconds) -> SourceFuture<'a, String> {
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

    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()> {
        let id = id.to_owned();
        Box::pin(self.blocking(move |ring| {
            ring.change(|contents| {
                let entry = contents.keys.iter_mut().find(|entry| entry.id == id);
                let entry = entry.ok_or_else(|| ring.unavailable("the key is not in the file any more"))?;
                entry.enabled = false;
                Ok(())
            })
        }))
    }

    fn has_revocations(&self) -> bool {
        true
    }

    fn revocations(&self) -> SourceFuture<'_, Option<String>> {
        Box::pin(self.blocking(|ring| Ok(ring.read()?.revocations.map(|list| list.get().to_owned()))))
    }

    fn add_revocations<'a>(&'a self, addition: &'a Addition) -> SourceFuture<'a, ()> {
        let addition = addition.clone();
        Box::pin(self.blocking(move |ring| {
            ring.change(|contents| {
                if contents.keys.is_empty() {
                    return Err(ring.unavailable("there is no file, or it has no key"));
                }
                let list = addition.to(contents.revocations.as_deref().map(RawValue::get))?;
                let list = RawValue::from_string(revocations::to_json(&list)?);
                contents.revocations = Some(list.map_err(|error| ring.unavailable(error))?);
                Ok(())
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_writers_lose_nothing_and_the_file_stays_private() {
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
        check_private(&File::open(folder.path().join("keys.json")).unwrap()).unwrap();
    }
}
