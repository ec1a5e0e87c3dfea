//! `GET /auth/session`: the session state as JSON (contract 8.1). Never a token.

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::Auth;
use crate::api_map::Api;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::reply::{Reply, json as json_reply};
use crate::session::payload::User;
use crate::session::{OpenError, OpenSession, RequiredInteraction};
use crate::tokens::Status;

impl Auth {
    /// The state of the session. Does not count as activity (contract 3.10).
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`]: whether the request has a session is not known.
    pub async fn session(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<Reply, Error> {
        let base = self.config.origins.link_base();
        let csrf = json!({"header": "X-CSRF", "value": "1"});
        let body = match self.sessions.open(headers, now).await {
            Ok(open) => {
                let idle_until = self.sessions.idle_expiry(&open.session);
                json!({
                    "authenticated": true,
                    "user": user(&open.session.user),
                    "session": {
                        "expires_in": open.expires_at.saturating_sub(now),
                        "idle_expires_in": idle_until.min(open.expires_at).saturating_sub(now),
                    },
                    "apis": self.apis(&open, now),
                    "links": self.links(&open, now).await,
                    "csrf": csrf,
                })
            }
            Err(error @ (OpenError::KeyUnavailable | OpenError::StoreUnavailable)) => return Err(error.into()),
            Err(OpenError::Ended | OpenError::Expired | OpenError::Missing | OpenError::UnknownKey) => {
                json!({"authenticated": false, "links": {"login": format!("{base}/auth/login")}, "csrf": csrf})
            }
        };
        Ok(json_reply(StatusCode::OK, &body))
    }

    fn apis(&self, open: &OpenSession, now: UnixSeconds) -> Map<String, Value> {
        let entry = |Api { name, route, .. }: &Api| {
            let status = match self.tokens.status(open, name, now) {
                Status::Ok => return (name.clone(), json!({"path": route, "status": "ok"})),
                Status::Expired => "expired",
                Status::Requires(RequiredInteraction::Consent) => "needs_consent",
                Status::Requires(RequiredInteraction::StepUp) => "needs_step_up",
            };
            let login_url = format!("{}/auth/login?api={name}", self.config.origins.link_base());
            (name.clone(), json!({"path": route, "status": status, "login_url": login_url}))
        };
        self.config.apis.iter().map(entry).collect()
    }

    async fn links(&self, open: &OpenSession, now: UnixSeconds) -> Map<String, Value> {
        let always = [
            ("login", "/auth/login".to_owned()),
            ("logout", self.logout_link(open, now).await),
            ("refresh", "/auth/refresh".to_owned()),
        ];
        let sessions = self.sessions.has_index().then(|| ("sessions", "/auth/sessions".to_owned()));
        let base = self.config.origins.link_base();
        let absolute = |(name, path): (&str, String)| (name.to_owned(), json!(format!("{base}{path}")));
        always.into_iter().chain(sessions).map(absolute).collect()
    }

    /// The link that signs out by navigation, with a logout token for this session only (contract 3.20). While no key
    /// seals, it leads to the confirmation page.
    async fn logout_link(&self, open: &OpenSession, now: UnixSeconds) -> String {
        let token = self.logout_token(&open.key(), now).await;
        token.map_or_else(|_| "/auth/logout".to_owned(), |token| format!("/auth/logout?lt={token}"))
    }
}

/// The claims of the user. Those about the authentication are only there where the sign-in's ID token had them
/// (contract 21.3).
fn user(user: &User) -> Map<String, Value> {
    let User { sub, oid, tid, claims } = user;
    let always = [
        ("sub", json!(sub)),
        ("oid", json!(oid)),
        ("tid", json!(tid)),
        ("name", json!(claims.name)),
        ("preferred_username", json!(claims.preferred_username)),
        ("email", json!(claims.email)),
        ("roles", json!(claims.roles)),
    ];
    let acr = claims.acr.as_ref().map(|acr| ("acr", json!(acr)));
    let amr = (!claims.amr.is_empty()).then(|| ("amr", json!(claims.amr)));
    let auth_time = claims.auth_time.map(|time| ("auth_time", json!(time)));
    let all = always.into_iter().chain(acr).chain(amr).chain(auth_time);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
