//! Sessions: what one holds, how it is sealed, and the cookies that carry it.

mod base64url;
pub mod cache;
pub mod cookie;
pub mod ended;
pub mod payload;
pub mod seal;
pub mod sealer;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::keyring::{KeyId, Purpose, Ring};
use cache::SessionCache;
use cookie::{Life, Presented, SessionCookies, TooLarge};
use ended::EndedSessions;
use payload::{Session, SessionId};
use seal::{Opened, Times};
use sealer::{Sealer, SealingKeyUnavailable, UnsealError};

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the last activity.
    pub idle: Duration,
    /// From the sign-in.
    pub max: Duration,
    /// Tolerance for the clocks of other instances.
    pub clock_skew: Duration,
}

/// Opens, writes and ends sessions, and seals the smaller values.
#[derive(Debug)]
pub struct Sessions {
    sealer: Sealer,
    cookies: SessionCookies,
    limits: Limits,
    pub(crate) ended: EndedSessions,
    replaced: EndedSessions,
    pub(crate) cache: SessionCache,
}

/// A session that a request carries, or that begins.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// What it holds, in the newest state that this instance knows.
    pub session: Session,
    /// The absolute expiry.
    pub expires_at: UnixSeconds,
    /// The key that sealed its cookie, if there is one.
    kid: Option<KeyId>,
    several_cookies: bool,
    /// Whether this instance knows newer tokens than the cookie holds.
    is_stale: bool,
}

/// Why a request carries no valid session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It has expired or ended, or its cookie does not open.
    Expired,
    /// The key source must be read to decide, and does not respond.
    KeyUnavailable,
    /// There is no session cookie.
    Missing,
    /// Its cookie is sealed under a key that is not in the ring.
    UnknownKey,
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Expired | OpenError::UnknownKey => Self::SessionExpired,
            OpenError::KeyUnavailable => Self::KeysUnavailable,
            OpenError::Missing => Self::SessionMissing,
        }
    }
}

/// Why a session cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// There is no key to seal with.
    KeysUnavailable,
    /// It does not fit the cookies.
    TooLarge,
}

impl From<SealingKeyUnavailable> for WriteError {
    fn from(_: SealingKeyUnavailable) -> Self {
        Self::KeysUnavailable
    }
}

impl Sessions {
    /// Sessions of one client.
    #[must_use]
    pub fn new(ring: Arc<Ring>, cookies: SessionCookies, limits: Limits, client_id: String) -> Self {
        Self {
            sealer: Sealer::new(ring, client_id, limits.clock_skew.as_secs()),
            cookies,
            limits,
            ended: EndedSessions::default(),
            replaced: EndedSessions::default(),
            cache: SessionCache::default(),
        }
    }

    /// Names and attributes of the cookies.
    #[must_use]
    pub const fn cookies(&self) -> &SessionCookies {
        &self.cookies
    }

    /// The session that a request carries.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<OpenSession, OpenError> {
        let sealed = match self.cookies.session(headers) {
            Presented::Missing => return Err(OpenError::Missing),
            Presented::Invalid => return Err(OpenError::Expired),
            Presented::Sealed(sealed) => sealed,
        };
        let opened = self.unseal(Purpose::Session, self.cookies.name(), &sealed, now).await;
        let opened = opened.map_err(|error| match error {
            UnsealError::Invalid => OpenError::Expired,
            UnsealError::KeyUnavailable => OpenError::KeyUnavailable,
            UnsealError::UnknownKey => OpenError::UnknownKey,
        })?;
        let mut session = Session::decode(opened.payload()).ok_or(OpenError::Expired)?;
        if now >= self.idle_expiry(&session) || self.ended.contains(&session.id) {
            return Err(OpenError::Expired);
        }
        let is_stale = self.cache.merge_newer_tokens(&mut session, now);
        let several_cookies = matches!(sealed, Cow::Owned(_));
        let (expires_at, kid) = (opened.times.expires_at, Some(opened.kid));
        Ok(OpenSession { session, expires_at, kid, several_cookies, is_stale })
    }

    /// A session that begins now.
    #[must_use]
    pub const fn begin(&self, session: Session, now: UnixSeconds) -> OpenSession {
        OpenSession::new(session, now.saturating_add(self.limits.max.as_secs()))
    }

    /// Whether a session could be written now.
    ///
    /// # Errors
    /// [`WriteError::KeysUnavailable`].
    pub async fn can_write(&self, now: UnixSeconds) -> Result<(), WriteError> {
        self.sealer.key(now).await?;
        Ok(())
    }

    /// The `Set-Cookie` lines that write a session with `now` as its last activity, and with the newest tokens.
    ///
    /// Access tokens that do not fit and that the refresh token can get again are left out first, and cached here.
    /// There are no lines for a session that was ended or replaced here (contract 4.23).
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(&self, open: &OpenSession, now: UnixSeconds) -> Result<Vec<HeaderValue>, WriteError> {
        let key = self.sealer.key(now).await?;
        // Nothing is awaited from here on, so that cookies are sealed in the order of their generations.
        let mut session = self.cache.prepare_write(open, now);
        let payload = loop {
            let payload = session.encode();
            if self.cookies.fits(seal::sealed_len(payload.len()), Life::Browser) {
                break payload;
            }
            let token = session.take_largest_access_token().ok_or(WriteError::TooLarge)?;
            self.cache.keep_left_out(open, token, session.generation);
        };
        if self.is_ended_or_replaced(&session.id) {
            return Ok(Vec::new());
        }
        let times = Times { issued_at: now, expires_at: open.expires_at };
        let sealed = self.sealer.seal_with(&key, Purpose::Session, self.cookies.name(), times, &payload);
        self.cookies.write_session(&sealed, Life::Browser).map_err(|TooLarge| WriteError::TooLarge)
    }

    /// Whether a session was ended or replaced here, so that no response to it may write or delete the cookie.
    #[must_use]
    pub fn is_ended_or_replaced(&self, id: &SessionId) -> bool {
        self.ended.contains(id) || self.replaced.contains(id)
    }

    /// Whether a session was ended here.
    #[must_use]
    pub fn is_ended(&self, id: &SessionId) -> bool {
        self.ended.contains(id)
    }

    /// The lines of [`Self::write`] if there is a reason to write: the written activity is old enough, this instance
    /// has newer tokens, or the session's key retires (contract 6.24, 7.9).
    pub async fn write_if_due(&self, open: &OpenSession, now: UnixSeconds) -> Option<Vec<HeaderValue>> {
        let is_due = now >= open.session.active_at.saturating_add(self.activity_interval(open));
        let is_retiring = || open.kid.is_some_and(|kid| self.sealer.is_retiring(kid, now));
        if is_due || open.is_stale || is_retiring() { self.write(open, now).await.ok() } else { None }
    }

    /// Whether this instance has newer tokens of a session by now than when it was opened.
    #[must_use]
    pub fn has_newer_tokens(&self, open: &OpenSession, now: UnixSeconds) -> bool {
        self.cache.merge_newer_tokens(&mut open.session.clone(), now)
    }

    /// Ends a session here: it is rejected, and no slow response writes it (contract 4.23, 4.24).
    pub fn end(&self, open: &OpenSession, now: UnixSeconds) {
        self.ended.insert(open.session.id, open.expires_at, now);
        self.cache.forget(&open.session.id);
    }

    /// Marks a session as replaced by another sign-in in the same browser (contract 4.22): no slow response writes it.
    pub fn replace(&self, id: SessionId, expires_at: UnixSeconds, now: UnixSeconds) {
        self.replaced.insert(id, expires_at, now);
    }

    /// The first second in which a session has been idle for too long.
    #[must_use]
    pub const fn idle_expiry(&self, session: &Session) -> UnixSeconds {
        session.active_at.saturating_add(self.limits.idle.as_secs())
    }

    fn activity_interval(&self, open: &OpenSession) -> u64 {
        let idle = self.limits.idle.as_secs();
        if open.several_cookies { 300.min(idle / 4) } else { 60.min(idle / 10) }
    }

    /// Seals a payload. `name` is the full cookie name, or empty for a value that is not a cookie.
    ///
    /// # Errors
    /// [`SealingKeyUnavailable`].
    pub async fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        expires_at: UnixSeconds,
        now: UnixSeconds,
        payload: &[u8],
    ) -> Result<String, SealingKeyUnavailable> {
        self.sealer.seal(purpose, name, expires_at, now, payload).await
    }

    /// Opens what [`Self::seal`] sealed.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub async fn unseal(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, UnsealError> {
        self.sealer.unseal(purpose, name, sealed, now).await
    }
}

impl OpenSession {
    /// A session that begins.
    #[must_use]
    pub const fn new(session: Session, expires_at: UnixSeconds) -> Self {
        Self { session, expires_at, kid: None, several_cookies: false, is_stale: false }
    }

    /// Whether this instance knows newer tokens than the cookie holds.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.is_stale
    }
}
