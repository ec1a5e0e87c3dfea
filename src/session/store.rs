//! Where sessions are stored, as a trait: in the browser's cookie, or in a store behind a handle (contract 7.34).
//!
//! A store knows the newest state of a session: its tokens, its generation and its last activity. It decides which
//! writes count. Times, cookies and errors are the concern of [`super::Sessions`]. What every store must do is one
//! suite of tests, `tests/integration/session_stores.rs`.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::OpenSession;
use super::companion::SessionHash;
use super::payload::{AccessToken, Session, SessionId, Token};
use super::seal::Opened;
use super::user_agent::UserAgent;
use crate::clock::UnixSeconds;
use crate::secret::SecretString;

/// A future of a store.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of sessions. All methods may be called concurrently.
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// The session of an opened session cookie, in the newest state that the store knows. Whether it has been idle for
    /// too long is not checked here.
    fn load<'a>(&'a self, cookie: &'a Opened, now: UnixSeconds) -> StoreFuture<'a, Result<OpenSession, LoadError>>;

    /// A session that was loaded before, in the newest state that the store knows by now.
    fn reload<'a>(&'a self, open: &'a OpenSession, now: UnixSeconds)
    -> StoreFuture<'a, Result<OpenSession, LoadError>>;

    /// Stores a session that begins. Returns the sealed value of its cookie. A repeated callback calls it again for the
    /// same session, with the same result.
    fn create<'a>(&'a self, new: &'a OpenSession, now: UnixSeconds) -> StoreFuture<'a, Result<String, SaveError>>;

    /// Stores `now` as the last activity, unless a later one is stored. Tokens that are newer than those of `open` are
    /// not changed. Returns the sealed value of the session cookie if it must be written. A shared store writes in the
    /// background, since this must not delay a response (contract 15.9).
    fn touch<'a>(
        &'a self,
        open: &'a OpenSession,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Option<String>, SaveError>>;

    /// Stores the tokens of a refresh as the next generation, if the stored tokens are still those of `open` and no
    /// one else holds the lock by now.
    fn save_tokens<'a>(
        &'a self,
        lock: &'a RefreshLock,
        open: &'a OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), SaveError>>;

    /// Waits until no one else refreshes the session's tokens. `None` if instead another one stored newer tokens than
    /// those of `open`. The caller reloads the session in either case.
    fn lock_refresh<'a>(&'a self, open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>>;

    /// Ends a session: it cannot be loaded any more, and nothing stores it again (contract 4.23, 4.24). Of a session
    /// that a sign-in replaces, either the ID or the hash is known.
    fn end<'a>(
        &'a self,
        session: &'a SessionKey,
        reason: EndReason,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>>;

    /// Whether it knows which sessions there are, so that they can be listed, and ended without their cookie. The
    /// methods from here to [`Self::record`] return [`IndexError::Unsupported`] otherwise.
    fn has_index(&self) -> bool;

    /// The stored sessions of [`Whose`], in any order. Expired ones may be among them.
    fn list<'a>(
        &'a self,
        whose: &'a Whose,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>>;

    /// Ends the sessions of [`Whose`], as [`Self::end`] does, but not the one with the hash `except`. Returns the
    /// hashes of those that were stored.
    fn end_all<'a>(
        &'a self,
        whose: &'a Whose,
        except: Option<SessionHash>,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>>;

    /// Whether a logout token was recorded.
    fn is_recorded<'a>(&'a self, token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>>;

    /// Records a logout token until it is too old to be accepted (contract 16.8).
    fn record<'a>(
        &'a self,
        token: &'a LogoutTokenId,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), IndexError>>;

    /// Waits until what this instance writes in the background has been written.
    fn flush(&self) -> StoreFuture<'_, ()> {
        Box::pin(ready(()))
    }

    /// Why a session ended, if it did so on this instance (contract 4.22).
    fn ended_here(&self, session: &Session) -> Option<EndReason>;

    /// Whether this instance has newer tokens of a session by now than its cookie holds. A shared store has them
    /// itself.
    fn has_newer_tokens(&self, open: &OpenSession, _now: UnixSeconds) -> bool {
        open.is_cookie_outdated
    }

    /// Removes an access token that its API rejected from what this instance caches (contract 7.12). What is stored is
    /// not changed.
    fn forget_cached_token(&self, _open: &OpenSession, _token: &AccessToken) {}
}

/// The tokens of a refresh.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The rotated refresh token, if there is one.
    pub refresh_token: Option<SecretString>,
    /// The access token, if the refresh was for an API.
    pub access_token: Option<AccessToken>,
    /// The ID token, if sessions keep it (contract 12.22).
    pub id_token: Option<SecretString>,
}

impl NewTokens {
    /// Replaces those that the session has.
    pub fn put_into(self, session: &mut Session) {
        session.refresh_token = self.refresh_token.map(Token::from).or_else(|| session.refresh_token.take());
        session.id_token = self.id_token.map(Token::from).or_else(|| session.id_token.take());
        if let Some(token) = self.access_token {
            session.put_access_token(token);
        }
    }
}

/// What identifies a session in a store, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionKey {
    pub id: Option<SessionId>,
    /// Of the handle, by which a shared store finds the session (contract 15.2).
    pub hash: Option<SessionHash>,
    /// The absolute expiry: after it, nothing has to be known about the session.
    pub expires_at: UnixSeconds,
}

/// Why a session ended on this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// It was ended without its cookie, which the browser still has: by its user in another browser, by an operator, or
    /// by the provider.
    FromElsewhere,
    /// Another sign-in in the same browser replaced it.
    Replaced,
    SignedOut,
}

/// The sessions to list or to end. `issuer` is that of the provider's metadata (contract 15.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those of all users.
    Everyone,
    /// Those of the user with this `oid`.
    ObjectId { issuer: String, oid: String },
    /// The one with this hash.
    One(SessionHash),
    /// The one with this hash, if it is of the user with this `sub`.
    OneOfUser { hash: SessionHash, issuer: String, sub: String },
    /// Those of one session at the provider, by its `sid`.
    ProviderSession { issuer: String, sid: String },
    /// Those of the user with this `sub`.
    Subject { issuer: String, sub: String },
}

/// What a list of sessions says about one (contract 16.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    pub hash: SessionHash,
    pub signed_in_at: UnixSeconds,
    pub active_at: UnixSeconds,
    /// The absolute expiry.
    pub expires_at: UnixSeconds,
    pub user_agent: UserAgent,
}

/// Identifies a logout token of the provider (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogoutTokenId {
    pub issuer: String,
    pub jti: String,
}

/// The right to refresh the tokens of a session; given back when dropped.
pub struct RefreshLock {
    _guard: Box<dyn Send + Sync>,
    until: Option<Instant>,
    holder: Option<[u8; 16]>,
}

impl RefreshLock {
    /// A lock that `guard` gives back when dropped. Without `until` it does not expire.
    #[must_use]
    pub fn new(guard: impl Send + Sync + 'static, until: Option<Instant>) -> Self {
        Self { _guard: Box::new(guard), until, holder: None }
    }

    /// With what a shared store knows its holder by.
    #[must_use]
    pub fn with_holder(self, holder: [u8; 16]) -> Self {
        Self { holder: Some(holder), ..self }
    }

    #[must_use]
    pub const fn holder(&self) -> Option<&[u8; 16]> {
        self.holder.as_ref()
    }

    /// Whether it is held for so long from now on, unless it is dropped.
    #[must_use]
    pub fn lasts(&self, duration: Duration) -> bool {
        self.until.is_none_or(|until| Instant::now() + duration <= until)
    }
}

impl fmt::Debug for RefreshLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshLock").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Why a session cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadError {
    /// It ended or was replaced on this instance.
    Ended,
    /// It has expired or ended elsewhere, or what is stored is not a session.
    Expired,
    /// The key source must be read to decide, and does not respond.
    KeyUnavailable,
    /// The store does not respond (contract 15.12).
    StoreUnavailable,
    /// What is stored is sealed under a key that is not in the ring.
    UnknownKey,
}

/// Why there is no right to refresh the tokens of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockError {
    /// The session has ended, or it cannot be read.
    Load(LoadError),
    /// Another instance has refreshed its tokens for longer than a token request takes.
    TimedOut,
}

/// Why a session was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveError {
    /// It has ended, so that nothing may store it again.
    Ended,
    /// There is no key to seal with.
    KeysUnavailable,
    /// The store does not respond (contract 15.12).
    StoreUnavailable,
    /// Newer tokens were stored before.
    Superseded,
    /// It is larger than the store allows.
    TooLarge,
}

/// The store does not respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUnavailable;

/// Why sessions were not listed or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexError {
    /// The key source must be read to list them, and does not respond.
    KeysUnavailable,
    /// The store does not respond.
    StoreUnavailable,
    /// The store does not know which sessions there are.
    Unsupported,
}

impl From<StoreUnavailable> for LoadError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}

impl From<StoreUnavailable> for LockError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::Load(LoadError::StoreUnavailable)
    }
}

impl From<StoreUnavailable> for SaveError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}

impl From<StoreUnavailable> for IndexError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}
