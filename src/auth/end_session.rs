//! The provider's end-session endpoint (OpenID Connect RP-Initiated Logout 1.0), with the ID token for providers that
//! require it (contract 12.22).
//!
//! A script gets no ID token: what it gets is an address of the gateway with the ID token sealed into it, which works
//! only in the browser that signed out, by a navigation, and redirects nowhere but to that endpoint.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use url::Url;

use super::Auth;
use crate::clock::UnixSeconds;
use crate::guard::navigation;
use crate::keyring::Purpose;
use crate::reply::{Reply, redirect};
use crate::secret::{ExposeSecret, SecretString};
use crate::session::OpenSession;
use crate::session::binary;
use crate::session::payload::{pack_token, unpack_token};
use crate::session::sealer::SealingKeyUnavailable;

/// How long a sign-out waits for the provider's metadata and for a key (contract 7.19).
const WAIT: Duration = Duration::from_secs(2);
/// Life of the `state` that the provider returns, and of what is sealed for a script, in seconds (contract 3.18).
const STATE_SECONDS: u64 = 600;
/// Longest URL with an ID token in it, sealed or not.
const LONGEST: usize = 4_096;
/// The version of [`Handover`], before it.
const VERSION: u8 = 1;

/// What the endpoint gets about the user.
#[derive(Default)]
struct Hints<'a> {
    logout_hint: Option<&'a str>,
    id_token: Option<&'a SecretString>,
}

impl Hints<'_> {
    const fn without_id_token(&self) -> Self {
        Self { logout_hint: self.logout_hint, id_token: None }
    }
}

/// What is sealed for a script that signs out.
#[derive(Serialize, Deserialize)]
struct Handover<'a> {
    /// The value of the cookie of the browser that signed out.
    browser: [u8; 16],
    logout_hint: Option<&'a str>,
    id_token: &'a [u8],
}

impl Auth {
    /// Where a form or a link that signs out goes: to the end-session endpoint, or home if none is known (contract
    /// 3.19). A script can send both as well; it gets no ID token.
    pub(super) async fn logout_location(
        &self,
        headers: &HeaderMap,
        open: Option<&OpenSession>,
        now: UnixSeconds,
    ) -> String {
        let location = async {
            let endpoint = self.end_session_endpoint().await?;
            let mut hints = hints(open);
            if navigation::require(headers).is_err() {
                hints = hints.without_id_token();
            }
            let with_token = self.end_session_url(&endpoint, &hints, now).await;
            if with_token.len() <= LONGEST {
                return Some(with_token);
            }
            Some(self.end_session_url(&endpoint, &hints.without_id_token(), now).await)
        };
        tokio::time::timeout(WAIT, location).await.ok().flatten().unwrap_or_else(|| self.home())
    }

    /// The `logout_url` for a script, and the cookie line without which it brings no ID token.
    pub(super) async fn logout_url(
        &self,
        open: Option<&OpenSession>,
        now: UnixSeconds,
    ) -> (String, Option<HeaderValue>) {
        let url = async {
            let endpoint = self.end_session_endpoint().await?;
            let hints = hints(open);
            let browser: [u8; 16] = rand::random();
            if let Some(url) = self.handover_url(&hints, browser, now).await {
                let cookies = self.sessions.cookies();
                return Some((url, Some(cookies.set(&cookies.sign_out(), &URL_SAFE_NO_PAD.encode(browser)))));
            }
            Some((self.end_session_url(&endpoint, &hints.without_id_token(), now).await, None))
        };
        tokio::time::timeout(WAIT, url).await.ok().flatten().unwrap_or_else(|| (self.home(), None))
    }

    /// The address of the gateway with the ID token sealed into it; `None` without one, or if it is too long.
    async fn handover_url(&self, hints: &Hints<'_>, browser: [u8; 16], now: UnixSeconds) -> Option<String> {
        let id_token = pack_token(hints.id_token?);
        let handover = Handover { browser, logout_hint: hints.logout_hint, id_token: &id_token };
        let payload = binary::encode(&[VERSION], &handover);
        let sealed = self.sessions.seal(Purpose::LogoutState, "", now + STATE_SECONDS, now, &payload).await.ok()?;
        let url = format!("{}/auth/logout?out={sealed}", self.config.origins.public);
        (url.len() <= LONGEST).then_some(url)
    }

    /// The redirect of [`Self::logout_url`]. `None` if the value is not one of this gateway's, or too old. In another
    /// browser, or for a script that follows it, it goes to the same endpoint without what was sealed.
    pub(super) async fn hand_over(&self, headers: &HeaderMap, sealed: &str, now: UnixSeconds) -> Option<Reply> {
        let opened = self.sessions.unseal(Purpose::LogoutState, "", sealed.as_bytes(), now).await.ok()?;
        let Some((&VERSION, bytes)) = opened.payload().split_first() else { return None };
        let handover: Handover<'_> = postcard::from_bytes(bytes).ok()?;
        let cookies = self.sessions.cookies();
        let cookie = cookies.sign_out_value(headers).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
        let is_same_browser = cookie.is_some_and(|cookie| cookie.ct_eq(&handover.browser).into());
        let id_token = unpack_token(handover.id_token)?;
        let is_trusted = is_same_browser && navigation::require(headers).is_ok();
        let hints = if is_trusted {
            Hints { logout_hint: handover.logout_hint, id_token: Some(&id_token) }
        } else {
            Hints::default()
        };
        let location = async { Some(self.end_session_url(&self.end_session_endpoint().await?, &hints, now).await) };
        let location = tokio::time::timeout(WAIT, location).await.ok().flatten().unwrap_or_else(|| self.home());
        let mut reply = redirect(StatusCode::FOUND, &location);
        if is_trusted {
            reply.headers_mut().append(SET_COOKIE, cookies.delete(&cookies.sign_out()));
        }
        Some(reply)
    }

    async fn end_session_endpoint(&self) -> Option<Url> {
        if let Some(url) = &self.config.end_session_url {
            return Some(url.clone());
        }
        self.provider.metadata().await.ok()?.end_session_endpoint.clone()
    }

    /// Without a key that seals there is no `state`, which OpenID Connect makes optional: the session has ended by
    /// then, and a return without `state` leads home (contract 3.17).
    async fn end_session_url(&self, endpoint: &Url, hints: &Hints<'_>, now: UnixSeconds) -> String {
        let mut url = endpoint.clone();
        let state = self.sessions.seal(Purpose::LogoutState, "", now + STATE_SECONDS, now, &[]).await;
        let state = state
            .inspect_err(|SealingKeyUnavailable| tracing::warn!("no key seals: the end-session URL has no `state`"))
            .ok();
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", self.provider.client_id());
        query
            .append_pair(&self.config.end_session_return_param, &format!("{}/auth/logout", self.config.origins.public));
        let id_token = hints.id_token.map(ExposeSecret::expose_secret);
        for (name, value) in
            [("logout_hint", hints.logout_hint), ("id_token_hint", id_token), ("state", state.as_deref())]
        {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        url.into()
    }
}

fn hints(open: Option<&OpenSession>) -> Hints<'_> {
    let Some(open) = open else { return Hints::default() };
    let claims = &open.session.user.claims;
    Hints {
        logout_hint: claims.login_hint.as_deref().or(claims.preferred_username.as_deref()),
        id_token: open.session.id_token.as_deref(),
    }
}
