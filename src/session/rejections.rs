//! What APIs and the provider rejected: tokens that this instance does not use again, and what the user has to do.
//!
//! The table is bounded, and an entry ends with its session. Sessions without a rejection have none.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::OpenSession;
use super::payload::{AccessToken, Session, SessionId};
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, SecretString};

/// Most entries. When the table is full, the one that was not used for the longest time is removed.
const LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// What the user has to do before there is a token for an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredInteraction {
    /// Consent to its scopes.
    Consent,
    /// Authenticate again, or in another way.
    StepUp,
}

/// The table.
#[derive(Debug)]
pub(super) struct Rejections(Mutex<LruCache<SessionId, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// Access tokens that their API rejected with a claims challenge.
    access_tokens: Vec<AccessToken>,
    /// The refresh token for which the provider responded `invalid_grant`.
    refresh_token: Option<SecretString>,
    /// What the user has to do, by API.
    required: Vec<(String, RequiredInteraction)>,
    /// The absolute expiry of the session.
    expires_at: UnixSeconds,
}

impl Default for Rejections {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(LIMIT)))
    }
}

impl Rejections {
    /// Removes rejected access tokens from a session.
    pub(super) fn remove_from(&self, session: &mut Session) {
        if let Some(entry) = self.table().peek(&session.id) {
            let is_rejected = |held: &AccessToken| entry.access_tokens.iter().any(|token| token.is_same(held));
            session.access_tokens.retain(|held| !is_rejected(held));
        }
    }

    /// The session without rejected access tokens: an API may have rejected one since the session was opened, and a
    /// write must not bring it back (contract 7.28).
    pub(super) fn without_rejected_tokens<'a>(&self, open: &'a OpenSession) -> Cow<'a, OpenSession> {
        if self.table().peek(&open.session.id).is_none_or(|entry| entry.access_tokens.is_empty()) {
            return Cow::Borrowed(open);
        }
        let mut open = open.clone();
        self.remove_from(&mut open.session);
        Cow::Owned(open)
    }

    /// Adds an access token for which its API demands another authentication (contract 7.28).
    pub(super) fn reject_access_token(&self, open: &OpenSession, token: AccessToken, now: UnixSeconds) {
        self.change(open, now, |entry| {
            entry.require(&token.api, RequiredInteraction::StepUp);
            entry.access_tokens.retain(|rejected| rejected.api != token.api);
            entry.access_tokens.push(token);
        });
    }

    /// Adds a refresh token that the provider does not accept any more (contract 7.15).
    pub(super) fn reject_refresh_token(&self, open: &OpenSession, token: SecretString, now: UnixSeconds) {
        self.change(open, now, |entry| entry.refresh_token = Some(token));
    }

    pub(super) fn is_refresh_token_rejected(&self, id: &SessionId, token: &SecretString) -> bool {
        let table = self.table();
        let rejected = table.peek(id).and_then(|entry| entry.refresh_token.as_ref());
        rejected.is_some_and(|rejected| rejected.expose_secret() == token.expose_secret())
    }

    pub(super) fn require(&self, open: &OpenSession, api: &str, interaction: RequiredInteraction, now: UnixSeconds) {
        self.change(open, now, |entry| entry.require(api, interaction));
    }

    pub(super) fn required(&self, id: &SessionId, api: &str) -> Option<RequiredInteraction> {
        let table = self.table();
        table.peek(id)?.required.iter().find(|(of, _)| of == api).map(|(_, interaction)| *interaction)
    }

    /// Forgets the rejections of an API, for which there is a new token; unless that was rejected already, by a call
    /// that got it as soon as it was stored.
    pub(super) fn clear(&self, id: &SessionId, new: &AccessToken) {
        if let Some(entry) = self.table().get_mut(id)
            && !entry.access_tokens.iter().any(|rejected| rejected.is_same(new))
        {
            entry.required.retain(|(of, _)| *of != new.api);
            entry.access_tokens.retain(|rejected| rejected.api != new.api);
        }
    }

    pub(super) fn forget(&self, id: &SessionId) {
        self.table().pop(id);
    }

    fn change(&self, open: &OpenSession, now: UnixSeconds, change: impl FnOnce(&mut Entry)) {
        let mut table = self.table();
        while table.peek_lru().is_some_and(|(_, entry)| entry.expires_at <= now) {
            table.pop_lru();
        }
        let expires_at = open.expires_at;
        change(table.get_or_insert_mut(open.session.id, || Entry { expires_at, ..Entry::default() }));
    }

    fn table(&self) -> MutexGuard<'_, LruCache<SessionId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn require(&mut self, api: &str, interaction: RequiredInteraction) {
        self.required.retain(|(of, _)| of != api);
        self.required.push((api.to_owned(), interaction));
    }
}

#[cfg(test)]
mod tests;
