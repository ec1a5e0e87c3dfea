//! The session cookie of a stored session: it holds what finds the session, and nothing else (contract 15.1).

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::companion::{SessionHash, UserHash};
use super::payload::{Session, SessionId, User};
use crate::clock::UnixSeconds;
use crate::secret::Key32;

/// The version of this payload. Those of a whole session count from 2 (see [`super::payload`]), far below.
const VERSION: u8 = 128;
const LONGEST: usize = 1 + 32 + 16 + 8 + 12;

/// The payload.
#[derive(Debug, Clone)]
pub struct Handle {
    /// 32 random bytes, which no store ever holds.
    pub secret: Key32,
    pub id: SessionId,
    /// When the user signed in: the revocation list decides by it, even where the store does not respond.
    pub signed_in_at: UnixSeconds,
    /// The user, if the session is to outlast the browser session: the sign-in of a step-up decides by it (contract
    /// 16.11), without the store.
    pub persists: Option<UserHash>,
}

impl Handle {
    /// The handle of a session. A session of payload version 2 has none: it gets the same from every instance, which
    /// only its cookie reveals (contract 15.17).
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let derived = || Key32::new(Sha256::new().chain_update("handle").chain_update(session.id).finalize().into());
        let secret = session.handle.clone().unwrap_or_else(derived);
        let persists = session.persist.then(|| session.user_hash());
        Self { secret, id: session.id, signed_in_at: session.signed_in_at, persists }
    }

    /// By which a store finds the session: `H` of contract 15.2.
    #[must_use]
    pub fn hash(&self) -> SessionHash {
        Sha256::digest(self.secret.expose()).into()
    }

    /// What is known of the session without the store: enough to tell whether it has ended here.
    #[must_use]
    pub fn session(&self) -> Session {
        let handle = Some(self.secret.clone());
        Session { handle, ..Session::new(self.id, User::default(), self.signed_in_at) }
    }

    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Allocated once, so that no copy of the secret is left behind by a buffer that grows.
        let mut payload = Zeroizing::new(Vec::with_capacity(LONGEST));
        payload.push(VERSION);
        payload.extend_from_slice(self.secret.expose());
        payload.extend_from_slice(&self.id);
        payload.extend_from_slice(&self.signed_in_at.to_be_bytes());
        payload.extend_from_slice(self.persists.as_ref().map_or(&[], UserHash::as_slice));
        payload
    }

    /// `None` for any other payload, as that of a whole session.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = payload.split_first()? else { return None };
        let (secret, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (signed_in_at, rest) = rest.split_first_chunk()?;
        let persists = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
        Some(Self { secret: Key32::new(*secret), id: *id, signed_in_at: u64::from_be_bytes(*signed_in_at), persists })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Handle {
        Handle { secret: Key32::new([8; 32]), id: [5; 16], signed_in_at: 0x0102_0304, persists: None }
    }

    /// Known answer (contract 5.8): other instances write and read this value.
    #[test]
    fn a_handle_is_its_version_secret_id_and_sign_in_time() {
        let payload = handle().encode();
        let expected = [&[128][..], &[8; 32], &[5; 16], &[0, 0, 0, 0, 1, 2, 3, 4]].concat();
        assert_eq!(payload.as_slice(), expected);
        let read = Handle::decode(&payload).unwrap();
        assert_eq!((read.secret.expose(), read.id, read.signed_in_at), (&[8; 32], [5; 16], 0x0102_0304));
        assert_eq!(read.hash(), read.session().hash());
        assert_eq!(read.persists, None);
        let payload = Handle { persists: Some([9; 12]), ..handle() }.encode();
        assert_eq!(payload.as_slice(), [expected.as_slice(), &[9; 12]].concat());
        assert_eq!(Handle::decode(&payload).unwrap().persists, Some([9; 12]));
    }

    #[test]
    fn a_handle_says_whose_session_is_to_outlast_the_browser_session() {
        let session = Session { persist: true, ..handle().session() };
        assert_eq!(Handle::of(&session).persists, Some(session.user_hash()));
        assert_eq!(Handle::of(&Session { persist: false, ..session }).persists, None);
    }

    #[test]
    fn no_other_payload_is_a_handle() {
        let payload = Handle { persists: Some([9; 12]), ..handle() }.encode();
        for length in 0..payload.len() {
            assert_eq!(Handle::decode(&payload[..length]).is_some(), length == payload.len() - 12, "{length}");
        }
        assert!(Handle::decode(&[payload.as_slice(), &[0]].concat()).is_none());
        for version in 0..=u8::MAX {
            let other = [&[version], &payload[1..]].concat();
            assert_eq!(Handle::decode(&other).is_some(), version == VERSION);
        }
        assert!(Handle::decode(&handle().session().encode()).is_none());
        assert!(Session::decode(&payload).is_none());
    }

    /// Contract 15.17: every instance moves a session of payload version 2 to the same place.
    #[test]
    fn a_session_without_a_handle_gets_the_same_one_everywhere() {
        let session = Session::new([5; 16], User::default(), 7);
        let handle = Handle::of(&session);
        assert_eq!(handle.secret.expose(), Handle::of(&session).secret.expose());
        assert_ne!(handle.hash(), session.hash(), "its companion does not reveal it");
        let other = Handle::of(&Session::new([6; 16], User::default(), 7));
        assert_ne!(handle.secret.expose(), other.secret.expose());
        let with_handle = handle.session();
        assert_eq!(Handle::of(&with_handle).secret.expose(), handle.secret.expose());
    }
}
