//! Sessions: what is in one, how it is sealed, and the cookies that carry it.

mod base64url;
pub mod cache;
pub mod cookie;
pub mod ended;
pub mod seal;
pub mod token;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::keyring::{KeyId, Purpose, Ring};
use cache::SessionCache;
use cookie::{Presented, TooLarge};
use ended::EndedSessions;
use seal::{Binding, Opened, UnsealError};
use token::{Session, SessionId};

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

/// Opens and writes sessions, and seals the smaller things.
#[derive(Debug)]
pub struct Sessions {
    /// The keys.
    pub ring: Arc<Ring>,
    /// Names and attributes of the cookies.
    pub cookies: cookie::SessionCookies,
    /// How long sessions live.
    pub limits: Limits,
    /// The sessions ended here.
    pub ended: EndedSessions,
    /// The sessions that another sign-in in the same browser replaced; a slow answer must not bring one back.
    pub replaced: EndedSessions,
    /// What this instance knows beyond the cookies.
    pub cache: SessionCache,
    client_id: String,
}

/// A session that a request carries, or that begins.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// What is in it, with all that this instance knows to be newer than the cookie.
    pub session: Session,
    /// When it is over at the latest.
    pub expires_at: UnixSeconds,
    /// The key that sealed its cookie, if there is one.
    kid: Option<KeyId>,
    several_cookies: bool,
    /// Whether this instance knows more than the cookie holds.
    is_stale: bool,
}

/// Why a request carries no session that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It is over, or its cookie does not open.
    Expired,
    /// Nobody can tell before the source of the keys answers.
    KeyUnavailable,
    /// No cookie came.
    Missing,
    /// Its cookie names a key that is not in the ring.
    UnknownKey,
}

impl From<OpenError> for Error {
    fn from(why: OpenError) -> Self {
        match why {
            OpenError::Expired | OpenError::UnknownKey => Self::SessionExpired,
            OpenError::KeyUnavailable => Self::KeysUnavailable,
            OpenError::Missing => Self::SessionMissing,
        }
    }
}

/// Why a session cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// No key seals.
    KeysUnavailable,
    /// It does not fit the cookies.
    TooLarge,
}

impl Sessions {
    /// Sessions of one client.
    #[must_use]
    pub fn new(ring: Arc<Ring>, cookies: cookie::SessionCookies, limits: Limits, client_id: String) -> Self {
        Self {
            ring,
            cookies,
            limits,
            ended: EndedSessions::default(),
            replaced: EndedSessions::default(),
            cache: SessionCache::default(),
            client_id,
        }
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
        let opened = self.unseal(Purpose::Session, &self.cookies.name, &sealed, now).await;
        let opened = opened.map_err(|closed| match closed {
            UnsealError::Invalid => OpenError::Expired,
            UnsealError::KeyUnavailable => OpenError::KeyUnavailable,
            UnsealError::UnknownKey => OpenError::UnknownKey,
        })?;
        let mut session = Session::decode(opened.payload()).ok_or(OpenError::Expired)?;
        let idle_until = session.active_at.saturating_add(self.limits.idle.as_secs());
        if now >= idle_until || self.ended.contains(&session.id) {
            return Err(OpenError::Expired);
        }
        let is_stale = self.cache.merge_newer_tokens(&mut session, now);
        let several_cookies = matches!(sealed, Cow::Owned(_));
        Ok(OpenSession { session, expires_at: opened.expires_at, kid: Some(opened.kid), several_cookies, is_stale })
    }

    /// The `Set-Cookie` lines that write a session with this moment as its last activity, and with the newest tokens.
    ///
    /// Of what does not fit, access tokens that the refresh token can bring back are left out first, and kept here.
    /// There are no lines for a session that was ended or replaced here.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(&self, open: &OpenSession, now: UnixSeconds) -> Result<Vec<HeaderValue>, WriteError> {
        let key = self.ring.sealing(now).await.map_err(|_| WriteError::KeysUnavailable)?;
        let name = &self.cookies.name;
        let binding = Binding { purpose: Purpose::Session, name, client_id: &self.client_id };
        // From here on nothing waits, so that generations are given out in their order.
        let mut session = self.cache.prepare_write(open, now);
        let lines = loop {
            let sealed = seal::seal(&key, binding, now, open.expires_at, &session.encode());
            match self.cookies.write_session(&sealed) {
                Ok(lines) => break lines,
                Err(TooLarge) => {
                    let token = session.leave_out_largest().ok_or(WriteError::TooLarge)?;
                    self.cache.keep_left_out(open, token, session.generation);
                }
            }
        };
        Ok(if self.is_ended_or_replaced(&session.id) { Vec::new() } else { lines })
    }

    /// Whether a session was ended or replaced here, so that no answer of its time may touch the cookie.
    #[must_use]
    pub fn is_ended_or_replaced(&self, id: &SessionId) -> bool {
        self.ended.contains(id) || self.replaced.contains(id)
    }

    /// The lines of [`Self::write`], when there is a reason: the written activity is old enough, this instance knows
    /// newer tokens, or the session's key retires, so that it is sealed anew under the one that seals.
    pub async fn write_if_due(&self, open: &OpenSession, now: UnixSeconds) -> Option<Vec<HeaderValue>> {
        let is_due = now >= open.session.active_at.saturating_add(self.activity_pause(open));
        let retires = || open.kid.is_some_and(|kid| self.ring.is_retiring(kid, now));
        if is_due || open.is_stale || retires() { self.write(open, now).await.ok() } else { None }
    }

    /// Whether this instance has newer tokens of a session by now than when it was opened.
    #[must_use]
    pub fn has_newer_tokens(&self, open: &OpenSession, now: UnixSeconds) -> bool {
        self.cache.merge_newer_tokens(&mut open.session.clone(), now)
    }

    /// Ends a session here: it is refused, and no slow answer writes it any more.
    pub fn end(&self, open: &OpenSession, now: UnixSeconds) {
        self.ended.insert(open.session.id, open.expires_at, now);
        self.cache.forget(&open.session.id);
    }

    fn activity_pause(&self, open: &OpenSession) -> u64 {
        let idle = self.limits.idle.as_secs();
        if open.several_cookies { 300.min(idle / 4) } else { 60.min(idle / 10) }
    }

    /// Seals a payload. `name` is the full cookie name, or empty for what is no cookie. `None` without a key.
    pub async fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        expires_at: UnixSeconds,
        now: UnixSeconds,
        payload: &[u8],
    ) -> Option<String> {
        let key = self.ring.sealing(now).await.ok()?;
        let binding = Binding { purpose, name, client_id: &self.client_id };
        Some(seal::seal(&key, binding, now, expires_at, payload))
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
        let binding = Binding { purpose, name, client_id: &self.client_id };
        seal::open(&self.ring, binding, sealed, now, self.limits.clock_skew.as_secs()).await
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
