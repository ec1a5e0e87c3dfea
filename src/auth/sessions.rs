//! `/auth/sessions`: the user's own sessions, listed and ended (contract 16.1 to 16.3). The routes exist only with a
//! store that knows which sessions there are.

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Auth;
use crate::api_map::CsrfMode;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf;
use crate::places::Place;
use crate::reply::{Reply, empty, json as json_reply};
use crate::session::OpenSession;
use crate::session::companion::{hash_from_text, hash_to_text};
use crate::session::store::ListedSession;

impl Auth {
    /// `GET /auth/sessions`. Does not count as activity.
    ///
    /// # Errors
    /// Those of a proxied call before its API is known (contract 8.7), and those of the store.
    pub async fn list_sessions(
        &self,
        method: &Method,
        headers: &HeaderMap,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let open = self.caller(method, headers, place, now).await?;
        let current = open.session.hash();
        let listed = self.sessions.list_own(&open, now).await?;
        let entry = |session: &ListedSession| {
            let mut entry = describe(session);
            entry.insert("current".to_owned(), json!(session.hash == current));
            entry
        };
        let sessions: Vec<_> = listed.iter().map(entry).collect();
        Ok(json_reply(StatusCode::OK, &json!({"sessions": sessions})))
    }

    /// `DELETE /auth/sessions/{id}`. The cookie of the session is left as it is, also if it is the caller's own
    /// (contract 4.18).
    ///
    /// # Errors
    /// Those of [`Self::list_sessions`]; [`Error::RouteDenied`] if it is no session of the caller, whether there is one
    /// or not.
    pub async fn end_session(
        &self,
        headers: &HeaderMap,
        id: &str,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let open = self.caller(&Method::DELETE, headers, place, now).await?;
        let session = hash_from_text(id.as_bytes()).ok_or(Error::RouteDenied)?;
        if self.sessions.end_own(&open, session, now).await? {
            Ok(empty(StatusCode::NO_CONTENT))
        } else {
            Err(Error::RouteDenied)
        }
    }

    /// `DELETE /auth/sessions`: ends all but the current one.
    ///
    /// # Errors
    /// Those of [`Self::list_sessions`].
    pub async fn end_other_sessions(
        &self,
        headers: &HeaderMap,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let open = self.caller(&Method::DELETE, headers, place, now).await?;
        let ended = self.sessions.end_others(&open, now).await?;
        Ok(json_reply(StatusCode::OK, &json!({"ended": ended})))
    }

    /// The session of a call, which is checked like a proxied one.
    async fn caller(
        &self,
        method: &Method,
        headers: &HeaderMap,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<OpenSession, Error> {
        csrf::check(method, headers, &self.config.origins, CsrfMode::Header)?;
        let open = self.sessions.open(headers, now).await?;
        place.enter_as(&open.session).await?;
        Ok(open)
    }
}

/// What a list says about a session (contract 16.1).
#[must_use]
pub fn describe(session: &ListedSession) -> Map<String, Value> {
    let members = [
        ("id", json!(hash_to_text(&session.hash))),
        ("signed_in_at", json!(session.signed_in_at)),
        ("last_active_at", json!(session.active_at)),
        ("expires_at", json!(session.expires_at)),
        ("user_agent", json!(session.user_agent.as_str())),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
