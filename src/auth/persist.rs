//! Whether a sign-in begins a session that outlasts the browser session, where the user decides (contract 16.11).

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::guard::navigation;
use crate::session::companion::UserHash;
use crate::session::payload::Session;

/// What a sign-in asked for, whatever `SESSION_PERSIST` is: the setting counts when the cookies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Persist {
    No,
    Yes,
    /// If this user signs in, whose session it steps up or extends by a consent.
    IfUser(UserHash),
}

impl Persist {
    /// What a request asks for. `parameter`: its `persist`; `user`: that of the session that it steps up or extends, if
    /// that persists. No other site may make a session on a shared machine last.
    pub(super) fn of(headers: &HeaderMap, parameter: Option<bool>, user: Option<UserHash>) -> Self {
        match (parameter, user) {
            _ if !navigation::is_from_own_origin(headers) => Self::No,
            (Some(true), _) => Self::Yes,
            (None, Some(user)) => Self::IfUser(user),
            _ => Self::No,
        }
    }

    /// Whether it holds for the session that the sign-in began.
    pub(super) fn applies_to(self, session: &Session) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::IfUser(user) => user == session.user_hash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::payload::User;

    fn session(sub: &str, issuer: &str) -> Session {
        let user = User { sub: sub.to_owned(), ..User::default() };
        Session { issuer: Some(issuer.to_owned()), ..Session::new([1; 16], user, 0) }
    }

    #[test]
    fn what_holds_for_a_user_holds_for_no_other() {
        let persist = Persist::IfUser(session("ada", "https://a.example").user_hash());
        assert!(persist.applies_to(&session("ada", "https://a.example")));
        assert!(!persist.applies_to(&session("grace", "https://a.example")));
        assert!(!persist.applies_to(&session("ada", "https://b.example")));
        let grace = session("grace", "https://a.example");
        assert!(Persist::Yes.applies_to(&grace) && !Persist::No.applies_to(&grace));
    }
}
