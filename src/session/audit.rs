//! What audit events say of a session and its user (contract 20.4).

use super::companion::{SessionHash, UserHash, user_hash};
use super::payload::Session;
use super::store::Whose;
use crate::telemetry::{LogUser, log_user};

/// A session and its user, as audit events name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audited {
    /// The first 8 bytes of the session's hash, in hex.
    pub session: Option<String>,
    /// By `LOG_USER`.
    pub user: Option<String>,
}

impl Audited {
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let id = session.user.oid.as_ref().unwrap_or(&session.user.sub);
        let user = user_text(log_user(), &session.user_hash(), id);
        Self { user, ..Self::known_by(Some(&session.hash())) }
    }

    /// A session of which only the hash is known, if that.
    #[must_use]
    pub fn known_by(hash: Option<&SessionHash>) -> Self {
        Self { session: hash.map(|hash| hex(hash.split_at(8).0)), user: None }
    }

    /// One of the sessions that were ended together.
    #[must_use]
    pub fn ended_with(whose: &Whose, hash: &SessionHash) -> Self {
        let user = match whose {
            Whose::Subject { issuer, sub } | Whose::OneOfUser { issuer, sub, .. } => {
                user_text(log_user(), &user_hash(issuer, sub), sub)
            }
            Whose::ObjectId { oid, .. } => Some(oid.clone()).filter(|_| log_user() == LogUser::Id),
            Whose::Everyone | Whose::One(_) | Whose::ProviderSession { .. } => None,
        };
        Self { user, ..Self::known_by(Some(hash)) }
    }
}

/// A hash of issuer and `sub`, or the identifier by which `cloakroom sessions end --user` finds the user.
fn user_text(as_what: LogUser, hash: &UserHash, id: &str) -> Option<String> {
    match as_what {
        LogUser::Hash => Some(hex(hash)),
        LogUser::Id => Some(id.to_owned()),
        LogUser::None => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::payload::User;

    #[test]
    fn a_session_is_named_by_a_hash_of_its_id_and_a_user_as_the_setting_says() {
        let user = User { sub: "ada".to_owned(), oid: Some("0a".to_owned()), ..User::default() };
        let session = Session { issuer: Some("i".to_owned()), ..Session::new([5; 16], user, 0) };
        let audited = Audited::of(&session);
        assert_eq!(audited.session.as_deref(), Some(&*hex(&session.hash()[..8])));
        assert_eq!(audited.user.as_deref(), Some(&*hex(&user_hash("i", "ada"))), "the default");
        assert_eq!(audited.session.map(|text| text.len()), Some(16));
        let text = |as_what, issuer| user_text(as_what, &user_hash(issuer, "ada"), "0a");
        assert_eq!(text(LogUser::Id, "i").as_deref(), Some("0a"));
        assert_eq!(text(LogUser::None, "i"), None);
        assert_ne!(text(LogUser::Hash, "i"), text(LogUser::Hash, "j"));
    }
}
