//! The stateless store: the session cookie holds the sealed session. An instance adds what it knows beyond the cookie,
//! so that concurrent requests and tabs with an older cookie get the newest tokens (contract 4.21 to 4.24, 7.12).

mod memory;

use std::sync::Arc;

use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::session::OpenSession;
use crate::session::companion::SessionHash;
use crate::session::cookie::SessionCookies;
use crate::session::ended::EndedSessions;
use crate::session::handle::Handle;
use crate::session::payload::{AccessToken, Session};
use crate::session::seal::{Opened, Times, sealed_len};
use crate::session::sealer::Sealer;
use crate::session::store::{
    EndReason, IndexError, ListedSession, LoadError, LockError, LogoutTokenId, NewTokens, RefreshLock, SaveError,
    SessionKey, SessionStore, StoreFuture, StoreUnavailable, Whose,
};
use memory::{Memory, Superseded};

/// The store.
#[derive(Debug)]
pub struct CookieStore {
    sealer: Arc<Sealer>,
    cookies: SessionCookies,
    ended: EndedSessions,
    memory: Arc<Memory>,
}

impl CookieStore {
    /// A store whose sessions must fit these cookies.
    #[must_use]
    pub fn new(sealer: Arc<Sealer>, cookies: SessionCookies) -> Self {
        Self { sealer, cookies, ended: EndedSessions::default(), memory: Arc::default() }
    }

    async fn seal(&self, open: &OpenSession, now: UnixSeconds) -> Result<String, SaveError> {
        let key = self.sealer.key(now).await.map_err(|_| SaveError::KeysUnavailable)?;
        self.check_not_ended(open)?;
        let life = self.cookies.session_life(open, now);
        let mut session = self.memory.prepare_write(open, now);
        let payload = loop {
            let payload = session.encode();
            if self.cookies.fits(sealed_len(payload.len()), life) {
                break payload;
            }
            // Only sign-out needs the ID token, so it is kept where everything else fits too (contract 12.22).
            if session.id_token.take().is_none() {
                let token = session.take_largest_access_token().ok_or(SaveError::TooLarge)?;
                self.memory.keep_left_out(open, token, session.generation);
            }
        };
        let times = Times { issued_at: now, expires_at: open.expires_at };
        let sealed = self.sealer.seal_with(&key, Purpose::Session, self.cookies.name(), times, &payload);
        self.check_not_ended(open)?;
        Ok(sealed)
    }

    /// Before a session is written and once more after that, since another thread may have ended it in between: what
    /// the table got of it then is removed.
    fn check_not_ended(&self, open: &OpenSession) -> Result<(), SaveError> {
        if self.ended.get(&open.session).is_none() {
            return Ok(());
        }
        self.memory.forget(&open.session.id);
        Err(SaveError::Ended)
    }
}

/// No instance knows which sessions there are.
fn unsupported<'a, T: Send + 'a>() -> StoreFuture<'a, Result<T, IndexError>> {
    Box::pin(async { Err(IndexError::Unsupported) })
}

impl SessionStore for CookieStore {
    fn load<'a>(&'a self, cookie: &'a Opened, now: UnixSeconds) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            // Another instance stores its session elsewhere (contract 15.17).
            if let Some(handle) = Handle::decode(cookie.payload()) {
                let has_ended = self.ended.get(&handle.session()).is_some();
                return Err(if has_ended { LoadError::Ended } else { LoadError::StoreUnavailable });
            }
            let mut session = Box::new(Session::decode(cookie.payload()).ok_or(LoadError::Expired)?);
            if self.ended.get(&session).is_some() {
                return Err(LoadError::Ended);
            }
            let is_newer = self.memory.merge_newer_tokens(&mut session, now);
            Ok(OpenSession::loaded(session, cookie.times.expires_at, cookie.kid, is_newer))
        })
    }

    fn reload<'a>(
        &'a self,
        open: &'a OpenSession,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            if self.ended.get(&open.session).is_some() {
                self.memory.forget(&open.session.id);
                return Err(LoadError::Ended);
            }
            let mut newest = open.clone();
            newest.is_cookie_outdated = self.memory.merge_for_refresh(&mut newest.session, now);
            Ok(newest)
        })
    }

    fn create<'a>(&'a self, new: &'a OpenSession, now: UnixSeconds) -> StoreFuture<'a, Result<String, SaveError>> {
        Box::pin(self.seal(new, now))
    }

    fn touch<'a>(
        &'a self,
        open: &'a OpenSession,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Option<String>, SaveError>> {
        Box::pin(async move { self.seal(open, now).await.map(Some) })
    }

    fn save_tokens<'a>(
        &'a self,
        _lock: &'a RefreshLock,
        open: &'a OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), SaveError>> {
        Box::pin(async move {
            self.check_not_ended(open)?;
            self.memory.save_tokens(open, new, now).map_err(|Superseded| SaveError::Superseded)?;
            self.check_not_ended(open)?;
            let memory = Arc::clone(&self.memory);
            tokio::spawn(async move { memory.sweep(now).await });
            Ok(())
        })
    }

    fn lock_refresh<'a>(&'a self, open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>> {
        Box::pin(async move {
            let guard = self.memory.refresh_lock(open).lock_owned().await;
            Ok(Some(RefreshLock::new(guard, None)))
        })
    }

    fn end<'a>(
        &'a self,
        session: &'a SessionKey,
        reason: EndReason,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(async move {
            self.ended.insert(session, reason, now);
            if let Some(id) = &session.id {
                self.memory.forget(id);
            }
            Ok(())
        })
    }

    fn has_index(&self) -> bool {
        false
    }

    fn list<'a>(
        &'a self,
        _whose: &'a Whose,
        _now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>> {
        unsupported()
    }

    fn end_all<'a>(
        &'a self,
        _whose: &'a Whose,
        _except: Option<SessionHash>,
        _now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>> {
        unsupported()
    }

    fn is_recorded<'a>(&'a self, _token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>> {
        unsupported()
    }

    fn record<'a>(
        &'a self,
        _token: &'a LogoutTokenId,
        _until: UnixSeconds,
        _now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), IndexError>> {
        unsupported()
    }

    fn ended_here(&self, session: &Session) -> Option<EndReason> {
        self.ended.get(session)
    }

    fn has_newer_tokens(&self, open: &OpenSession, now: UnixSeconds) -> bool {
        self.ended.get(&open.session).is_none() && self.memory.merge_for_refresh(&mut open.session.clone(), now)
    }

    fn forget_cached_token(&self, open: &OpenSession, token: &AccessToken) {
        self.memory.reject_token(open, token);
    }
}

#[cfg(test)]
mod tests;
