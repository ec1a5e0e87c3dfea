//! `/auth/logout`: ends the session here and at the provider (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;
use tracing::Instrument;

use super::Auth;
use super::params::Params;
use crate::api_map::CsrfMode;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf::{self, FormOrigin};
use crate::keyring::Purpose;
use crate::reply::{Reply, clear_cache, form_page, json as json_reply, redirect};
use crate::session::OpenSession;

/// How long a sign-out waits for the revocation, which then continues in the background (contract 7.19).
const WAIT_FOR_REVOCATION: Duration = Duration::from_secs(2);
/// Life of the `state` that the provider returns, in seconds (contract 3.18).
const STATE_SECONDS: u64 = 600;

impl Auth {
    /// `POST`: by `fetch` with the CSRF header (contract 3.12), or by a form (contract 3.13).
    ///
    /// # Errors
    /// [`Error::CsrfFailed`] or [`Error::OriginDenied`]; the session is unchanged then.
    pub async fn logout(&self, headers: &HeaderMap, body: &str, now: UnixSeconds) -> Result<Reply, Error> {
        if !is_form(headers) {
            csrf::check(&Method::POST, headers, &self.config.origins, CsrfMode::Header)?;
            let open = self.sessions.open(headers, now).await.ok();
            let logout_url = self.end(open.as_ref(), now).await;
            return Ok(self.signed_out(json_reply(StatusCode::OK, &json!({"logout_url": logout_url})), headers));
        }
        let origin = csrf::form_origin(headers, &self.config.origins.public);
        if origin == FormOrigin::Foreign {
            return Err(Error::OriginDenied);
        }
        let open = self.sessions.open(headers, now).await.ok();
        let token = Params::parse(body).take_single("lt");
        if origin == FormOrigin::Unknown && !self.is_logout_token(token.as_deref(), open.as_ref(), now).await {
            return Err(Error::OriginDenied);
        }
        let logout_url = self.end(open.as_ref(), now).await;
        Ok(self.signed_out(redirect(StatusCode::SEE_OTHER, &logout_url), headers))
    }

    /// `GET`: signs out with a valid `lt` (contract 3.15), returns from the provider with a valid `state` (3.16), and
    /// otherwise shows the confirmation page (3.17).
    pub async fn logout_page(&self, headers: &HeaderMap, query: &str, now: UnixSeconds) -> Reply {
        let mut params = Params::parse(query);
        if let Some(state) = params.take_single("state")
            && self.sessions.unseal(Purpose::LogoutState, "", state.as_bytes(), now).await.is_ok()
        {
            return redirect(StatusCode::FOUND, &self.home());
        }
        let open = self.sessions.open(headers, now).await.ok();
        if self.is_logout_token(params.take_single("lt").as_deref(), open.as_ref(), now).await {
            let logout_url = self.end(open.as_ref(), now).await;
            return self.signed_out(redirect(StatusCode::FOUND, &logout_url), headers);
        }
        let metadata = self.provider.cached_metadata();
        let end_session = metadata.and_then(|metadata| metadata.end_session_endpoint.clone());
        let provider = end_session.map(|url| url.origin().ascii_serialization());
        // `form-action` also applies to the redirects after the form: to the provider, and from there to the page.
        let origins = &self.config.origins;
        let page = (!origins.link_base().is_empty()).then(|| origins.spa.to_string());
        let targets: Vec<String> = provider.into_iter().chain(page).collect();
        let form_targets = (!targets.is_empty()).then(|| targets.join(" "));
        // In forwarding mode the host drops the content type of an empty body, so the form has a field.
        let form = "<form method=post action=/auth/logout><input type=hidden name=sign-out value=yes>\
                    <p>This ends your session in this browser.</p><p><button autofocus>Sign out</button></p></form>";
        form_page("Sign out?", form, form_targets.as_deref())
    }

    /// Whether a logout token belongs to the session of the request (contract 3.20).
    async fn is_logout_token(&self, token: Option<&str>, open: Option<&OpenSession>, now: UnixSeconds) -> bool {
        let (Some(token), Some(open)) = (token, open) else { return false };
        let opened = self.sessions.unseal(Purpose::Logout, "", token.as_bytes(), now).await;
        opened.is_ok_and(|opened| opened.payload() == open.session.id)
    }

    /// Ends the session, revokes its refresh token, and returns the URL that ends it at the provider.
    async fn end(&self, open: Option<&OpenSession>, now: UnixSeconds) -> String {
        if let Some(open) = open {
            self.sessions.end(open, now).await;
            tracing::info!(event = "signed_out", "a user signed out");
        }
        if let Some(refresh_token) = open.and_then(|open| open.session.refresh_token.clone()) {
            let provider = Arc::clone(&self.provider);
            let revocation = tokio::spawn(async move { provider.revoke(&refresh_token).await }.in_current_span());
            // After the timeout the revocation continues; it logs its own failure.
            let _ = tokio::time::timeout(WAIT_FOR_REVOCATION, revocation).await;
        }
        let url = tokio::time::timeout(WAIT_FOR_REVOCATION, self.end_session_url(open, now)).await.ok().flatten();
        url.unwrap_or_else(|| self.home())
    }

    /// `RETURN_URI` as a `Location`.
    fn home(&self) -> String {
        self.config.origins.page(self.config.return_uri.as_str())
    }

    async fn end_session_url(&self, open: Option<&OpenSession>, now: UnixSeconds) -> Option<String> {
        let mut url = self.provider.metadata().await.ok()?.end_session_endpoint.clone()?;
        let state = self.sessions.seal(Purpose::LogoutState, "", now + STATE_SECONDS, now, &[]).await.ok();
        let user = open.map(|open| &open.session.user);
        let hint = user.and_then(|user| user.login_hint.as_deref().or(user.preferred_username.as_deref()));
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", self.provider.client_id());
        query.append_pair("post_logout_redirect_uri", &format!("{}/auth/logout", self.config.origins.public));
        for (name, value) in [("logout_hint", hint), ("state", state.as_deref())] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        Some(url.into())
    }

    /// Deletes every gateway cookie, valid or not (contract 3.14).
    fn signed_out(&self, mut reply: Reply, headers: &HeaderMap) -> Reply {
        let cookies = self.sessions.cookies();
        let logins = cookies.logins(headers).into_iter().map(|(name, _)| cookies.delete(&cookies.login_named(name)));
        for line in cookies.delete_session().into_iter().chain(logins) {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        if self.config.apis.is_cached() {
            clear_cache(reply.headers_mut());
        }
        reply
    }
}

/// Whether a POST is an HTML form: its content type, without the header that only a script can set.
fn is_form(headers: &HeaderMap) -> bool {
    let essence = |value: &http::HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    headers.get(CONTENT_TYPE).is_some_and(essence) && !headers.contains_key("x-csrf")
}
