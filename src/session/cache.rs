//! What this instance knows of sessions beyond their cookies: newer tokens, refusals, and the generation it wrote.
//!
//! All of it may be lost at any time: a cookie alone is a session. It is bounded in number, and what it remembers of a
//! session ends with that session.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::OpenSession;
use super::payload::{AccessToken, Session, SessionId};
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, SecretString};

/// Sessions that are remembered; beyond it those that were not used for longest are forgotten.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// How long a new access token is given to calls that still carry the older cookie, in seconds.
const REMEMBERED: u64 = 60;

/// The table.
#[derive(Debug)]
pub struct SessionCache(Mutex<LruCache<SessionId, Entry>>);

/// What is known of one session.
#[derive(Debug, Default)]
struct Entry {
    /// The newest generation that was given out here.
    generation: u64,
    /// The newest refresh token that came here, and its generation.
    refresh_token: Option<(u64, SecretString)>,
    /// Access tokens that came here.
    access_tokens: Vec<Kept>,
    /// Access tokens that their API refused.
    refused: Vec<AccessToken>,
    /// A refresh token that the provider takes no more.
    spent: Option<SecretString>,
    /// What the last redemption for an API ended with, if it wants the user.
    wanting: Vec<(String, RequiredInteraction)>,
    /// Whose turn it is to redeem.
    queue: Arc<tokio::sync::Mutex<()>>,
    /// The newest activity that was written here.
    active_at: UnixSeconds,
    /// When the session is over at the latest.
    expires_at: UnixSeconds,
}

/// An access token that the cookie may not hold.
#[derive(Debug)]
struct Kept {
    token: AccessToken,
    /// The generation that it came with: a cookie of a later one has a newer token, or left this one out.
    generation: u64,
    /// From when on it is not given out any more.
    until: UnixSeconds,
    /// It did not fit, so that writing the cookie would not bring it there.
    left_out: bool,
}

/// What an API wants of the user before there is a token for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredInteraction {
    /// Consent to its scopes.
    Consent,
    /// Another authentication.
    StepUp,
}

/// What came of a redemption.
#[derive(Debug)]
pub struct Redeemed {
    /// The next refresh token, if there is a new one.
    pub refresh_token: Option<SecretString>,
    /// The access token, if it is for an API.
    pub access_token: Option<AccessToken>,
}

impl Default for SessionCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(LIMIT)))
    }
}

impl SessionCache {
    /// Brings a session of a cookie up to what is known here. Whether that changed it is the answer.
    pub fn merge_newer_tokens(&self, session: &mut Session, now: UnixSeconds) -> bool {
        self.table().get_mut(&session.id).is_some_and(|entry| entry.merge_newer_tokens(session, now))
    }

    /// Brings a session up to what is known here and gives it the next generation, higher than any that is known: in
    /// one step, since nothing newer may come between.
    pub fn prepare_write(&self, open: &OpenSession, now: UnixSeconds) -> Session {
        self.forget_what_is_over(now);
        let mut table = self.table();
        let entry = table.get_or_insert_mut(open.session.id, || Entry::until(open.expires_at));
        let mut session = open.session.clone();
        entry.merge_newer_tokens(&mut session, now);
        session.generation = entry.next_generation(open.session.generation);
        // A slow answer's request may have come before one whose activity is written already.
        entry.active_at = entry.active_at.max(session.active_at).max(now);
        session.active_at = entry.active_at;
        session
    }

    /// Remembers what a redemption brought.
    pub fn remember(&self, open: &OpenSession, redeemed: Redeemed, now: UnixSeconds) {
        self.change(open, |entry| {
            let generation = entry.next_generation(open.session.generation);
            if let Some(token) = redeemed.refresh_token {
                entry.refresh_token = Some((generation, token));
            }
            if let Some(token) = redeemed.access_token {
                entry.wanting.retain(|(api, _)| *api != token.api);
                entry.refused.retain(|refused| refused.api != token.api);
                let until = now.saturating_add(REMEMBERED);
                entry.keep(Kept { token, generation, until, left_out: false });
            }
        });
    }

    /// Keeps an access token that did not fit the cookie of a generation until it ends.
    pub fn keep_left_out(&self, open: &OpenSession, token: AccessToken, generation: u64) {
        let until = token.expires_at;
        self.change(open, |entry| entry.keep(Kept { token, generation, until, left_out: true }));
    }

    /// No longer gives out a token that its API refused; with `also_from_cookies` not even one that a cookie holds.
    pub fn drop_rejected_token(&self, open: &OpenSession, token: AccessToken, also_from_cookies: bool) {
        self.change(open, |entry| {
            entry.access_tokens.retain(|kept| !is_same(&kept.token, &token));
            if also_from_cookies {
                entry.wanting.retain(|(api, _)| *api != token.api);
                entry.wanting.push((token.api.clone(), RequiredInteraction::StepUp));
                entry.refused.retain(|refused| refused.api != token.api);
                entry.refused.push(token);
            }
        });
    }

    /// Notes what an API wants of the user.
    pub fn require(&self, open: &OpenSession, api: &str, wanting: RequiredInteraction) {
        self.change(open, |entry| {
            entry.wanting.retain(|(of, _)| of != api);
            entry.wanting.push((api.to_owned(), wanting));
        });
    }

    /// What an API wants of the user, as far as is known.
    pub fn wanting(&self, id: &SessionId, api: &str) -> Option<RequiredInteraction> {
        let table = self.table();
        table.peek(id)?.wanting.iter().find(|(of, _)| of == api).map(|(_, wanting)| *wanting)
    }

    /// Notes that the provider takes a refresh token no more.
    pub fn spend(&self, open: &OpenSession, refresh_token: SecretString) {
        self.change(open, |entry| entry.spent = Some(refresh_token));
    }

    /// Whether the provider is known to take this refresh token no more.
    pub fn is_spent(&self, id: &SessionId, refresh_token: &SecretString) -> bool {
        let table = self.table();
        let spent = table.peek(id).and_then(|entry| entry.spent.as_ref());
        spent.is_some_and(|spent| spent.expose_secret() == refresh_token.expose_secret())
    }

    /// Whoever holds this lock may redeem for the session.
    pub fn queue(&self, open: &OpenSession) -> Arc<tokio::sync::Mutex<()>> {
        self.change(open, |entry| Arc::clone(&entry.queue))
    }

    /// Forgets a session.
    pub fn forget(&self, id: &SessionId) {
        self.table().pop(id);
    }

    fn change<T>(&self, open: &OpenSession, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.table().get_or_insert_mut(open.session.id, || Entry::until(open.expires_at)))
    }

    fn forget_what_is_over(&self, now: UnixSeconds) {
        let mut table = self.table();
        while table.peek_lru().is_some_and(|(_, entry)| entry.expires_at <= now) {
            table.pop_lru();
        }
    }

    fn table(&self) -> MutexGuard<'_, LruCache<SessionId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn until(expires_at: UnixSeconds) -> Self {
        Self { expires_at, ..Self::default() }
    }

    /// Brings a session up to what is known. Returns true if the cookie must be rewritten.
    fn merge_newer_tokens(&mut self, session: &mut Session, now: UnixSeconds) -> bool {
        let mut changed = false;
        if let Some((generation, token)) = &self.refresh_token
            && *generation > session.generation
        {
            session.refresh_token = Some(token.clone());
            changed = true;
        }
        self.access_tokens.retain(|kept| now < kept.until && !kept.token.is_expired(now));
        for kept in &self.access_tokens {
            let held = session.access_token(&kept.token.api, now).is_some();
            if kept.generation > session.generation || !held {
                session.put_access_token(kept.token.clone());
                changed |= !kept.left_out;
            }
        }
        session.access_tokens.retain(|held| !self.refused.iter().any(|refused| is_same(refused, held)));
        changed
    }

    fn next_generation(&mut self, of_cookie: u64) -> u64 {
        self.generation = self.generation.max(of_cookie).saturating_add(1);
        self.generation
    }

    /// Keeps a token instead of the one for the same API, unless that one is newer.
    fn keep(&mut self, new: Kept) {
        let same_api = |kept: &Kept| kept.token.api == new.token.api;
        if !self.access_tokens.iter().any(|kept| same_api(kept) && kept.generation > new.generation) {
            self.access_tokens.retain(|kept| !same_api(kept));
            self.access_tokens.push(new);
        }
    }
}

fn is_same(one: &AccessToken, other: &AccessToken) -> bool {
    one.api == other.api && one.token.expose_secret() == other.token.expose_secret()
}

#[cfg(test)]
mod tests;
