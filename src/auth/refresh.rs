//! `POST /auth/refresh`: refreshes tokens and extends the session (contract 3.11).

use http::header::SET_COOKIE;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::Auth;
use crate::api_map::CsrfMode;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::csrf;
use crate::places::Place;
use crate::reply::{Rejected, Reply, empty};
use crate::session::{OpenError, WriteError};

impl Auth {
    /// Refreshes the session's tokens and writes its cookie, which counts as activity. 204.
    ///
    /// # Errors
    /// Those of CSRF; [`Error::SessionMissing`], [`Error::KeysUnavailable`]; [`Error::SessionGone`] or
    /// [`Error::SessionExpired`] if there is no valid session; [`Error::Overloaded`]; and those of the refresh.
    ///
    /// [`Error::SessionGone`] deletes the cookie (contract 4.18). It must not delete that of another sign-in, which may
    /// have overwritten the one of the request by now (contract 4.23):
    ///
    /// | why there is no valid session | cookie |
    /// |---|---|
    /// | it is damaged, expired, of another issuer, or sealed under a key that no longer opens | deleted |
    /// | it was ended without its cookie, on whatever instance | deleted |
    /// | the provider does not accept the refresh token any more | deleted |
    /// | its key is unknown to this instance | kept: another instance may know the key |
    /// | signed out or replaced, even during this request, as far as is known | kept: deleted or overwritten already |
    pub async fn refresh(&self, headers: &HeaderMap, place: &Place, now: UnixSeconds) -> Result<Reply, Rejected> {
        let arrived = Instant::now();
        csrf::check(&Method::POST, headers, &self.config.origins, CsrfMode::Header)?;
        let mut open = self.sessions.open(headers, now).await.map_err(why_expired)?;
        place.enter_as(&open.session).await?;
        let refreshed = self.tokens.refresh_all(&open, now).await;
        if refreshed == Err(Error::SessionExpired) {
            return Err(self.sessions.reload(&open, now).await.map_or_else(why_expired, |_| Error::SessionGone).into());
        }
        if let Err(error) = &refreshed
            && error.facts().status.is_server_error()
            && !self.sessions.has_newer_tokens(&open, now)
        {
            return Err(error.clone().into());
        }
        open.is_cookie_outdated = true;
        let lines = match self.sessions.write(&open, now, arrived).await {
            Ok(lines) => lines,
            // Contract 4.17: the new tokens stay in the cache of this instance, the cookie is unchanged.
            Err(WriteError::TooLarge) => Vec::new(),
            Err(WriteError::KeysUnavailable) => return Err(Error::KeysUnavailable.into()),
            Err(WriteError::StoreUnavailable) => return Err(Error::StoreUnavailable.into()),
        };
        if let Err(error) = refreshed {
            // Tokens of other APIs may be new, and the request counts as activity either way.
            return Err(Rejected { error, cookies: lines });
        }
        let mut reply = empty(StatusCode::NO_CONTENT);
        for line in lines {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        Ok(reply)
    }
}

fn why_expired(error: OpenError) -> Error {
    match error {
        OpenError::Expired => Error::SessionGone,
        other => other.into(),
    }
}
