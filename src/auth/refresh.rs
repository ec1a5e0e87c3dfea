//! `POST /auth/refresh`: refreshes tokens and extends the session (contract 3.11).

use http::header::SET_COOKIE;
use http::{HeaderMap, Method, StatusCode};

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
    /// Those of CSRF; [`Error::SessionMissing`], [`Error::KeysUnavailable`]; [`Error::SessionGone`] if the session has
    /// expired, unless its key is unknown to this instance (contract 4.18); [`Error::Overloaded`]; and those of the
    /// refresh.
    pub async fn refresh(&self, headers: &HeaderMap, place: &Place, now: UnixSeconds) -> Result<Reply, Rejected> {
        csrf::check(&Method::POST, headers, &self.config.origins, CsrfMode::Header)?;
        let open = self.sessions.open(headers, now).await.map_err(|why| match why {
            OpenError::Expired => Error::SessionGone,
            other => other.into(),
        })?;
        place.enter_as(&open.session).await?;
        let refreshed = self.tokens.refresh_all(&open, now).await;
        if refreshed == Err(Error::SessionExpired) {
            // During the request to the provider, another sign-in may have overwritten this cookie.
            let replaced = self.sessions.ended_here(&open.session.id).is_some();
            return Err(if replaced { Error::SessionExpired } else { Error::SessionGone }.into());
        }
        if let Err(error @ (Error::ProviderUnavailable | Error::ProviderUnavailableFor(_))) = &refreshed
            && !self.sessions.has_newer_tokens(&open, now).await
        {
            return Err(error.clone().into());
        }
        let lines = match self.sessions.write(&open, now).await {
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
