//! Sessions: a pure codec (payload, seal, cookie), and the service over a store.

pub mod audit;
mod base64url;
pub mod binary;
pub mod companion;
pub mod configured;
pub mod cookie;
pub mod ended;
pub mod handle;
pub mod packed;
pub mod payload;
mod rejections;
pub mod seal;
pub mod sealer;
mod service;
pub mod store;
pub mod user_agent;
mod watch;

use std::time::Duration;

use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::keyring::KeyId;
use cookie::TooLarge;
use payload::Session;
pub use rejections::RequiredInteraction;
use sealer::{SealingKeyUnavailable, UnsealError};
pub use service::{Identified, Sessions};
use store::{IndexError, LoadError, SessionKey};
use user_agent::UserAgent;
pub use watch::{EndCount, SessionWatch};

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

/// A session that a request carries, or that begins.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// What it holds, in the newest state that was known when it was loaded. Boxed, since it moves a lot.
    pub session: Box<Session>,
    /// The absolute expiry.
    pub expires_at: UnixSeconds,
    /// The key that sealed it, if it was loaded.
    pub sealed_by: Option<KeyId>,
    /// Whether the cookie must be written: this instance has newer tokens, or the request requires it.
    pub is_cookie_outdated: bool,
    /// That of the sign-in, while the session begins.
    pub user_agent: UserAgent,
    /// Whether the request carried it in several cookies.
    several_cookies: bool,
}

/// Why a request carries no valid session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It ended or was replaced on this instance. The browser may have the cookie of another session by now.
    Ended,
    /// It has expired, or its cookie does not open.
    Expired,
    /// The key source must be read to decide, and does not respond.
    KeyUnavailable,
    /// There is no session cookie.
    Missing,
    /// The store does not respond.
    StoreUnavailable,
    /// Its cookie, or its record in the store, is sealed under a key that is not in the ring.
    UnknownKey,
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Ended | OpenError::Expired | OpenError::UnknownKey => Self::SessionExpired,
            OpenError::KeyUnavailable => Self::KeysUnavailable,
            OpenError::Missing => Self::SessionMissing,
            OpenError::StoreUnavailable => Self::StoreUnavailable,
        }
    }
}

impl From<UnsealError> for OpenError {
    fn from(error: UnsealError) -> Self {
        match error {
            UnsealError::Invalid => Self::Expired,
            UnsealError::KeyUnavailable => Self::KeyUnavailable,
            UnsealError::UnknownKey => Self::UnknownKey,
        }
    }
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Ended => Self::Ended,
            LoadError::Expired => Self::Expired,
            LoadError::KeyUnavailable => Self::KeyUnavailable,
            LoadError::StoreUnavailable => Self::StoreUnavailable,
            LoadError::UnknownKey => Self::UnknownKey,
        }
    }
}

impl From<IndexError> for Error {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::KeysUnavailable => Self::KeysUnavailable,
            IndexError::StoreUnavailable => Self::StoreUnavailable,
            IndexError::Unsupported => Self::RouteDenied,
        }
    }
}

/// Why a session was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// There is no key to seal with.
    KeysUnavailable,
    /// The store does not respond.
    StoreUnavailable,
    /// It does not fit the cookies, or the store.
    TooLarge,
}

impl From<SealingKeyUnavailable> for WriteError {
    fn from(_: SealingKeyUnavailable) -> Self {
        Self::KeysUnavailable
    }
}

impl From<TooLarge> for WriteError {
    fn from(_: TooLarge) -> Self {
        Self::TooLarge
    }
}

impl OpenSession {
    /// A session that begins.
    #[must_use]
    pub fn new(session: impl Into<Box<Session>>, expires_at: UnixSeconds) -> Self {
        Self {
            session: session.into(),
            expires_at,
            sealed_by: None,
            is_cookie_outdated: false,
            user_agent: UserAgent::unknown(),
            several_cookies: false,
        }
    }

    /// A session that a store has loaded.
    #[must_use]
    pub fn loaded(
        session: impl Into<Box<Session>>,
        expires_at: UnixSeconds,
        sealed_by: KeyId,
        is_cookie_outdated: bool,
    ) -> Self {
        Self { sealed_by: Some(sealed_by), is_cookie_outdated, ..Self::new(session, expires_at) }
    }

    /// What identifies it in a store.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey { id: Some(self.session.id), hash: Some(self.session.hash()), expires_at: self.expires_at }
    }
}
