//! What a session cookie says without its store.

use http::HeaderMap;

use super::Sessions;
use crate::clock::UnixSeconds;
use crate::session::OpenError;
use crate::session::companion::UserHash;
use crate::session::handle::Handle;
use crate::session::payload::Session;
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
    /// too long, since the store is not asked (contract 15.9, 15.11).
    ///
    /// # Errors
    /// [`OpenError`], but never that the store does not respond.
    pub async fn identify(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<Identified, OpenError> {
        let (cookie, _) = self.open_cookie(headers, now).await?;
        let handle = match Handle::decode(cookie.payload()) {
            Some(handle) => handle,
            None => {
                let session = Session::decode(cookie.payload()).ok_or(OpenError::Expired)?;
                self.check_valid(&session, now).await?;
                Handle::of(&session)
            }
        };
        if self.store.ended_here(&handle.session()).is_some() {
            return Err(OpenError::Ended);
        }
        let (id, hash) = (Some(handle.id), Some(handle.hash()));
        let key = SessionKey { id, hash, expires_at: cookie.times.expires_at };
        Ok(Identified { key, persists: handle.persists })
    }
}
