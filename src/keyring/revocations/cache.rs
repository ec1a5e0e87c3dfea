//! The revocation list that an instance knows: read with the key ring, kept through an outage (contract 16.7).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Revocations;
use crate::clock::{Clock, UnixSeconds};
use crate::keyring::ring::{BACKOFF, hedged, pause};
use crate::keyring::{KeySource, SourceUnavailable};

/// The last list that was read.
#[derive(Debug)]
pub struct RevocationCache {
    source: Arc<dyn KeySource>,
    clock_skew: u64,
    refresh: Duration,
    /// `None` until a list was read or found missing.
    list: watch::Sender<Option<Revocations>>,
    /// Why the last reading failed, if it did.
    problem: Mutex<Option<SourceUnavailable>>,
    /// Held while the source is read.
    reading: tokio::sync::Mutex<()>,
}

/// The list as it was known at some moment.
#[derive(Debug, Clone)]
pub struct KnownRevocations(Option<Revocations>);

impl KnownRevocations {
    /// The sign-in time of a session that begins at `now`: later than what this list ends, even if the clock of whoever
    /// wrote it is ahead.
    #[must_use]
    pub fn sign_in_time(&self, now: UnixSeconds, oid: Option<&str>, sub: &str) -> UnixSeconds {
        let ended_at = self.0.as_ref().and_then(|list| list.ended_at(oid, sub));
        ended_at.map_or(now, |at| now.max(at.saturating_add(1)))
    }
}

/// No list was read yet, so that no session can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRead;

impl RevocationCache {
    /// Nothing is read yet. `clock_skew` is in seconds.
    #[must_use]
    pub fn new(source: Arc<dyn KeySource>, clock_skew: u64, refresh: Duration) -> Arc<Self> {
        let (list, _) = watch::channel(None);
        let (problem, reading) = Default::default();
        Arc::new(Self { source, clock_skew, refresh, list, problem, reading })
    }

    /// Whether a list was read, or found missing, once. A later failure does not change it.
    #[must_use]
    pub fn was_read(&self) -> bool {
        self.list.borrow().is_some()
    }

    /// Whether the last reading failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.problem().is_some()
    }

    /// Whether a session of this user has ended. Before the first list is read, it waits for the first reading, which
    /// is bounded; not for others after that has failed.
    ///
    /// # Errors
    /// [`NotRead`].
    pub async fn is_revoked(&self, signed_in_at: UnixSeconds, oid: Option<&str>, sub: &str) -> Result<bool, NotRead> {
        if let Some(is_revoked) = self.look_up(signed_in_at, oid, sub) {
            return Ok(is_revoked);
        }
        if self.is_down() {
            // Requests that waited for each further attempt would hold their places for nothing.
            return Err(NotRead);
        }
        let _reading = self.reading.lock().await;
        self.look_up(signed_in_at, oid, sub).ok_or(NotRead)
    }

    /// The same by what is known now; `None` before the first list.
    #[must_use]
    pub fn look_up(&self, signed_in_at: UnixSeconds, oid: Option<&str>, sub: &str) -> Option<bool> {
        self.list.borrow().as_ref().map(|list| list.is_revoked(signed_in_at, oid, sub))
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> KnownRevocations {
        KnownRevocations(self.list.borrow().clone())
    }

    /// Returns after each change of the list.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Revocations>> {
        self.list.subscribe()
    }

    /// Reads the list. If that fails, the known one is kept, and the log has the reason.
    pub async fn refresh(&self, now: UnixSeconds) {
        let _reading = self.reading.lock().await;
        match read(self.source.as_ref(), now, self.clock_skew).await {
            Ok(list) => {
                let list = list.unwrap_or_default();
                let ends_more = self.list.borrow().as_ref().is_some_and(|known| list.ends_more_than(known));
                if ends_more {
                    tracing::info!(event = "sessions_revoked", "sessions were revoked: the revocation list ends more");
                }
                self.list.send_if_modified(|known| {
                    let is_new = known.as_ref() != Some(&list);
                    *known = Some(list);
                    is_new
                });
                *self.problem() = None;
            }
            Err(problem) => {
                // Logged once, however often the reading is retried.
                if self.problem().as_ref() != Some(&problem) {
                    tracing::error!(problem = %problem.0, "the revocation list could not be read");
                }
                *self.problem() = Some(problem);
            }
        }
    }

    /// Refreshes without end: as often as the key ring, and soon after a failure.
    pub async fn keep_fresh(&self, clock: Clock<'_>) {
        let mut backoff = *BACKOFF.start();
        loop {
            self.refresh(clock()).await;
            if self.is_down() {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(*BACKOFF.end());
            } else {
                backoff = *BACKOFF.start();
                tokio::time::sleep(pause(self.refresh)).await;
            }
        }
    }

    fn problem(&self) -> std::sync::MutexGuard<'_, Option<SourceUnavailable>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list of a source; `None` if there is none. `clock_skew` is in seconds.
///
/// # Errors
/// The source does not respond, or the list is malformed.
pub async fn read(
    source: &dyn KeySource,
    now: UnixSeconds,
    clock_skew: u64,
) -> Result<Option<Revocations>, SourceUnavailable> {
    let text = hedged(|| source.revocations()).await?;
    text.map(|text| Revocations::parse(&text, now.saturating_add(clock_skew))).transpose()
}

#[cfg(test)]
mod tests;
