//! `/auth/logout`: ends the session here and at the provider (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use serde_json::json;
use tokio::time::timeout;

use super::Auth;
use super::params::Params;
use crate::api_map::CsrfMode;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf::{self, FormOrigin};
use crate::guard::navigation;
use crate::keyring::Purpose;
use crate::places::Place;
use crate::reply::{Body, Reply, clear_cache, form_page, is_navigation, json as json_reply, redirect};
use crate::session::audit::Audited;
use crate::session::payload::Token;
use crate::session::sealer::{SealingKeyUnavailable, UnsealError};
use crate::session::store::SessionKey;
use crate::session::{OpenError, OpenSession};
use crate::telemetry::in_current_request;

/// How long a sign-out waits for the revocation, which then continues in the background (contract 7.19).
const WAIT_FOR_REVOCATION: Duration = Duration::from_secs(2);

/// The session of a request that signs out.
enum Leaving {
    /// Known by its cookie only, since the store does not respond (contract 15.11).
    Known(SessionKey),
    Read(Box<OpenSession>),
    /// Not known, since the key of its cookie is unavailable. The companion cookie, which anybody can write, does not
    /// name a session to end.
    Unreadable,
}

impl Leaving {
    fn key(&self) -> Option<SessionKey> {
        match self {
            Self::Known(session) => Some(*session),
            Self::Read(open) => Some(open.key()),
            Self::Unreadable => None,
        }
    }

    fn open(&self) -> Option<&OpenSession> {
        match self {
            Self::Read(open) => Some(open),
            Self::Known(_) | Self::Unreadable => None,
        }
    }
}

impl Auth {
    /// `POST`: by `fetch` with the CSRF header (contract 3.12), or by a form (contract 3.13).
    ///
    /// # Errors
    /// [`Error::CsrfFailed`], [`Error::OriginDenied`], [`Error::KeysUnavailable`], [`Error::Overloaded`] and those of
    /// reading a form; the session is unchanged then.
    pub async fn logout(
        &self,
        headers: &HeaderMap,
        body: Body,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        if !is_form(headers, &body) {
            place.enter().await?;
            csrf::check(&Method::POST, headers, &self.config.origins, CsrfMode::Header)?;
            let session = self.leaving(headers, now).await;
            self.end(session.as_ref(), place, now).await?;
            let open = session.as_ref().and_then(Leaving::open);
            let (logout_url, cookie) = self.logout_url(open, now).await;
            let reply = json_reply(StatusCode::OK, &json!({"logout_url": logout_url}));
            let mut reply = self.signed_out(reply, headers);
            // After the deletions, which include that of an earlier sign-out.
            reply.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
            return Ok(reply);
        }
        let origin = csrf::form_origin(headers, &self.config.origins.public);
        if origin == FormOrigin::Foreign {
            return Err(Error::OriginDenied);
        }
        // Only a token makes the body matter, so it is not read otherwise.
        let form = match origin {
            FormOrigin::Unknown => Some(place.enter_with_form(body).await?),
            _ => None,
        };
        if form.is_none() {
            place.enter().await?;
        }
        let session = self.leaving(headers, now).await;
        if let Some(form) = form {
            let token = Params::parse(&form).take_single("lt");
            if !self.is_logout_token(token.as_deref(), session.as_ref(), now).await? {
                return Err(Error::OriginDenied);
            }
        }
        self.end(session.as_ref(), place, now).await?;
        let location = self.logout_location(headers, session.as_ref().and_then(Leaving::open), now).await;
        Ok(self.signed_out(redirect(StatusCode::SEE_OTHER, &location), headers))
    }

    /// `GET`: signs out with a valid `lt` (contract 3.15), returns from the provider with a valid `state` (3.16), leads
    /// to the provider with a valid `out` (12.22), and otherwise shows the confirmation page (3.17).
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`]: the token of the request cannot be opened, or none sealed for the page's form.
    pub async fn logout_page(
        &self,
        headers: &HeaderMap,
        query: &str,
        place: &Place,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let mut params = Params::parse(query);
        if let Some(state) = params.take_single("state")
            && let Ok(opened) = self.sessions.unseal(Purpose::LogoutState, "", state.as_bytes(), now).await
            && opened.payload().is_empty()
        {
            return Ok(redirect(StatusCode::FOUND, &self.home()));
        }
        if let Some(sealed) = params.take_single("out")
            && let Some(reply) = self.hand_over(headers, &sealed, now).await
        {
            return Ok(reply);
        }
        let session = self.leaving(headers, now).await;
        if self.is_logout_token(params.take_single("lt").as_deref(), session.as_ref(), now).await? {
            self.end(session.as_ref(), place, now).await?;
            let location = self.logout_location(headers, session.as_ref().and_then(Leaving::open), now).await;
            return Ok(self.signed_out(redirect(StatusCode::FOUND, &location), headers));
        }
        // A provider that does not return the state has just signed this browser out (contract 3.17).
        if !self.sessions.cookies().has_session_or_companion(headers) {
            return Ok(redirect(StatusCode::FOUND, &self.home()));
        }
        let metadata = self.provider.cached_metadata();
        let announced = metadata.and_then(|metadata| metadata.end_session_endpoint.clone());
        let end_session = self.config.end_session_url.clone().or(announced);
        let provider = end_session.map(|url| url.origin().ascii_serialization());
        // `form-action` also applies to the redirects after the form: to the provider, and from there to the page.
        let origins = &self.config.origins;
        let page = (!origins.link_base().is_empty()).then(|| origins.spa.to_string());
        let targets: Vec<String> = provider.into_iter().chain(page).collect();
        let form_targets = (!targets.is_empty()).then(|| targets.join(" "));
        // Without a session there is none to name; the form is accepted for its origin then.
        let token = match session.as_ref().and_then(Leaving::key) {
            Some(key) => format!("<input type=hidden name=lt value=\"{}\">", self.logout_token(&key, now).await?),
            None => String::new(),
        };
        let form = format!(
            "<form method=post action=/auth/logout>{token}\
             <p>This ends your session in this browser.</p><p><button autofocus>Sign out</button></p></form>"
        );
        Ok(form_page("Sign out?", &form, form_targets.as_deref()))
    }

    /// A logout token for one session only (contract 3.20).
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`]: no key seals.
    pub(super) async fn logout_token(&self, session: &SessionKey, now: UnixSeconds) -> Result<String, Error> {
        let id = session.id.as_ref().ok_or(Error::Internal)?;
        let sealed = self.sessions.seal(Purpose::Logout, "", session.expires_at, now, id).await;
        sealed.map_err(|SealingKeyUnavailable| Error::KeysUnavailable)
    }

    /// The session of a request. Neither a store nor a key source that does not respond must prevent a sign-out in this
    /// browser (contract 3.14, 4.18, 15.11).
    async fn leaving(&self, headers: &HeaderMap, now: UnixSeconds) -> Option<Leaving> {
        match self.sessions.open(headers, now).await {
            Ok(open) => Some(Leaving::Read(Box::new(open))),
            Err(OpenError::StoreUnavailable | OpenError::KeyUnavailable) => {
                match self.sessions.identify(headers, now).await {
                    Ok(session) => Some(Leaving::Known(session.key)),
                    Err(OpenError::KeyUnavailable) => Some(Leaving::Unreadable),
                    Err(_) => None,
                }
            }
            Err(_) => None,
        }
    }

    /// Whether a logout token belongs to the session of the request (contract 3.20).
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`]: that is not known (contract 5.12).
    async fn is_logout_token(
        &self,
        token: Option<&str>,
        session: Option<&Leaving>,
        now: UnixSeconds,
    ) -> Result<bool, Error> {
        let (Some(token), Some(session)) = (token, session) else { return Ok(false) };
        let Some(id) = session.key().and_then(|key| key.id) else { return Err(Error::KeysUnavailable) };
        match self.sessions.unseal(Purpose::Logout, "", token.as_bytes(), now).await {
            Ok(opened) => Ok(opened.payload() == id),
            Err(UnsealError::KeyUnavailable) => Err(Error::KeysUnavailable),
            Err(UnsealError::Invalid | UnsealError::UnknownKey) => Ok(false),
        }
    }

    /// Ends the session, and revokes its refresh token.
    ///
    /// # Errors
    /// [`Error::Internal`]: that is not certain.
    async fn end(&self, session: Option<&Leaving>, place: &Place, now: UnixSeconds) -> Result<(), Error> {
        let open = session.and_then(Leaving::open);
        if let Some(key) = session.and_then(Leaving::key) {
            // A sign-out never waits for the user's own calls.
            if let Some(open) = open {
                place.try_enter_as(&open.session);
            }
            let (sessions, provider) = (Arc::clone(&self.sessions), Arc::clone(&self.provider));
            let refresh_token = open.and_then(|open| open.session.refresh_token.clone());
            let known = || Audited::known_by(key.hash.as_ref());
            let Audited { session, user } = open.map_or_else(known, |open| Audited::of(&open.session));
            // A task, which a browser that leaves does not stop halfway, and a shutdown waits for (contract 15.11).
            let end = async move {
                sessions.end(&key, now).await;
                tracing::info!(event = "signed_out", session, user, "a user signed out");
                // It logs its own failure.
                let revoke = |token: Token| async move { provider.revoke(&token).await };
                refresh_token.map(|token| tokio::spawn(in_current_request(revoke(token))))
            };
            let ended = self.background.spawn(in_current_request(end)).await;
            // After a panic in it the browser keeps its cookies.
            if let Some(revocation) = ended.map_err(|_| Error::Internal)? {
                let _ = timeout(WAIT_FOR_REVOCATION, revocation).await;
            }
        } else if session.is_some() {
            self.incomplete_log.record(
                || {
                    tracing::error!(
                        event = "sign_out_incomplete",
                        "the key of the session is unavailable; in a store the session stays"
                    );
                },
                |count| {
                    tracing::error!(
                        event = "sign_out_incomplete",
                        count,
                        "the keys of further sessions were unavailable within a minute; in a store they stay"
                    );
                },
            );
        }
        Ok(())
    }

    /// `RETURN_URI` as a `Location`.
    pub(super) fn home(&self) -> String {
        self.config.origins.page(self.config.return_uri.as_str())
    }

    /// Deletes every gateway cookie, valid or not (contract 3.14).
    fn signed_out(&self, mut reply: Reply, headers: &HeaderMap) -> Reply {
        let cookies = self.sessions.cookies();
        let logins = cookies.logins(headers).into_iter().map(|(name, _)| cookies.delete_login(name));
        for line in cookies.delete_session().into_iter().chain(logins) {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        if self.config.apis.is_cached() {
            clear_cache(reply.headers_mut());
        }
        reply
    }
}

/// Whether a POST is an HTML form: by its content type, without the header that only a script can set. In forwarding
/// mode the host drops the content type of an empty body, so a navigation without one is a form too.
fn is_form(headers: &HeaderMap, body: &Body) -> bool {
    let is_form_type = |value: &http::HeaderValue| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next();
        kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
    };
    let has_form_type = match headers.get(CONTENT_TYPE) {
        Some(content_type) => is_form_type(content_type),
        None => body.is_end_stream() && is_navigation(headers) && navigation::require(headers).is_ok(),
    };
    has_form_type && !headers.contains_key("x-csrf")
}
