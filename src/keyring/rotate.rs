//! The rotation step, whoever runs it, and the revocation of a key (contract 6.25 to 6.28).

mod hourly;

use std::fmt;
use std::time::Duration;

use super::ring::{SOURCE_DEADLINE, hedged};
use super::states::{Parameters, State, ValueStatus, activation, dedup_by_kid, states};
use super::{KeyId, KeySource, NewVersion, SourceUnavailable, Version};
use crate::clock::{Clock, UnixSeconds};
use crate::secret::Key32;
pub use hourly::rotate_hourly;

/// How long a revocation waits for the successor of the active key, in seconds.
const SUCCESSOR_WAIT: u64 = 60;

/// What a step has to do.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Publish a version with this expiry.
    publish: Option<UnixSeconds>,
    disable: Vec<Version>,
}

/// What a step did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub published: Option<KeyId>,
    pub disabled: Vec<KeyId>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let published = self.published.iter().map(|kid| format!("published {kid}"));
        let disabled = self.disabled.iter().map(|kid| format!("disabled {kid}"));
        let changes: Vec<String> = published.chain(disabled).collect();
        f.write_str(if changes.is_empty() { "nothing to do" } else { "" })?;
        f.write_str(&changes.join(", "))
    }
}

/// A version with its state, to be displayed.
#[derive(Debug)]
pub struct VersionState {
    pub version: Version,
    pub state: State,
    pub activation: UnixSeconds,
}

/// What a revocation did.
#[derive(Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The version that was published because the revoked one was active.
    pub successor: Option<KeyId>,
}

/// Why a revocation failed. A successor may have been published.
#[derive(Debug, PartialEq, Eq)]
pub enum RevokeError {
    Unavailable(SourceUnavailable),
    UnknownKey,
}

impl From<SourceUnavailable> for RevokeError {
    fn from(unavailable: SourceUnavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// Publishes `new_key` if a version is due, and disables the versions that are expired and retired.
///
/// It lists again right before it publishes. Concurrent steps publish at most one surplus version each, which does no
/// harm; an interrupted step is completed by the next.
///
/// # Errors
/// The source is unavailable. What was done before remains done.
pub async fn rotate(
    source: &dyn KeySource,
    new_key: &Key32,
    now: UnixSeconds,
    parameters: &Parameters,
) -> Result<Outcome, SourceUnavailable> {
    let plan = loop {
        let versions = with_values(source).await?;
        let plan = plan(&versions, now, parameters);
        // Another step may have published meanwhile (contract 6.26).
        if plan.publish.is_none() || !has_other_versions(source, &versions).await? {
            break plan;
        }
    };
    let mut outcome = Outcome::default();
    if let Some(expires) = plan.publish {
        let new = NewVersion { text: new_key.to_base64url(), expires, activate_now: false };
        outcome.published = Some(publish(source, &new, now).await?);
    }
    for version in plan.disable {
        hedged(|| source.disable(&version.id)).await?;
        outcome.disabled.push(version.kid);
    }
    Ok(outcome)
}

/// Rotates with a random key, and logs what has changed. Returns the outcome in one sentence. `remedy`: what to do if
/// it fails again.
pub async fn rotate_and_log(source: &dyn KeySource, now: UnixSeconds, parameters: &Parameters, remedy: &str) -> String {
    match rotate(source, &Key32::random(), now, parameters).await {
        Ok(outcome) if outcome == Outcome::default() => outcome.to_string(),
        Ok(outcome) => {
            let summary = outcome.to_string();
            let published = outcome.published.map(|kid| kid.to_string());
            let disabled = Some(outcome.disabled.len()).filter(|count| *count > 0);
            tracing::info!(event = "keys_rotated", published, disabled, "{summary}");
            summary
        }
        Err(SourceUnavailable(problem)) => {
            tracing::error!(
                event = "key_rotation_failed",
                %problem,
                "the keys could not be rotated; the next rotation tries again{remedy}"
            );
            format!("not rotated: {problem}")
        }
    }
}

/// All versions with their states, oldest first.
///
/// # Errors
/// The source is unavailable.
pub async fn list(
    source: &dyn KeySource,
    now: UnixSeconds,
    parameters: &Parameters,
) -> Result<Vec<VersionState>, SourceUnavailable> {
    let versions = with_values(source).await?;
    let (states, _) = states(&versions, now, parameters);
    let with_state = |((version, _), state): ((Version, ValueStatus), State)| {
        let activation = activation(&version, parameters);
        VersionState { version, state, activation }
    };
    let mut versions: Vec<VersionState> = versions.into_iter().zip(states).map(with_state).collect();
    versions.sort_by(|a, b| {
        (a.activation, a.version.created, &a.version.id).cmp(&(b.activation, b.version.created, &b.version.id))
    });
    Ok(versions)
}

/// Disables a key. If it is active, `new_key` is published as its successor first, and awaited until it is active.
///
/// # Errors
/// [`RevokeError`].
pub async fn revoke(
    source: &dyn KeySource,
    kid: KeyId,
    new_key: &Key32,
    clock: Clock<'_>,
    parameters: &Parameters,
) -> Result<Revocation, RevokeError> {
    let versions = list(source, clock(), parameters).await?;
    let target = versions.into_iter().find(|found| found.version.kid == kid).ok_or(RevokeError::UnknownKey)?;
    let mut successor = None;
    if target.state == State::Active {
        let now = clock();
        let new = NewVersion { text: new_key.to_base64url(), expires: expiry(now, parameters), activate_now: true };
        successor = Some(publish(source, &new, now).await?);
        let until = now.saturating_add(SUCCESSOR_WAIT);
        while clock() < until && is_active(source, kid, clock(), parameters).await? {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    hedged(|| source.disable(&target.version.id)).await?;
    Ok(Revocation { successor })
}

async fn is_active(
    source: &dyn KeySource,
    kid: KeyId,
    now: UnixSeconds,
    parameters: &Parameters,
) -> Result<bool, SourceUnavailable> {
    let versions = list(source, now, parameters).await?;
    Ok(versions.iter().any(|found| found.version.kid == kid && found.state == State::Active))
}

async fn publish(source: &dyn KeySource, new: &NewVersion, now: UnixSeconds) -> Result<KeyId, SourceUnavailable> {
    // Never retried: the version may have been created although the response was lost.
    let id = tokio::time::timeout(SOURCE_DEADLINE, source.publish(new, now)).await;
    let id = id.map_err(|_| SourceUnavailable("no response within 5 s".to_owned()))??;
    KeyId::from_version(&id)
        .ok_or_else(|| SourceUnavailable("the source created a version whose id is not 32 hex digits".to_owned()))
}

/// Whether the source lists a version by now that is not one of these.
async fn has_other_versions(
    source: &dyn KeySource,
    known: &[(Version, ValueStatus)],
) -> Result<bool, SourceUnavailable> {
    let (listed, _) = dedup_by_kid(hedged(|| source.list_or_empty()).await?);
    Ok(listed.iter().any(|version| !known.iter().any(|(known, _)| known.id == version.id)))
}

/// The versions that count for gateways, too, the enabled ones with the status of their values.
async fn with_values(source: &dyn KeySource) -> Result<Vec<(Version, ValueStatus)>, SourceUnavailable> {
    let (listed, _) = dedup_by_kid(hedged(|| source.list_or_empty()).await?);
    let mut versions = Vec::new();
    for version in listed {
        let status = if version.enabled {
            let value = hedged(|| source.get(&version.id)).await?;
            if value.key().is_some() { ValueStatus::Valid } else { ValueStatus::Invalid }
        } else {
            ValueStatus::Unfetched
        };
        versions.push((version, status));
    }
    Ok(versions)
}

fn plan(versions: &[(Version, ValueStatus)], now: UnixSeconds, parameters: &Parameters) -> Plan {
    let valid = |(version, status): &&(Version, ValueStatus)| version.enabled && *status == ValueStatus::Valid;
    let newest = versions.iter().filter(valid).map(|(version, _)| version.created).max();
    let due_age = parameters.life.saturating_sub(parameters.propagation).as_secs();
    let due = newest.is_none_or(|created| now.saturating_sub(created) >= due_age);
    let (states, _) = states(versions, now, parameters);
    let expired = |(version, _): &&(Version, ValueStatus)| version.expires.is_some_and(|expires| expires <= now);
    let retired = versions.iter().zip(states).filter(|(_, state)| *state == State::Retired).map(|(version, _)| version);
    Plan {
        publish: due.then(|| expiry(now, parameters)),
        disable: retired.filter(expired).map(|(version, _)| version.clone()).collect(),
    }
}

/// The expiry of a version that is published now: activation + life + retention.
fn expiry(now: UnixSeconds, parameters: &Parameters) -> UnixSeconds {
    let life = parameters.propagation + parameters.life + parameters.retention;
    now.saturating_add(life.as_secs())
}

#[cfg(test)]
mod tests;
