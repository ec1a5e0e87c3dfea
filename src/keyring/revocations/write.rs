//! Writes a list of which every change makes a version, as in Key Vault, which has no locks (contract 16.6).
//!
//! Concurrent writers start from the same version, so that the newest one lacks what the others added. Each therefore
//! reads after its own write what was written meanwhile, and writes again until nothing is missing. The last of all
//! writes is followed by such a check, too, so that in the end the newest version has everything.

use std::collections::HashSet;
use std::future::Future;

use super::{Addition, Revocations, merged_to_json, to_json};
use crate::clock::UnixSeconds;
use crate::keyring::{SourceUnavailable, Version};

/// How often a writer writes at most.
const ROUNDS: usize = 20;
/// Versions that are so much older than the one to start from are read too, in seconds: a writer that was interrupted
/// before its check may have left out what was in them.
const OVERLAP: u64 = 600;

/// A version with its value.
pub(in crate::keyring) struct Stored {
    pub(in crate::keyring) id: String,
    pub(in crate::keyring) created: UnixSeconds,
    pub(in crate::keyring) text: String,
}

/// A secret whose versions are lists.
pub(in crate::keyring) trait VersionedSecret: Sync {
    /// The newest version.
    fn newest(&self) -> impl Future<Output = Result<Option<Stored>, SourceUnavailable>> + Send;
    /// All versions, in any order.
    fn versions(&self) -> impl Future<Output = Result<Vec<Version>, SourceUnavailable>> + Send;
    /// One version.
    fn get(&self, id: &str) -> impl Future<Output = Result<Stored, SourceUnavailable>> + Send;
    /// Creates a version; returns its ID.
    fn put(&self, text: &str) -> impl Future<Output = Result<String, SourceUnavailable>> + Send;
}

/// Adds to the list.
///
/// # Errors
/// The secret cannot be read or written, or a list is malformed or too large. The addition may have been written, but
/// then not every entry of other writers is certain to be there.
pub(in crate::keyring) async fn add(
    secret: &impl VersionedSecret,
    addition: &Addition,
) -> Result<(), SourceUnavailable> {
    let start = secret.newest().await?;
    let mut list = addition.to(start.as_ref().map(|start| start.text.as_str()))?;
    let since = start.as_ref().map_or(0, |start| start.created);
    let mut seen: HashSet<String> = start.map(|start| start.id).into_iter().collect();
    let mut text = to_json(&list)?;
    for round in 0..ROUNDS {
        // After the first round the newest version may lack what others have added.
        let put = secret.put(&text).await.map_err(|problem| if round == 0 { problem } else { unchecked(problem) });
        seen.insert(put?);
        let complete = with_others(secret, addition, since, list.clone(), &mut seen).await.map_err(unchecked)?;
        if complete == list {
            return Ok(());
        }
        list = complete;
        text = merged_to_json(&list).map_err(unchecked)?;
    }
    Err(unchecked(SourceUnavailable("others write to the revocation list all the time".to_owned())))
}

/// The list with the entries of the versions that were not seen yet.
async fn with_others(
    secret: &impl VersionedSecret,
    addition: &Addition,
    since: UnixSeconds,
    mut list: Revocations,
    seen: &mut HashSet<String>,
) -> Result<Revocations, SourceUnavailable> {
    for version in secret.versions().await? {
        // A disabled version cannot be read.
        if !version.enabled || version.created.saturating_add(OVERLAP) < since || seen.contains(&version.id) {
            continue;
        }
        match addition.parse(&secret.get(&version.id).await?.text) {
            Ok(other) => list = addition.merge(list, other),
            // Repaired before this writer started.
            Err(_) if version.created < since => {}
            Err(malformed) => return Err(malformed),
        }
        seen.insert(version.id);
    }
    Ok(list)
}

fn unchecked(SourceUnavailable(problem): SourceUnavailable) -> SourceUnavailable {
    SourceUnavailable(format!(
        "the revocation list was written, but entries that others add at this moment may be missing, so run the \
         command again: {problem}"
    ))
}

#[cfg(test)]
mod tests;
