//! What a session cookie says without its store.

use std::borrow::Cow;

use http::HeaderMap;

use super::Sessions;
use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::session::OpenError;
use crate::session::companion::UserHash;
use crate::session::cookie::Presented;
use crate::session::handle::Handle;
use crate::session::payload::Session;
use crate::session::seal::Opened;
use crate::session::store::SessionKey;

/// What a session cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified {
    pub key: SessionKey,
    /// The user, if the session is to outlast the browser session (contract 16.11).
    pub persists: Option<UserHash>,
}

impl Sessions {
    /// What identifies the session of a request, by its cookie alone. A stored session may have ended or been idle for
    /// too long, since the store is not asked, and before the revocation list was read the session may have been
    /// revoked (contract 3.14, 15.9, 15.11).
    ///
    /// # Errors
    /// [`OpenError`], but never that the store does not respond.
    pub async fn identify(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<Identified, OpenError> {
        let (cookie, _) = self.unseal_cookie(headers, now).await?;
        let (handle, is_valid) = match Handle::decode(cookie.payload()) {
            Some(handle) => {
                let is_valid = !self.is_known_as_revoked(&handle.session());
                (handle, is_valid)
            }
            None => {
                let session = Session::decode(cookie.payload()).ok_or(OpenError::Expired)?;
                let is_valid = self.is_current(&session, now) && !self.is_known_as_revoked(&session);
                (Handle::of(&session), is_valid)
            }
        };
        if !is_valid {
            return Err(OpenError::Expired);
        }
        if self.store.ended_here(&handle.session()).is_some() {
            return Err(OpenError::Ended);
        }
        let (id, hash) = (Some(handle.id), Some(handle.hash()));
        let key = SessionKey { id, hash, expires_at: cookie.times.expires_at };
        Ok(Identified { key, persists: handle.persists })
    }

    /// The payload of the session cookie, and whether it came in several parts. That of a stored session is only
    /// opened if not all sessions of its time were revoked, whether the store responds or not (contract 15.17).
    pub(super) async fn open_cookie(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<(Opened, bool), OpenError> {
        let (cookie, several_cookies) = self.unseal_cookie(headers, now).await?;
        if let Some(handle) = Handle::decode(cookie.payload()) {
            self.check_revocations(&handle.session()).await?;
        }
        Ok((cookie, several_cookies))
    }

    async fn unseal_cookie(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<(Opened, bool), OpenError> {
        let sealed = match self.cookies.session(headers) {
            Presented::Missing => return Err(OpenError::Missing),
            Presented::Invalid => return Err(OpenError::Expired),
            Presented::Sealed(sealed) => sealed,
        };
        let cookie = self.unseal(Purpose::Session, self.cookies.name(), &sealed, now).await?;
        Ok((cookie, matches!(sealed, Cow::Owned(_))))
    }

    fn is_known_as_revoked(&self, session: &Session) -> bool {
        let user = &session.user;
        self.revocations.look_up(session.signed_in_at, user.oid.as_deref(), &user.sub) == Some(true)
    }
}
