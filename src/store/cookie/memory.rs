//! What this instance knows of sessions beyond their cookies: newer tokens, and the generation that it wrote last.
//!
//! All of it may be lost at any time, since a cookie alone is a valid session. The table is bounded, and an entry ends
//! with its session.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::clock::UnixSeconds;
use crate::secret::ExposeSecret;
use crate::session::OpenSession;
use crate::session::payload::{AccessToken, Session, SessionId, Token};
use crate::session::store::NewTokens;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Most entries. When the table is full, the one that was not used for the longest time is removed.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// Most rejected access tokens of a session that are remembered.
const REJECTED: usize = 16;
/// How long requests that carry an older cookie get a new access token, in seconds (contract 7.12).
const CACHED: u64 = 60;
/// The time between two sweeps: an access token stays in memory for at most so long after its last use.
const SWEEP: Duration = Duration::from_secs(5);

/// The table.
pub(super) struct Memory {
    table: Mutex<LruCache<SessionId, Entry>>,
    /// Whether [`Self::sweep`] runs. Changed only while the table is locked.
    is_swept: AtomicBool,
}

#[derive(Debug, Default)]
struct Entry {
    /// The highest generation that was given to a write.
    generation: u64,
    /// The generation of the newest tokens.
    saved: u64,
    /// The newest refresh token of this instance, with its generation. Packed, as all tokens of the table.
    refresh_token: Option<(u64, Token)>,
    /// The newest ID token of this instance, with its generation.
    id_token: Option<(u64, Token)>,
    access_tokens: Vec<CachedToken>,
    /// Access tokens that their API rejected, so that they are not cached again (contract 7.12): the newest are last.
    rejected: Vec<RejectedToken>,
    /// Held by the one request that refreshes the tokens. It exists while a request has it or waits for it.
    refresh: std::sync::Weak<tokio::sync::Mutex<()>>,
    /// The newest activity that was written by this instance.
    active_at: UnixSeconds,
    /// The absolute expiry of the session.
    expires_at: UnixSeconds,
}

/// An access token that a cookie may lack.
#[derive(Debug)]
struct CachedToken {
    token: AccessToken,
    /// A cookie of a later generation has a newer token, or left this one out.
    generation: u64,
    /// The first second in which it is not used any more.
    until: UnixSeconds,
    /// It did not fit the cookie, so that writing the cookie again would be of no use.
    left_out: bool,
}

/// An access token that its API rejected.
#[derive(Debug)]
struct RejectedToken {
    hash: [u8; 32],
    expires_at: UnixSeconds,
}

fn token_hash(token: &AccessToken) -> [u8; 32] {
    Sha256::new().chain_update(&token.api).chain_update([0]).chain_update(token.token.expose_secret()).finalize().into()
}

/// Newer tokens for a session are stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Superseded;

impl Default for Memory {
    fn default() -> Self {
        Self { table: Mutex::new(LruCache::new(LIMIT)), is_swept: AtomicBool::new(false) }
    }
}

impl Memory {
    /// Adds newer tokens to the session of a cookie. Returns true if the cookie must be rewritten.
    pub(super) fn merge_newer_tokens(&self, session: &mut Session, now: UnixSeconds) -> bool {
        self.table().get_mut(&session.id).is_some_and(|entry| entry.merge_newer_tokens(session, now))
    }

    /// The session of [`Self::merge_newer_tokens`], with the generation of its tokens.
    pub(super) fn merge_for_refresh(&self, session: &mut Session, now: UnixSeconds) -> bool {
        let mut table = self.table();
        let Some(entry) = table.get_mut(&session.id) else { return false };
        let is_newer = entry.merge_newer_tokens(session, now);
        session.generation = session.generation.max(entry.saved);
        is_newer
    }

    /// The session as its cookie is to hold it now: with the newest tokens and a generation above every earlier one.
    /// One step, so that a cookie of a higher generation never holds older tokens.
    pub(super) fn prepare_write(&self, open: &OpenSession, now: UnixSeconds) -> Box<Session> {
        let mut table = self.table();
        remove_expired(&mut table, now);
        let entry = table.get_or_insert_mut(open.session.id, || Entry::until(open.expires_at));
        let mut session = open.session.clone();
        entry.merge_newer_tokens(&mut session, now);
        session.generation = entry.next_generation(open.session.generation);
        // A later request may have written its activity before this one.
        entry.active_at = entry.active_at.max(session.active_at).max(now);
        session.active_at = entry.active_at;
        session
    }

    /// Stores the tokens of a refresh.
    pub(super) fn save_tokens(&self, open: &OpenSession, new: NewTokens, now: UnixSeconds) -> Result<(), Superseded> {
        if new.refresh_token.is_none() && new.access_token.is_none() && new.id_token.is_none() {
            return Ok(());
        }
        self.change(open, |entry| {
            if entry.saved > open.session.generation {
                return Err(Superseded);
            }
            let generation = entry.next_generation(open.session.generation);
            entry.saved = generation;
            if let Some(token) = new.refresh_token {
                entry.refresh_token = Some((generation, Token::from(token).to_packed()));
            }
            if let Some(token) = new.id_token {
                entry.id_token = Some((generation, Token::from(token).to_packed()));
            }
            if let Some(token) = new.access_token {
                let until = now.saturating_add(CACHED);
                entry.cache(CachedToken { token, generation, until, left_out: false });
            }
            Ok(())
        })
    }

    /// Keeps an access token that did not fit the cookie of a generation until it expires (contract 4.15).
    pub(super) fn keep_left_out(&self, open: &OpenSession, token: AccessToken, generation: u64) {
        let until = token.expires_at;
        self.change(open, |entry| {
            let hash = token_hash(&token);
            if !entry.rejected.iter().any(|rejected| rejected.hash == hash) {
                entry.cache(CachedToken { token, generation, until, left_out: true });
            }
        });
    }

    /// Removes an access token that its API rejected. A write of a session that still has it does not add it again.
    pub(super) fn reject_token(&self, open: &OpenSession, token: &AccessToken) {
        self.change(open, |entry| {
            entry.access_tokens.retain(|cached| !cached.token.is_same(token));
            let rejected = RejectedToken { hash: token_hash(token), expires_at: token.expires_at };
            entry.rejected.retain(|earlier| earlier.hash != rejected.hash);
            if entry.rejected.len() >= REJECTED {
                entry.rejected.remove(0);
            }
            entry.rejected.push(rejected);
        });
    }

    /// Removes access tokens whose time is over, also those of sessions that send no more requests. Runs until no
    /// access token is left; does nothing if it runs already.
    pub(super) async fn sweep(&self, mut now: UnixSeconds) {
        {
            let _table = self.table();
            if self.is_swept.swap(true, Ordering::Relaxed) {
                return;
            }
        }
        while self.remove_unusable_tokens(now) {
            tokio::time::sleep(SWEEP).await;
            now = now.saturating_add(SWEEP.as_secs());
        }
    }

    /// Returns whether any access token is left.
    fn remove_unusable_tokens(&self, now: UnixSeconds) -> bool {
        let mut table = self.table();
        let mut any = false;
        for (_, entry) in table.iter_mut() {
            entry.remove_unusable_tokens(now);
            any |= !entry.access_tokens.is_empty();
        }
        self.is_swept.store(any, Ordering::Relaxed);
        any
    }

    /// The lock whose holder may refresh the session's tokens.
    pub(super) fn refresh_lock(&self, open: &OpenSession) -> Arc<tokio::sync::Mutex<()>> {
        self.change(open, |entry| {
            entry.refresh.upgrade().unwrap_or_else(|| {
                let lock = Arc::default();
                entry.refresh = Arc::downgrade(&lock);
                lock
            })
        })
    }

    pub(super) fn forget(&self, id: &SessionId) {
        self.table().pop(id);
    }

    fn change<T>(&self, open: &OpenSession, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.table().get_or_insert_mut(open.session.id, || Entry::until(open.expires_at)))
    }

    /// How many access tokens it holds.
    #[cfg(test)]
    pub(super) fn access_tokens(&self) -> usize {
        access_tokens(&self.table())
    }

    fn table(&self) -> MutexGuard<'_, LruCache<SessionId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With the number of access tokens, unless the table is locked.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access_tokens = self.table.try_lock().ok().map(|table| access_tokens(&table));
        f.debug_struct("Memory").field("access_tokens", &access_tokens).finish_non_exhaustive()
    }
}

fn access_tokens(table: &LruCache<SessionId, Entry>) -> usize {
    table.iter().map(|(_, entry)| entry.access_tokens.len()).sum()
}

fn remove_expired(table: &mut LruCache<SessionId, Entry>, now: UnixSeconds) {
    while table.peek_lru().is_some_and(|(_, entry)| entry.expires_at <= now) {
        table.pop_lru();
    }
}

impl Entry {
    fn until(expires_at: UnixSeconds) -> Self {
        Self { expires_at, ..Self::default() }
    }

    /// Adds newer tokens to the session of a cookie. Returns true if the cookie must be rewritten.
    fn merge_newer_tokens(&mut self, session: &mut Session, now: UnixSeconds) -> bool {
        let mut is_newer = false;
        if let Some((generation, token)) = &self.refresh_token
            && *generation > session.generation
        {
            session.refresh_token = Some(token.clone());
            is_newer = true;
        }
        if let Some((generation, token)) = &self.id_token
            && *generation > session.generation
        {
            session.id_token = Some(token.clone());
            is_newer = true;
        }
        self.remove_unusable_tokens(now);
        for cached in &self.access_tokens {
            let is_missing = session.access_token(&cached.token.api, now).is_none();
            if cached.generation > session.generation || is_missing {
                session.put_access_token(cached.token.clone());
                is_newer |= !cached.left_out;
            }
        }
        is_newer
    }

    fn remove_unusable_tokens(&mut self, now: UnixSeconds) {
        self.access_tokens.retain(|cached| now < cached.until && !cached.token.is_expired(now));
        self.rejected.retain(|rejected| now < rejected.expires_at);
        // What is left of it would stay until the session expires.
        self.access_tokens.shrink_to_fit();
        if self.refresh.strong_count() == 0 {
            self.refresh = std::sync::Weak::new();
        }
    }

    fn next_generation(&mut self, of_cookie: u64) -> u64 {
        self.generation = self.generation.max(of_cookie).saturating_add(1);
        self.generation
    }

    /// Caches a token in place of the one for the same API, unless that one is newer.
    fn cache(&mut self, mut new: CachedToken) {
        new.token.token = new.token.token.to_packed();
        let same_api = |cached: &CachedToken| cached.token.api == new.token.api;
        if !self.access_tokens.iter().any(|cached| same_api(cached) && cached.generation > new.generation) {
            self.access_tokens.retain(|cached| !same_api(cached));
            // Most sessions use one API, and a vector would begin with places for four.
            self.access_tokens.reserve_exact(1);
            self.access_tokens.push(new);
        }
    }
}

#[cfg(test)]
mod tests;
