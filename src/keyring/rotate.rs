//! Rotation: one idempotent step, whoever drives it, and the revocation of a key.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::ring::hedged;
use super::states::{Parameters, State, ValueStatus, activation, states};
use super::{KeyId, KeySource, NewVersion, SourceDown, Version};
use crate::clock::UnixSeconds;

/// How long a revocation waits for the successor of the active key.
const SUCCESSOR_WAIT: u64 = 60;

/// What a step should do.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Publish a version that may be disabled from this moment on.
    publish: Option<UnixSeconds>,
    /// Disable these.
    disable: Vec<Version>,
}

/// What a step did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The version that was published.
    pub published: Option<KeyId>,
    /// The versions that were disabled.
    pub disabled: Vec<KeyId>,
}

/// A version with its state, for people to read.
#[derive(Debug)]
pub struct Listed {
    /// The version.
    pub version: Version,
    /// What it may do.
    pub state: State,
    /// When it begins, or began, to seal.
    pub activation: UnixSeconds,
}

/// What a revocation did.
#[derive(Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The version that took over, if the revoked one was active.
    pub successor: Option<KeyId>,
}

/// Why a revocation did nothing, or only its first half.
#[derive(Debug, PartialEq, Eq)]
pub enum RevokeError {
    /// The source is down.
    Down(SourceDown),
    /// There is no such key.
    Unknown,
}

impl From<SourceDown> for RevokeError {
    fn from(down: SourceDown) -> Self {
        Self::Down(down)
    }
}

/// Publishes a version when it is time, and disables those that are past their expiry and retired.
///
/// Two at once make at most one surplus version, which does no harm; a step cut off is finished by the next.
///
/// # Errors
/// The source is down. What was done before stays done.
pub async fn rotate(source: &dyn KeySource, now: UnixSeconds, parameters: &Parameters) -> Result<Outcome, SourceDown> {
    let versions = with_values(source).await?;
    let plan = plan(&versions, now, parameters);
    let mut outcome = Outcome::default();
    if let Some(expires) = plan.publish {
        outcome.published = Some(publish(source, expires, false, now).await?);
    }
    for version in plan.disable {
        hedged(|| source.disable(&version.id)).await?;
        outcome.disabled.push(version.kid);
    }
    Ok(outcome)
}

/// All versions with their states, oldest first.
///
/// # Errors
/// The source is down.
pub async fn list(
    source: &dyn KeySource,
    now: UnixSeconds,
    parameters: &Parameters,
) -> Result<Vec<Listed>, SourceDown> {
    let versions = with_values(source).await?;
    let (states, _) = states(&versions, now, parameters);
    let listed = |((version, _), state): ((Version, ValueStatus), State)| {
        let activation = activation(&version, parameters);
        Listed { version, state, activation }
    };
    let mut listed: Vec<Listed> = versions.into_iter().zip(states).map(listed).collect();
    listed.sort_by(|a, b| {
        (a.activation, a.version.created, &a.version.id).cmp(&(b.activation, b.version.created, &b.version.id))
    });
    Ok(listed)
}

/// Disables a key. Of the active one it first publishes a successor that hardly waits, and waits for it.
///
/// # Errors
/// [`RevokeError`].
pub async fn revoke(
    source: &dyn KeySource,
    kid: KeyId,
    clock: impl Fn() -> UnixSeconds,
    parameters: &Parameters,
) -> Result<Revocation, RevokeError> {
    let listed = list(source, clock(), parameters).await?;
    let target = listed.into_iter().find(|listed| listed.version.kid == kid).ok_or(RevokeError::Unknown)?;
    let mut successor = None;
    if target.state == State::Active {
        let now = clock();
        successor = Some(publish(source, expiry(now, parameters), true, now).await?);
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
) -> Result<bool, SourceDown> {
    let listed = list(source, now, parameters).await?;
    Ok(listed.iter().any(|listed| listed.version.kid == kid && listed.state == State::Active))
}

async fn publish(
    source: &dyn KeySource,
    expires: UnixSeconds,
    activate_now: bool,
    now: UnixSeconds,
) -> Result<KeyId, SourceDown> {
    let material = zeroize::Zeroizing::new(rand::random::<[u8; 32]>());
    let text = URL_SAFE_NO_PAD.encode(material.as_slice()).into();
    let new = NewVersion { text, expires, activate_now };
    // Never tried twice: an answer that was lost may have been a version that was made.
    let id = tokio::time::timeout(super::ring::SOURCE_DEADLINE, source.publish(&new, now)).await;
    let id = id.map_err(|_| SourceDown("no answer within 5 s".to_owned()))??;
    KeyId::from_version(&id)
        .ok_or_else(|| SourceDown("the source made a version whose id is not 32 hex digits".to_owned()))
}

/// All versions, the enabled ones with what their values are.
async fn with_values(source: &dyn KeySource) -> Result<Vec<(Version, ValueStatus)>, SourceDown> {
    let mut versions = Vec::new();
    for version in hedged(|| source.list_or_empty()).await? {
        let known = if version.enabled {
            let value = hedged(|| source.get(&version.id)).await?;
            if value.key().is_some() { ValueStatus::Valid } else { ValueStatus::Invalid }
        } else {
            ValueStatus::Unfetched
        };
        versions.push((version, known));
    }
    Ok(versions)
}

fn plan(versions: &[(Version, ValueStatus)], now: UnixSeconds, parameters: &Parameters) -> Plan {
    let valid = |(version, known): &&(Version, ValueStatus)| version.enabled && *known == ValueStatus::Valid;
    let newest = versions.iter().filter(valid).map(|(version, _)| version.created).max();
    let ripe = parameters.life.saturating_sub(parameters.propagation).as_secs();
    let due = newest.is_none_or(|created| now.saturating_sub(created) >= ripe);
    let (states, _) = states(versions, now, parameters);
    let over = |(version, _): &&(Version, ValueStatus)| version.expires.is_some_and(|expires| expires <= now);
    let retired = versions.iter().zip(states).filter(|(_, state)| *state == State::Retired).map(|(version, _)| version);
    Plan {
        publish: due.then(|| expiry(now, parameters)),
        disable: retired.filter(over).map(|(version, _)| version.clone()).collect(),
    }
}

/// When a version made now may be disabled: activation, life and retention later.
fn expiry(now: UnixSeconds, parameters: &Parameters) -> UnixSeconds {
    let life = parameters.propagation + parameters.life + parameters.retention;
    now.saturating_add(life.as_secs())
}

#[cfg(test)]
mod tests;
