//! The ring in memory: the last good list, the keys fetched so far, and the rules on when to ask the source.
//!
//! A list is authoritative: a key id that is not on it never causes a get. The lock around the source makes every
//! question to it a single flight; whoever waited looks again before asking.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::states::{Known, Parameters, State, states};
use super::{Answer, Key, KeyId, KeySource, SourceDown, Version};
use crate::clock::{UnixSeconds, now as wall_clock};

/// Deadline of one call to the source; there are at most two.
pub(super) const SOURCE_DEADLINE: Duration = Duration::from_secs(5);
/// Least time between two lists that unknown key ids ask for.
const UNKNOWN_KID_PAUSE: Duration = Duration::from_secs(15);
/// Most time between two attempts while nothing was ever loaded.
const START_BACKOFF_LIMIT: Duration = Duration::from_secs(4);

/// What the ring knows of a key id.
#[derive(Debug)]
pub enum Opening {
    /// The key that opens it.
    Key(Arc<Key>),
    /// No such key, or one that no longer opens: the sealed value is invalid.
    Unknown,
    /// The source is needed and down: nobody can tell.
    Unavailable,
}

/// No key can be had to seal with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSealingKey;

/// The ring. All methods may be called at once from anywhere.
#[derive(Debug)]
pub struct Ring {
    source: Arc<dyn KeySource>,
    parameters: Parameters,
    refresh: Duration,
    state: RwLock<Inner>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    versions: Vec<Version>,
    keys: HashMap<KeyId, Fetched>,
    view: View,
    listed: Option<Instant>,
    last_list_failed: bool,
    asked_for_unknown: Option<Instant>,
    was_ready: bool,
}

/// A version's value once fetched.
#[derive(Debug, Clone)]
enum Fetched {
    Key(Arc<Key>),
    NotAKey,
}

/// The states worked out, so that opening is one look-up however long the ring is.
#[derive(Debug, Default)]
struct View {
    states: HashMap<KeyId, (State, String)>,
    active: Option<KeyId>,
    holds: std::ops::Range<UnixSeconds>,
}

impl Ring {
    /// An empty ring over a source.
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, parameters: Parameters, refresh: Duration) -> Self {
        Self { source, parameters, refresh, state: RwLock::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Whether a sealing key was loaded once. A later outage does not change it.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.read(|inner| inner.was_ready)
    }

    /// Whether the last list failed.
    #[must_use]
    pub fn source_is_down(&self) -> bool {
        self.read(|inner| inner.last_list_failed)
    }

    /// Whether values sealed under a key should be sealed anew: another seals by now.
    #[must_use]
    pub fn is_retiring(&self, kid: KeyId, now: UnixSeconds) -> bool {
        self.with_view(now, |inner| inner.view.states.get(&kid).is_some_and(|(state, _)| *state == State::Retiring))
    }

    /// The key that seals now.
    ///
    /// # Errors
    /// There is none and the source gives none.
    pub async fn sealing(&self, now: UnixSeconds) -> Result<Arc<Key>, NoSealingKey> {
        if let Some(key) = self.with_view(now, |inner| inner.view.active.and_then(|kid| inner.key(kid))) {
            return Ok(key);
        }
        let _flight = self.asking.lock().await;
        self.load_active(now).await;
        self.with_view(now, |inner| {
            inner.view.active.and_then(|kid| inner.key(kid)).or_else(|| inner.any_sealing_key())
        })
        .ok_or(NoSealingKey)
    }

    /// The key that a sealed value names.
    pub async fn opening(&self, kid: KeyId, now: UnixSeconds) -> Opening {
        match self.known(kid, now) {
            Lookup::Decided(opening) => return opening,
            Lookup::Unlisted if !self.may_list_for_unknown() => return self.verdict_without_asking(),
            Lookup::Unlisted | Lookup::Unfetched(_) => {}
        }
        let _flight = self.asking.lock().await;
        if matches!(self.known(kid, now), Lookup::Unlisted) && self.may_list_for_unknown() {
            self.write(|inner| inner.asked_for_unknown = Some(Instant::now()));
            self.list(now).await;
        }
        match self.known(kid, now) {
            Lookup::Decided(opening) => opening,
            Lookup::Unlisted => self.verdict_without_asking(),
            Lookup::Unfetched(id) => match self.fetch(kid, &id, now).await {
                Err(SourceDown(_)) => Opening::Unavailable,
                Ok(()) => match self.known(kid, now) {
                    Lookup::Decided(opening) => opening,
                    Lookup::Unlisted | Lookup::Unfetched(_) => Opening::Unknown,
                },
            },
        }
    }

    /// Loads the list and the sealing key. What cannot be had is logged and stays as it was.
    pub async fn refresh(&self, now: UnixSeconds) {
        let _flight = self.asking.lock().await;
        if self.list(now).await {
            self.load_active(now).await;
        }
    }

    /// Refreshes for ever: soon after a failed start, then at the configured pace with jitter.
    pub async fn keep_fresh(&self) {
        let mut backoff = Duration::from_millis(250);
        loop {
            self.refresh(wall_clock()).await;
            let pause = if self.was_ready() {
                self.refresh.mul_f64(rand::random_range(0.8..=1.0))
            } else {
                backoff = START_BACKOFF_LIMIT.min(backoff * 2);
                backoff
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn known(&self, kid: KeyId, now: UnixSeconds) -> Lookup {
        self.with_view(now, |inner| match inner.view.states.get(&kid) {
            None => Lookup::Unlisted,
            Some((state, _)) if !state.opens() => Lookup::Decided(Opening::Unknown),
            Some((_, id)) => match inner.keys.get(&kid) {
                Some(Fetched::Key(key)) => Lookup::Decided(Opening::Key(Arc::clone(key))),
                Some(Fetched::NotAKey) => Lookup::Decided(Opening::Unknown),
                None => Lookup::Unfetched(id.clone()),
            },
        })
    }

    fn may_list_for_unknown(&self) -> bool {
        self.read(|inner| inner.asked_for_unknown.is_none_or(|asked| asked.elapsed() >= UNKNOWN_KID_PAUSE))
    }

    /// What an unlisted key id means while no list is allowed: invalid if a good list is young enough to tell.
    fn verdict_without_asking(&self) -> Opening {
        self.read(|inner| {
            let young = inner.listed.is_some_and(|listed| listed.elapsed() < UNKNOWN_KID_PAUSE);
            if young && !inner.last_list_failed && inner.view.active.is_some() {
                Opening::Unknown
            } else {
                Opening::Unavailable
            }
        })
    }

    async fn list(&self, now: UnixSeconds) -> bool {
        match twice(|| self.source.list()).await {
            Ok(versions) => {
                let versions = without_twins(versions);
                self.write(|inner| {
                    inner.take_list(versions);
                    inner.last_list_failed = false;
                    inner.rebuild(now, &self.parameters);
                });
                true
            }
            Err(SourceDown(problem)) => {
                tracing::error!(%problem, "the keys could not be listed");
                self.write(|inner| inner.last_list_failed = true);
                false
            }
        }
    }

    /// Fetches the active key; one that is no key takes no part, so that the next candidate is tried.
    async fn load_active(&self, now: UnixSeconds) {
        loop {
            let wanted = self.with_view(now, |inner| {
                let kid = inner.view.active.filter(|kid| !inner.keys.contains_key(kid))?;
                let (_, id) = inner.view.states.get(&kid)?;
                Some((kid, id.clone()))
            });
            let Some((kid, id)) = wanted else { break };
            if self.fetch(kid, &id, now).await.is_err() {
                break;
            }
        }
        self.with_view(now, |inner| inner.any_sealing_key().is_some())
            .then(|| self.write(|inner| inner.was_ready = true));
    }

    async fn fetch(&self, kid: KeyId, id: &str, now: UnixSeconds) -> Result<(), SourceDown> {
        let value = twice(|| self.source.get(id)).await.inspect_err(|SourceDown(problem)| {
            tracing::error!(%kid, %problem, "a key could not be fetched");
        })?;
        let fetched = match value.key() {
            Some(material) => Fetched::Key(Arc::new(Key::new(kid, &material))),
            None => {
                tracing::error!(%kid, "a version takes no part: its value is not the base64url of 32 bytes, or its content type is another's");
                Fetched::NotAKey
            }
        };
        self.write(|inner| {
            inner.keys.insert(kid, fetched);
            inner.rebuild(now, &self.parameters);
        });
        Ok(())
    }

    /// Reads with states that hold at `now`.
    fn with_view<T>(&self, now: UnixSeconds, read: impl FnOnce(&Inner) -> T) -> T {
        {
            let inner = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if inner.view.holds.contains(&now) {
                return read(&inner);
            }
        }
        self.write(|inner| {
            inner.rebuild(now, &self.parameters);
            read(inner)
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Inner) -> T) -> T {
        write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Lookup {
    Decided(Opening),
    Unlisted,
    Unfetched(String),
}

impl Inner {
    fn key(&self, kid: KeyId) -> Option<Arc<Key>> {
        match self.keys.get(&kid) {
            Some(Fetched::Key(key)) => Some(Arc::clone(key)),
            Some(Fetched::NotAKey) | None => None,
        }
    }

    /// The active key, or, while its value cannot be had, the one before it: sealing goes on in an outage.
    fn any_sealing_key(&self) -> Option<Arc<Key>> {
        let fetched = |state: State| {
            let mut ids = self.view.states.iter().filter(move |(_, (of, _))| *of == state).map(|(kid, _)| *kid);
            ids.find_map(|kid| self.key(kid))
        };
        fetched(State::Active).or_else(|| fetched(State::Retiring))
    }

    fn take_list(&mut self, versions: Vec<Version>) {
        let listed: HashSet<KeyId> = versions.iter().map(|version| version.kid).collect();
        self.keys.retain(|kid, _| listed.contains(kid));
        self.versions = versions;
        self.listed = Some(Instant::now());
    }

    fn rebuild(&mut self, now: UnixSeconds, parameters: &Parameters) {
        let known = |version: &Version| match self.keys.get(&version.kid) {
            None => Known::Unfetched,
            Some(Fetched::Key(_)) => Known::Valid,
            Some(Fetched::NotAKey) => Known::Invalid,
        };
        let versions: Vec<_> = self.versions.iter().map(|version| (version.clone(), known(version))).collect();
        let (found, holds_until) = states(&versions, now, parameters);
        let with_state = || versions.iter().map(|(version, _)| version).zip(&found);
        self.view = View {
            active: with_state().find(|(_, state)| **state == State::Active).map(|(version, _)| version.kid),
            states: with_state().map(|(version, state)| (version.kid, (*state, version.id.clone()))).collect(),
            holds: now..holds_until,
        };
    }
}

/// Of two versions with one kid the later created takes no part.
fn without_twins(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let mut seen = HashSet::new();
    versions.retain(|version| {
        let first = seen.insert(version.kid);
        if !first {
            tracing::error!(version = %version.id, "a version takes no part: an earlier one begins with the same 16 hex digits");
        }
        first
    });
    versions
}

/// Asks at most twice, each time within the deadline.
pub(super) async fn twice<'a, T>(ask: impl Fn() -> Answer<'a, T>) -> Result<T, SourceDown> {
    let once = async || {
        timeout(SOURCE_DEADLINE, ask()).await.unwrap_or_else(|_| Err(SourceDown("no answer within 5 s".to_owned())))
    };
    match once().await {
        Ok(answer) => Ok(answer),
        Err(_) => once().await,
    }
}

#[cfg(test)]
mod tests;
