//! How long browsers keep a cookie, and when they keep that of a session after they were closed (contract 16.11).

use std::fmt;

use crate::clock::UnixSeconds;

/// How long a browser keeps a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Until the browser session ends.
    Browser,
    /// `Max-Age` in seconds.
    Seconds(u64),
}

/// `SESSION_PERSIST`: which sessions outlast the browser session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Those whose users asked for it at the sign-in.
    Ask,
    Off,
    On,
}

impl Persistence {
    /// The life of a session's cookies that are sent at `now`. What the setting is then decides, not what it was at the
    /// sign-in. `asked`: whether the user asked for it there.
    #[must_use]
    pub const fn life(self, asked: bool, expires_at: UnixSeconds, now: UnixSeconds) -> Life {
        match (self, asked) {
            (Self::Off, _) | (Self::Ask, false) => Life::Browser,
            (Self::On, _) | (Self::Ask, true) => Life::Seconds(expires_at.saturating_sub(now)),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Browser => Ok(()),
            Self::Seconds(seconds) => write!(f, "; Max-Age={seconds}"),
        }
    }
}
