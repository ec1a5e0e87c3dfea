//! Sessions: what is in one, how it is sealed, and the cookies that carry it.

pub mod cookie;
pub mod ended;
pub mod seal;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::keyring::{KeyId, Purpose, Ring};
use cookie::Presented;
use ended::EndedSessions;
use seal::{Binding, Closed, Opened};
use token::Session;

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
    pub cookies: cookie::Config,
    /// How long sessions live.
    pub limits: Limits,
    /// The sessions ended here.
    pub ended: EndedSessions,
    client_id: String,
}

/// A session that a request carries.
#[derive(Debug)]
pub struct OpenSession {
    /// What is in it.
    pub session: Session,
    /// When it is over at the latest.
    pub expires_at: UnixSeconds,
    kid: KeyId,
    several_cookies: bool,
}

/// Why a session cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWritten {
    /// No key seals.
    KeysUnavailable,
    /// It does not fit the cookies.
    TooLarge,
}

impl Sessions {
    /// Sessions of one client.
    #[must_use]
    pub fn new(ring: Arc<Ring>, cookies: cookie::Config, limits: Limits, client_id: String) -> Self {
        Self { ring, cookies, limits, ended: EndedSessions::default(), client_id }
    }

    /// The session that a request carries.
    ///
    /// # Errors
    /// [`Error::SessionMissing`] without a cookie, [`Error::SessionExpired`] for one that does not open or is over, and
    /// [`Error::KeysUnavailable`] when nobody can tell.
    pub async fn open(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<OpenSession, Error> {
        let sealed = match self.cookies.session(headers) {
            Presented::Missing => return Err(Error::SessionMissing),
            Presented::Invalid => return Err(Error::SessionExpired),
            Presented::Sealed(sealed) => sealed,
        };
        let opened =
            self.unseal(Purpose::Session, &self.cookies.name, &sealed, now).await.map_err(|closed| match closed {
                Closed::Invalid => Error::SessionExpired,
                Closed::KeyUnavailable => Error::KeysUnavailable,
            })?;
        let session = Session::decode(&opened.payload).ok_or(Error::SessionExpired)?;
        let idle_until = session.active_at.saturating_add(self.limits.idle.as_secs());
        if now >= idle_until || self.ended.contains(&session.id) {
            return Err(Error::SessionExpired);
        }
        let several_cookies = sealed.len() > self.cookies.part_size();
        Ok(OpenSession { session, expires_at: opened.expires_at, kid: opened.kid, several_cookies })
    }

    /// The `Set-Cookie` lines of a session.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub async fn write(
        &self,
        session: &Session,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Vec<HeaderValue>, NotWritten> {
        let name = &self.cookies.name;
        let sealed = self.seal(Purpose::Session, name, expires_at, now, &session.encode()).await;
        self.cookies.write_session(&sealed.ok_or(NotWritten::KeysUnavailable)?).map_err(|_| NotWritten::TooLarge)
    }

    /// The lines that write down this activity: when the written one is old enough, or the session's key retires, so
    /// that it is sealed anew under the one that seals.
    pub async fn write_activity(&self, open: &OpenSession, now: UnixSeconds) -> Option<Vec<HeaderValue>> {
        let is_due = now >= open.session.active_at.saturating_add(self.activity_pause(open));
        if !is_due && !self.ring.is_retiring(open.kid, now) {
            return None;
        }
        let session = Session { active_at: now, generation: open.session.generation + 1, ..open.session.clone() };
        let lines = self.write(&session, open.expires_at, now).await.ok()?;
        if !self.ended.contains(&session.id) { Some(lines) } else { None }
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
    /// [`Closed`].
    pub async fn unseal(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, Closed> {
        let binding = Binding { purpose, name, client_id: &self.client_id };
        seal::open(&self.ring, binding, sealed, now, self.limits.clock_skew.as_secs()).await
    }
}

impl OpenSession {
    /// The key that sealed it.
    #[must_use]
    pub const fn kid(&self) -> KeyId {
        self.kid
    }
}
