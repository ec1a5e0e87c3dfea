//! The companion of the session cookie (contract 4.24a): it says to the callback, which never receives the session
//! cookie, which session it replaces and whose that is.
//!
//! It is not sealed, because it proves nothing and opens nothing: whoever plants one can at most end a session whose
//! hash they know.

use base64::Engine;
use sha2::{Digest, Sha256};

use super::base64url::BASE64URL;
use super::payload::Session;

/// Identifies a session without opening it: SHA-256 of its handle, which is `H` of contract 15.2. A session of payload
/// version 2 has no handle; its hash is that of its ID, which no handle can have, being longer.
pub type SessionHash = [u8; 32];

/// A hash as text: 43 characters of base64url.
#[must_use]
pub fn hash_to_text(hash: &SessionHash) -> String {
    BASE64URL.encode(hash)
}

/// The hash that a text of [`hash_to_text`] names.
#[must_use]
pub fn hash_from_text(text: &[u8]) -> Option<SessionHash> {
    BASE64URL.decode(text).ok()?.try_into().ok()
}

/// The first bytes of SHA-256(issuer ‖ 0x00 ‖ `sub`); it only has to tell the users of one browser apart.
pub type UserHash = [u8; 12];

/// What the companion cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Companion {
    /// The session that this browser had last.
    pub session: SessionHash,
    user: UserHash,
}

impl Companion {
    /// The companion of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        Self { session: session.hash(), user: session.user_hash() }
    }

    /// Reads the value of the cookie; a malformed one says nothing.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'.');
        let (session, user) = (parts.next()?, parts.next()?);
        let (session, user) = (hash_from_text(session)?, BASE64URL.decode(user).ok()?.try_into().ok()?);
        parts.next().is_none().then_some(Self { session, user })
    }

    /// The value of the cookie: 60 bytes.
    #[must_use]
    pub fn value(&self) -> String {
        format!("{}.{}", hash_to_text(&self.session), BASE64URL.encode(self.user))
    }

    /// Whether it names the user of a session.
    #[must_use]
    pub fn names_user_of(&self, session: &Session) -> bool {
        self.user == session.user_hash()
    }
}

impl Session {
    /// What identifies the session in the companion cookie and in a store.
    #[must_use]
    pub fn hash(&self) -> SessionHash {
        match &self.handle {
            Some(handle) => Sha256::digest(handle.expose()).into(),
            None => Sha256::digest(self.id).into(),
        }
    }

    /// Identifies its user. One of payload version 2 has no issuer: its user counts as another one, so that the cache
    /// is cleared once.
    #[must_use]
    pub fn user_hash(&self) -> UserHash {
        let issuer = self.issuer.as_deref().unwrap_or_default();
        user_hash(issuer, &self.user.sub)
    }
}

/// Identifies a user of an issuer.
#[must_use]
#[expect(clippy::expect_used, reason = "a digest has 32 bytes")]
pub fn user_hash(issuer: &str, sub: &str) -> UserHash {
    let digest = Sha256::new().chain_update(issuer).chain_update([0]).chain_update(sub).finalize();
    *digest.first_chunk().expect("a digest is longer than 12 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Key32;
    use crate::session::payload::User;

    fn session(sub: &str) -> Session {
        let user = User { sub: sub.to_owned(), ..User::default() };
        let handle = Some(Key32::new([8; 32]));
        Session { issuer: Some("https://login.example".to_owned()), handle, ..Session::new([5; 16], user, 1_000) }
    }

    /// Known answers: other instances write and read this value.
    #[test]
    fn a_companion_is_the_hash_of_the_handle_and_of_issuer_and_sub() {
        let companion = Companion::of(&session("ada"));
        let expected = "JXjM-GRbLR3BDEZe_4Q1hZcPOn4iKWqSytVdSJonIHI.378nUAg0ryEWEGmr";
        assert_eq!(companion.value(), expected);
        assert!(expected.len() <= 64);
        assert_eq!(Companion::parse(expected.as_bytes()), Some(companion));
        let old = Session { handle: None, ..session("ada") };
        assert_eq!(old.hash().as_slice(), Sha256::digest([5; 16]).as_slice(), "without a handle, of the ID");
    }

    #[test]
    fn a_companion_names_one_user_of_one_issuer() {
        let companion = Companion::of(&session("ada"));
        assert!(companion.names_user_of(&Session { handle: None, ..session("ada") }));
        assert!(!companion.names_user_of(&session("grace")));
        assert!(!companion.names_user_of(&Session { issuer: None, ..session("ada") }));
        let shifted = Session { issuer: Some("https://login.example\0a".to_owned()), ..session("da") };
        assert!(!companion.names_user_of(&shifted));
    }

    #[test]
    fn a_malformed_companion_says_nothing() {
        let good = Companion::of(&session("ada")).value();
        let (session, user) = good.split_once('.').unwrap();
        for bad in [
            String::new(),
            ".".to_owned(),
            session.to_owned(),
            format!("{session}."),
            format!("{session}.{user}."),
            format!("{session}.{user}.{user}"),
            format!("{session}.{user}AAAA"),
            format!("{session}=.{user}"),
            format!("{session}AAAA.{user}"),
            format!("{}B.{user}", &session[..42]),
            format!("{user}.{session}"),
            "x".repeat(4_000),
        ] {
            assert_eq!(Companion::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
