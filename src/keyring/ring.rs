//! The ring in memory: the last good list, the keys fetched so far, and the rules for requests to the source (contract
//! 6.17 to 6.23).
//!
//! The list is authoritative: a key ID that is not on it never causes a get. Every request to the source is made under
//! one lock, and whoever waited for the lock looks up again before making another.

mod hedged;
mod memory;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use super::states::{Parameters, State};
use super::{Key, KeyId, KeySource, SourceUnavailable};
use crate::clock::{Clock, UnixSeconds};
use crate::telemetry::in_current_request;
pub(super) use hedged::{SOURCE_DEADLINE, hedged};
use memory::{Fetched, Lookup, Memory, View};

/// Shortest interval between two lists because of unknown key IDs (contract 6.19).
const UNKNOWN_KID_PAUSE: Duration = Duration::from_secs(15);
/// Pauses after a list that failed: the first, and the longest. Together with a request that was sent during the
/// outage, whose second attempt starts after 2 s, the ring recovers within 5 s of the end of the outage.
pub(super) const BACKOFF: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_millis(1_500);

/// The key for opening a sealed value (contract 5.12).
#[derive(Debug)]
pub enum KeyForOpening {
    Found(Arc<Key>),
    /// A key of the ring that no longer opens: revoked, retired or invalid.
    Closed,
    /// No such key: the sealed value is invalid, unless another instance knows the key already.
    Unknown,
    /// The source would have to be read, and is unavailable.
    Unavailable,
}

/// No key can seal now: none was ever loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingKeyUnavailable;

#[derive(Debug)]
pub struct Ring {
    source: Arc<dyn KeySource>,
    parameters: Parameters,
    refresh: Duration,
    memory: RwLock<Memory>,
    /// Held during a request to the source. In an `Arc` for the list that outlives the request that started it.
    source_lock: Arc<Mutex<()>>,
    list_failed: Notify,
    /// Keeps that it happened until somebody waits for it.
    listed_none: Notify,
}

impl Ring {
    /// An empty ring; nothing is requested from the source yet.
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, parameters: Parameters, refresh: Duration) -> Arc<Self> {
        let (memory, source_lock, list_failed, listed_none) = Default::default();
        Arc::new(Self { source, parameters, refresh, memory, source_lock, list_failed, listed_none })
    }

    #[must_use]
    pub fn source(&self) -> &dyn KeySource {
        self.source.as_ref()
    }

    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Waits until a list fails or is empty although no version is known from an earlier one.
    pub async fn listed_none(&self) {
        self.listed_none.notified().await;
    }

    /// Whether a sealing key was loaded once. A later outage does not change it.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.read(|memory| memory.was_ready)
    }

    /// Whether the last list failed, or the active key could not be fetched.
    #[must_use]
    pub fn source_is_down(&self) -> bool {
        self.read(|memory| memory.list_problem.is_some() || memory.active_key().is_none())
    }

    /// Whether the key that seals was older than its life at the last refresh: no rotation ran, or its result could not
    /// be read.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.read(|memory| memory.is_overdue)
    }

    /// Whether values sealed under a key should be sealed again, because another key is active.
    #[must_use]
    pub fn is_retiring(&self, kid: KeyId, now: UnixSeconds) -> bool {
        let is_retiring = |state: &State| matches!(state, State::Retiring | State::Lapsed);
        self.with_view(now, |memory| memory.view.states.get(&kid).is_some_and(|(state, _)| is_retiring(state)))
    }

    /// The key that seals now.
    ///
    /// # Errors
    /// No key is in memory, and the source is unavailable or has none.
    pub async fn sealing_key(&self, now: UnixSeconds) -> Result<Arc<Key>, SealingKeyUnavailable> {
        if let Some(key) = self.with_view(now, |memory| memory.active_key().or_else(|| memory.fallback_key())) {
            return Ok(key);
        }
        let waiting_since = Instant::now();
        let _guard = self.source_lock.lock().await;
        if !self.failed_since(waiting_since) {
            self.load(now, |view| view.active).await;
        }
        self.with_view(now, Memory::sealing_key).ok_or(SealingKeyUnavailable)
    }

    /// The key that a sealed value names.
    pub async fn key_for_opening(self: &Arc<Self>, kid: KeyId, now: UnixSeconds) -> KeyForOpening {
        match self.lookup(kid, now) {
            Lookup::Decided(key) => return key,
            Lookup::Unlisted if !self.may_list_for_unknown() && !self.may_await_list() => {
                return self.decide_without_list();
            }
            Lookup::Unfetched(_) | Lookup::Unproven(_) if self.is_probed() => return KeyForOpening::Unavailable,
            Lookup::Unlisted | Lookup::Unfetched(_) | Lookup::Unproven(_) => {}
        }
        // Boxed, since few requests need it.
        Box::pin(self.read_key(kid, now)).await
    }

    /// The key after the source was read, unless that fails.
    async fn read_key(self: &Arc<Self>, kid: KeyId, now: UnixSeconds) -> KeyForOpening {
        let waiting_since = Instant::now();
        let mut guard = Arc::clone(&self.source_lock).lock_owned().await;
        if self.failed_since(waiting_since) && !matches!(self.lookup(kid, now), Lookup::Decided(_)) {
            return KeyForOpening::Unavailable;
        }
        if matches!(self.lookup(kid, now), Lookup::Unlisted) && self.may_list_for_unknown() {
            guard = match self.list_for_unknown(guard, now).await {
                Some(guard) => guard,
                None => return KeyForOpening::Unavailable,
            };
        }
        let proving = Instant::now();
        if matches!(self.lookup(kid, now), Lookup::Unproven(_)) {
            self.load(now, |view| view.unproven.get(&kid).copied()).await;
        }
        let key = match self.lookup(kid, now) {
            Lookup::Decided(key) => key,
            Lookup::Unlisted => self.decide_without_list(),
            // A source that hangs is not waited for twice.
            Lookup::Unproven(_) if proving.elapsed() >= SOURCE_DEADLINE => KeyForOpening::Unavailable,
            Lookup::Unfetched(id) | Lookup::Unproven(id) => match self.fetch(kid, &id, now).await {
                Err(SourceUnavailable(_)) => KeyForOpening::Unavailable,
                Ok(()) => match self.lookup(kid, now) {
                    Lookup::Decided(key) => key,
                    Lookup::Unlisted | Lookup::Unfetched(_) => KeyForOpening::Unknown,
                    Lookup::Unproven(_) => KeyForOpening::Unavailable,
                },
            },
        };
        drop(guard);
        key
    }

    /// The one list in 15 s that unknown key IDs may cause. It runs in a task: a request that is cancelled meanwhile
    /// must not use up the allowance without a result. `None` if the task was stopped.
    async fn list_for_unknown(
        self: &Arc<Self>,
        guard: OwnedMutexGuard<()>,
        now: UnixSeconds,
    ) -> Option<OwnedMutexGuard<()>> {
        self.write(|memory| memory.listed_for_unknown = Some(Instant::now()));
        let ring = Arc::clone(self);
        let list = async move {
            ring.list(now).await;
            guard
        };
        tokio::spawn(in_current_request(list)).await.ok()
    }

    /// Loads the list and the active key. What cannot be loaded is logged and stays as it was.
    ///
    /// Except at the start, which has to be quick, it also loads the key that is active next, so that a source that is
    /// unavailable at the change delays nothing.
    pub async fn refresh(&self, now: UnixSeconds) {
        let _guard = self.source_lock.lock().await;
        let was_ready = self.was_ready();
        if self.list(now).await {
            self.load(now, |view| view.active).await;
            if was_ready {
                self.load(now, |view| view.next).await;
            }
        }
        self.check_age(now);
    }

    /// Refreshes without end: at the configured interval with jitter, and soon after any list that failed.
    pub async fn keep_fresh(&self, clock: Clock<'_>) {
        let mut backoff = *BACKOFF.start();
        loop {
            self.refresh(clock()).await;
            // Before the check, so that a list that fails on another thread just after it is not missed.
            let list_failed = self.list_failed.notified();
            if self.was_ready() && !self.source_is_down() {
                backoff = *BACKOFF.start();
                if timeout(pause(self.refresh), list_failed).await.is_err() {
                    continue;
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(*BACKOFF.end());
        }
    }

    fn lookup(&self, kid: KeyId, now: UnixSeconds) -> Lookup {
        self.with_view(now, |memory| memory.lookup(kid))
    }

    fn may_list_for_unknown(&self) -> bool {
        self.read(|memory| memory.listed_for_unknown.is_none_or(|at| at.elapsed() >= UNKNOWN_KID_PAUSE))
    }

    /// Whether a list may be in progress that is worth waiting for: one that the source is expected to respond to.
    fn may_await_list(&self) -> bool {
        self.source_lock.try_lock().is_err() && !self.read(|memory| memory.list_problem.is_some())
    }

    /// Whether another request finds out just now if a source that failed shortly before responds again. Requests that
    /// waited for it would hold their places, which those with a key in memory need.
    fn is_probed(&self) -> bool {
        self.read(Memory::failed_lately) && self.source_lock.try_lock().is_err()
    }

    /// Whether a request to the source failed since: whoever waited for it shares the failure.
    fn failed_since(&self, since: Instant) -> bool {
        self.read(|memory| memory.failed_at.is_some_and(|failed_at| failed_at >= since))
    }

    /// The outcome for an unlisted key ID while no list is allowed (contract 6.19): invalid only if the last good list
    /// is younger than 15 s.
    fn decide_without_list(&self) -> KeyForOpening {
        self.read(|memory| {
            let young = memory.listed_at.is_some_and(|at| at.elapsed() < UNKNOWN_KID_PAUSE);
            if young && memory.list_problem.is_none() && memory.view.active.is_some() {
                KeyForOpening::Unknown
            } else {
                KeyForOpening::Unavailable
            }
        })
    }

    async fn list(&self, now: UnixSeconds) -> bool {
        let listed = hedged(|| self.source.list()).await.and_then(|versions| match versions.as_slice() {
            [] => Err(SourceUnavailable("the ring has no key; create the first with cloakroom keys rotate".to_owned())),
            _ => Ok(versions),
        });
        match listed {
            Ok(versions) => {
                self.write(|memory| {
                    // What a key was good for until now.
                    memory.rebuild_view(now, &self.parameters);
                    memory.set_list(versions);
                    memory.list_problem = None;
                    memory.rebuild_view(now, &self.parameters);
                });
                true
            }
            Err(SourceUnavailable(problem)) => {
                // Logged once, however often the list is retried.
                if self.read(|memory| memory.list_problem.as_ref() != Some(&problem)) {
                    tracing::error!(%problem, "the keys could not be listed");
                }
                self.write(|memory| {
                    memory.list_problem = Some(problem);
                    memory.failed_at = Some(Instant::now());
                });
                self.list_failed.notify_waiters();
                if self.read(|memory| memory.versions.is_empty()) {
                    self.listed_none.notify_one();
                }
                false
            }
        }
    }

    /// Fetches the key that `pick` names. If its value is not a key, the version is ignored from then on, and `pick`
    /// names the next candidate.
    async fn load(&self, now: UnixSeconds, pick: impl Fn(&View) -> Option<KeyId>) {
        loop {
            let missing = self.with_view(now, |memory| {
                let kid = pick(&memory.view).filter(|kid| !memory.keys.contains_key(kid))?;
                let (_, id) = memory.view.states.get(&kid)?;
                Some((kid, id.clone()))
            });
            let Some((kid, id)) = missing else { break };
            if self.fetch(kid, &id, now).await.is_err() {
                break;
            }
        }
        if self.with_view(now, |memory| memory.sealing_key().is_some()) {
            self.write(|memory| memory.was_ready = true);
        }
    }

    fn check_age(&self, now: UnixSeconds) {
        let since = self.with_view(now, |memory| memory.view.sealing.map(|(_, activation)| activation));
        let life = self.parameters.life.as_secs();
        let is_overdue = self.source.can_rotate() && since.is_some_and(|since| now > since.saturating_add(life));
        if is_overdue {
            tracing::error!(
                event = "key_overdue",
                "active key is older than KEY_LIFE; check the rotation timer and the key source"
            );
        }
        self.write(|memory| memory.is_overdue = is_overdue);
    }

    async fn fetch(&self, kid: KeyId, id: &str, now: UnixSeconds) -> Result<(), SourceUnavailable> {
        let value = hedged(|| self.source.get(id)).await.inspect_err(|SourceUnavailable(problem)| {
            tracing::error!(%kid, %problem, "a key could not be fetched");
            self.write(|memory| memory.failed_at = Some(Instant::now()));
        })?;
        let fetched = match value.key() {
            Some(material) => Fetched::Key(Arc::new(Key::new(kid, &material))),
            None => {
                if self.write(|memory| memory.is_first_report(id)) {
                    tracing::error!(
                        %kid,
                        "key version ignored: its value is not base64url of 32 bytes, or its content type is another"
                    );
                }
                Fetched::NotAKey
            }
        };
        self.write(|memory| {
            memory.keys.insert(kid, fetched);
            memory.rebuild_view(now, &self.parameters);
        });
        Ok(())
    }

    /// Reads the memory with a view that is valid at `now`.
    fn with_view<T>(&self, now: UnixSeconds, read: impl FnOnce(&Memory) -> T) -> T {
        {
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            if memory.view.valid_for.contains(&now) {
                return read(&memory);
            }
        }
        self.write(|memory| {
            memory.rebuild_view(now, &self.parameters);
            read(memory)
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Memory) -> T) -> T {
        read(&self.memory.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Memory) -> T) -> T {
        write(&mut self.memory.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The time until the next refresh: `refresh` with jitter. The difference to `refresh` is more than a request takes, so
/// that a change takes effect within `refresh`, unless that is shorter than two requests may take.
pub(super) fn pause(refresh: Duration) -> Duration {
    let longest = refresh.mul_f64(0.95).min(refresh.saturating_sub(SOURCE_DEADLINE)).max(refresh / 2);
    longest.mul_f64(rand::random_range(0.84..=1.0))
}

#[cfg(test)]
mod tests;
