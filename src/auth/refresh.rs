//! `POST /auth/refresh`: new tokens and a longer session, when the page asks for them.

use http::header::SET_COOKIE;
use http::{HeaderMap, Method, StatusCode};

use super::Auth;
use crate::api_map::CsrfMode;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf;
use crate::reply::{Refused, Reply, empty};
use crate::session::{OpenError, WriteError};

impl Auth {
    /// Renews the session's tokens and writes its cookie; counts as activity. 204.
    ///
    /// # Errors
    /// What CSRF refuses; [`Error::SessionMissing`], [`Error::KeysUnavailable`]; [`Error::SessionGone`] when the
    /// session is over, unless its key is unknown here; and what keeps the tokens from being renewed.
    pub async fn refresh(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<Reply, Refused> {
        csrf::check(&Method::POST, headers, &self.config.origins, CsrfMode::Header)?;
        let open = self.sessions.open(headers, now).await.map_err(|why| match why {
            OpenError::Expired => Error::SessionGone,
            other => other.into(),
        })?;
        let renewed = self.tokens.refresh_all(&open, now).await;
        if renewed == Err(Error::SessionExpired) {
            // While the provider was asked, another sign-in may have put its cookie in this one's place.
            let past = self.sessions.is_ended_or_replaced(&open.session.id);
            return Err(if past { Error::SessionExpired } else { Error::SessionGone }.into());
        }
        if renewed == Err(Error::ProviderUnavailable) && !self.sessions.has_newer_tokens(&open, now) {
            return Err(Error::ProviderUnavailable.into());
        }
        let lines = match self.sessions.write(&open, now).await {
            Ok(lines) => lines,
            // The new tokens are kept here; the cookie stays as it was.
            Err(WriteError::TooLarge) => Vec::new(),
            Err(WriteError::KeysUnavailable) => return Err(Error::KeysUnavailable.into()),
        };
        if let Err(error) = renewed {
            // TokenService of other APIs may be new, and asking is activity whatever came of it.
            return Err(Refused { error, cookies: lines });
        }
        let mut reply = empty(StatusCode::NO_CONTENT);
        for line in lines {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        Ok(reply)
    }
}
