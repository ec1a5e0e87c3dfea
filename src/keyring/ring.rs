//! The ring in memory: the last good list, the keys fetched so far, and the rules on when to ask the source.
//!
//! A list is authoritative: a key id that is not on it never causes a get. The lock around the source makes every
//! question to it a single flight; whoever waited looks again before asking.

mod memory;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::select_ok;
use tokio::time::{Instant, timeout};

use super::states::{Parameters, State};
use super::{Answer, Key, KeyId, KeySource, SourceDown};
use crate::clock::{UnixSeconds, now as wall_clock};
use memory::{Fetched, Inner, Lookup, View, dedup_by_kid};

/// Deadline of one call to the source, its retry included.
pub(super) const SOURCE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the first attempt has the call for itself.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);
/// Least time between two lists that unknown key ids ask for.
const UNKNOWN_KID_PAUSE: Duration = Duration::from_secs(15);
/// How late an hourly rotation may make a key's successor before the key counts as past its life, in seconds.
const LATE_ROTATION: u64 = 3_600;
/// Pauses after a list that failed: the first, and the longest. With the deadline of a call that began in the outage
/// the longest still heals within 5 s of its end, as the second attempt of that call comes after 2 s.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_millis(1_500);

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
pub struct SealingKeyUnavailable;

/// The ring. All methods may be called at once from anywhere.
#[derive(Debug)]
pub struct Ring {
    source: Arc<dyn KeySource>,
    parameters: Parameters,
    refresh: Duration,
    state: RwLock<Inner>,
    asking: tokio::sync::Mutex<()>,
    list_failed: tokio::sync::Notify,
}

impl Ring {
    /// An empty ring over a source.
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, parameters: Parameters, refresh: Duration) -> Self {
        let (state, asking, list_failed) = Default::default();
        Self { source, parameters, refresh, state, asking, list_failed }
    }

    /// Whether a sealing key was loaded once. A later outage does not change it.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.read(|inner| inner.was_ready)
    }

    /// Whether the last list failed, or the key that should seal cannot be had.
    #[must_use]
    pub fn source_is_down(&self) -> bool {
        self.read(|inner| inner.list_problem.is_some() || inner.active_key().is_none())
    }

    /// Whether, at the last refresh, the key that seals was past its life: nothing rotates, or nobody hears of it.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.read(|inner| inner.is_overdue)
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
    pub async fn sealing(&self, now: UnixSeconds) -> Result<Arc<Key>, SealingKeyUnavailable> {
        if let Some(key) = self.with_view(now, |inner| inner.active_key().or_else(|| inner.fallback_key())) {
            return Ok(key);
        }
        let asked = Instant::now();
        let _flight = self.asking.lock().await;
        if !self.failed_since(asked) {
            self.load(now, |view| view.active).await;
        }
        self.with_view(now, Inner::sealing_key).ok_or(SealingKeyUnavailable)
    }

    /// The key that a sealed value names.
    pub async fn opening(&self, kid: KeyId, now: UnixSeconds) -> Opening {
        match self.lookup(kid, now) {
            Lookup::Decided(opening) => return opening,
            Lookup::Unlisted if !self.may_list_for_unknown() && !self.a_list_may_be_under_way() => {
                return self.verdict_without_asking();
            }
            Lookup::Unlisted | Lookup::Unfetched(_) => {}
        }
        let asked = Instant::now();
        let _flight = self.asking.lock().await;
        if self.failed_since(asked) && !matches!(self.lookup(kid, now), Lookup::Decided(_)) {
            return Opening::Unavailable;
        }
        if matches!(self.lookup(kid, now), Lookup::Unlisted) && self.may_list_for_unknown() {
            self.write(|inner| inner.asked_for_unknown = Some(Instant::now()));
            self.list(now).await;
        }
        match self.lookup(kid, now) {
            Lookup::Decided(opening) => opening,
            Lookup::Unlisted => self.verdict_without_asking(),
            Lookup::Unfetched(id) => match self.fetch(kid, &id, now).await {
                Err(SourceDown(_)) => Opening::Unavailable,
                Ok(()) => match self.lookup(kid, now) {
                    Lookup::Decided(opening) => opening,
                    Lookup::Unlisted | Lookup::Unfetched(_) => Opening::Unknown,
                },
            },
        }
    }

    /// Loads the list and the sealing key. What cannot be had is logged and stays as it was.
    ///
    /// Not at the start, which is to be quick, it also loads the key that seals next, so that a source that is down
    /// at that moment delays nobody.
    pub async fn refresh(&self, now: UnixSeconds) {
        let _flight = self.asking.lock().await;
        let was_ready = self.was_ready();
        if self.list(now).await {
            self.load(now, |view| view.active).await;
            if was_ready {
                self.load(now, |view| view.next).await;
            }
        }
        self.watch_age(now);
    }

    /// Refreshes for ever: at the configured pace with jitter, and soon after a list that failed, whoever asked for it.
    pub async fn keep_fresh(&self) {
        let mut backoff = *BACKOFF.start();
        loop {
            self.refresh(wall_clock()).await;
            if self.was_ready() && !self.source_is_down() {
                backoff = *BACKOFF.start();
                let pause = self.refresh.mul_f64(rand::random_range(0.8..=1.0));
                if timeout(pause, self.list_failed.notified()).await.is_err() {
                    continue;
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(*BACKOFF.end());
        }
    }

    fn lookup(&self, kid: KeyId, now: UnixSeconds) -> Lookup {
        self.with_view(now, |inner| inner.lookup(kid))
    }

    fn may_list_for_unknown(&self) -> bool {
        self.read(|inner| inner.asked_for_unknown.is_none_or(|asked| asked.elapsed() >= UNKNOWN_KID_PAUSE))
    }

    /// A list that may hold the key id is worth waiting for, unless the source is down.
    fn a_list_may_be_under_way(&self) -> bool {
        self.asking.try_lock().is_err() && !self.read(|inner| inner.list_problem.is_some())
    }

    /// Whether a call to the source has failed since: whoever waited for it shares its outcome.
    fn failed_since(&self, asked: Instant) -> bool {
        self.read(|inner| inner.failed.is_some_and(|failed| failed >= asked))
    }

    /// What an unlisted key id means while no list is allowed: invalid if a good list is young enough to tell.
    fn verdict_without_asking(&self) -> Opening {
        self.read(|inner| {
            let young = inner.listed.is_some_and(|listed| listed.elapsed() < UNKNOWN_KID_PAUSE);
            if young && inner.list_problem.is_none() && inner.view.active.is_some() {
                Opening::Unknown
            } else {
                Opening::Unavailable
            }
        })
    }

    async fn list(&self, now: UnixSeconds) -> bool {
        let listed = hedged(|| self.source.list()).await.and_then(|versions| match versions.as_slice() {
            [] => Err(SourceDown("there is no key; cloakroom keys rotate makes the first".to_owned())),
            _ => Ok(versions),
        });
        match listed {
            Ok(versions) => {
                let versions = dedup_by_kid(versions);
                self.write(|inner| {
                    inner.take_list(versions);
                    inner.list_problem = None;
                    inner.rebuild(now, &self.parameters);
                });
                true
            }
            Err(SourceDown(problem)) => {
                // Told once, however often it is tried.
                if self.read(|inner| inner.list_problem.as_ref() != Some(&problem)) {
                    tracing::error!(%problem, "the keys could not be listed");
                }
                self.write(|inner| {
                    inner.list_problem = Some(problem);
                    inner.failed = Some(Instant::now());
                });
                self.list_failed.notify_waiters();
                false
            }
        }
    }

    /// Fetches the key that `pick` names; one that is no key takes no part, so that the next candidate is tried.
    async fn load(&self, now: UnixSeconds, pick: impl Fn(&View) -> Option<KeyId>) {
        loop {
            let wanted = self.with_view(now, |inner| {
                let kid = pick(&inner.view).filter(|kid| !inner.keys.contains_key(kid))?;
                let (_, id) = inner.view.states.get(&kid)?;
                Some((kid, id.clone()))
            });
            let Some((kid, id)) = wanted else { break };
            if self.fetch(kid, &id, now).await.is_err() {
                break;
            }
        }
        if self.with_view(now, |inner| inner.sealing_key().is_some()) {
            self.write(|inner| inner.was_ready = true);
        }
    }

    fn watch_age(&self, now: UnixSeconds) {
        let since = self.with_view(now, |inner| inner.view.sealing.map(|(_, activation)| activation));
        let life = self.parameters.life.as_secs() + LATE_ROTATION;
        let is_overdue = self.source.rotates() && since.is_some_and(|since| now > since.saturating_add(life));
        if is_overdue {
            tracing::error!(
                event = "key_overdue",
                "active key is older than KEY_LIFE; check the rotation timer and the key source"
            );
        }
        self.write(|inner| inner.is_overdue = is_overdue);
    }

    async fn fetch(&self, kid: KeyId, id: &str, now: UnixSeconds) -> Result<(), SourceDown> {
        let value = hedged(|| self.source.get(id)).await.inspect_err(|SourceDown(problem)| {
            tracing::error!(%kid, %problem, "a key could not be fetched");
            self.write(|inner| inner.failed = Some(Instant::now()));
        })?;
        let fetched = match value.key() {
            Some(material) => Fetched::Key(Arc::new(Key::new(kid, &material))),
            None => {
                tracing::error!(%kid, "key version ignored: its value is not the base64url of 32 bytes, or its content type is another's");
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

/// Asks, and once more when that fails or takes long; the first good answer counts, within one deadline for both.
///
/// A first attempt that is merely slow goes on beside the second: a vault that hung for it may answer the other.
pub(super) async fn hedged<'a, T>(ask: impl Fn() -> Answer<'a, T>) -> Result<T, SourceDown> {
    let both = async {
        let mut first = ask();
        match timeout(FIRST_ATTEMPT, &mut first).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => ask().await,
            Err(_) => select_ok([first, ask()]).await.map(|(answer, _)| answer),
        }
    };
    timeout(SOURCE_DEADLINE, both).await.unwrap_or_else(|_| Err(SourceDown("no answer within 5 s".to_owned())))
}

#[cfg(test)]
mod tests;
