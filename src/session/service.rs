//! The service that the endpoints and the proxy use: sessions of requests, over a store.

mod end_from_elsewhere;
mod identify;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::audit::Audited;
use super::companion::{Companion, SessionHash};
use super::configured::Configured;
use super::cookie::SessionCookies;
use super::payload::{AccessToken, Session, SessionId};
use super::rejections::{Rejections, RequiredInteraction};
use super::seal::Opened;
use super::sealer::{Sealer, SealingKeyUnavailable, UnsealError};
use super::store::{
    EndReason, LockError, NewTokens, RefreshLock, SaveError, SessionKey, SessionStore, StoreUnavailable,
};
use super::watch::{EndCount, Ends, SessionWatch};
use super::{Limits, OpenError, OpenSession, WriteError};
use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::keyring::revocations::{KnownRevocations, NotRead, RevocationCache};
use crate::secret::SecretString;

pub use identify::Identified;

/// Opens, writes and ends sessions, and seals the smaller values.
#[derive(Debug)]
pub struct Sessions {
    sealer: Arc<Sealer>,
    cookies: SessionCookies,
    limits: Limits,
    configured: Configured,
    store: Arc<dyn SessionStore>,
    revocations: Arc<RevocationCache>,
    rejections: Rejections,
    ends: Arc<Ends>,
}

impl Sessions {
    /// Sessions in a store. `sealer` and `cookies` are those of the store.
    #[must_use]
    pub fn new(
        sealer: Arc<Sealer>,
        cookies: SessionCookies,
        limits: Limits,
        configured: Configured,
        store: Arc<dyn SessionStore>,
        revocations: Arc<RevocationCache>,
    ) -> Self {
        let (rejections, ends) = (Rejections::default(), Arc::default());
        Self { sealer, cookies, limits, configured, store, revocations, rejections, ends }
    }

    /// Names and attributes of the cookies.
    #[must_use]
    pub const fn cookies(&self) -> &SessionCookies {
        &self.cookies
    }

    /// The session that a request carries.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, headers: &HeaderMap, now: UnixSeconds) -> Result<OpenSession, OpenError> {
        let (cookie, several_cookies) = self.open_cookie(headers, now).await?;
        let mut open = self.load(&cookie, now).await?;
        self.check_valid(&open.session, now).await?;
        self.remove_unusable_tokens(&mut open.session);
        open.several_cookies = several_cookies;
        Ok(open)
    }

    async fn check_valid(&self, session: &Session, now: UnixSeconds) -> Result<(), OpenError> {
        self.check_revocations(session).await?;
        if self.is_current(session, now) { Ok(()) } else { Err(OpenError::Expired) }
    }

    /// Whether it is a session of this provider that has not been idle for too long.
    fn is_current(&self, session: &Session, now: UnixSeconds) -> bool {
        now < self.idle_expiry(session) && self.configured.is_issuer_of(session)
    }

    /// Contract 16.6 and 16.7: a session that was revoked has expired, and before the list was read none is opened.
    async fn check_revocations(&self, session: &Session) -> Result<(), OpenError> {
        let user = &session.user;
        match self.revocations.is_revoked(session.signed_in_at, user.oid.as_deref(), &user.sub).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(OpenError::Expired),
            Err(NotRead) => Err(OpenError::KeyUnavailable),
        }
    }

    /// The revocations that are known now.
    #[must_use]
    pub fn known_revocations(&self) -> KnownRevocations {
        self.revocations.known()
    }

    /// A session that begins at `now`; [`Self::start`] stores it. It has ended if it was revoked after what was `known`
    /// then (contract 16.4).
    #[must_use]
    pub fn begin(&self, mut session: Session, known: &KnownRevocations, now: UnixSeconds) -> OpenSession {
        let user = &session.user;
        session.signed_in_at = known.sign_in_time(now, user.oid.as_deref(), &user.sub);
        OpenSession::new(session, now.saturating_add(self.limits.max.as_secs()))
    }

    /// Whether a session could be written now.
    ///
    /// # Errors
    /// [`WriteError::KeysUnavailable`].
    pub async fn can_write(&self, now: UnixSeconds) -> Result<(), WriteError> {
        self.sealer.key(now).await?;
        Ok(())
    }

    /// Stores a session that begins; returns the `Set-Cookie` lines. There are none if it has ended meanwhile.
    /// `arrived`: when the request of `now` did, since browsers count `Max-Age` from the response.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn start(
        &self,
        new: &OpenSession,
        now: UnixSeconds,
        arrived: Instant,
    ) -> Result<Vec<HeaderValue>, WriteError> {
        let created = self.store.create(&self.rejections.without_rejected_tokens(new), now).await;
        self.lines(created.map(Some), new, later(now, arrived))
    }

    /// Stores `now` as the last activity of a session; returns the `Set-Cookie` lines, which hold the newest tokens.
    /// There are none for a session that has expired since `arrived`, or was ended or replaced here (contract 4.23), or
    /// if its cookie stays as it is.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn write(
        &self,
        open: &OpenSession,
        now: UnixSeconds,
        arrived: Instant,
    ) -> Result<Vec<HeaderValue>, WriteError> {
        let touched = self.store.touch(&self.rejections.without_rejected_tokens(open), now).await;
        self.lines(touched, open, later(now, arrived))
    }

    fn lines(
        &self,
        sealed: Result<Option<String>, SaveError>,
        open: &OpenSession,
        sent_at: UnixSeconds,
    ) -> Result<Vec<HeaderValue>, WriteError> {
        match sealed {
            // The browser may have the cookie of a later sign-in by now.
            Ok(Some(_)) if sent_at >= open.expires_at => Ok(Vec::new()),
            Ok(Some(sealed)) => {
                let life = self.cookies.session_life(open, sent_at);
                Ok(self.cookies.write_session(&sealed, &Companion::of(&open.session), life)?)
            }
            Ok(None) | Err(SaveError::Ended | SaveError::Superseded) => Ok(Vec::new()),
            Err(SaveError::KeysUnavailable) => Err(WriteError::KeysUnavailable),
            Err(SaveError::StoreUnavailable) => Err(WriteError::StoreUnavailable),
            Err(SaveError::TooLarge) => {
                // Contract 4.17. A sign-in reports it as `cookie_too_large`, too.
                tracing::warn!("the session with its newest refresh token is too large, so that the old one is kept");
                Err(WriteError::TooLarge)
            }
        }
    }

    /// The lines of [`Self::write`] for a response that is sent anyway: without them the session stays as it was, and
    /// the log has the reason.
    pub async fn write_or_log(&self, open: &OpenSession, now: UnixSeconds, arrived: Instant) -> Vec<HeaderValue> {
        self.write(open, now, arrived).await.unwrap_or_else(|error| {
            tracing::warn!(?error, "the session cookie was not written");
            Vec::new()
        })
    }

    /// The lines of [`Self::write_or_log`] if there is a reason to write: the written activity is old enough, this
    /// instance has newer tokens, or the session's key retires (contract 6.24, 7.9).
    pub async fn write_if_due(&self, open: &OpenSession, now: UnixSeconds, arrived: Instant) -> Vec<HeaderValue> {
        let is_due = now >= open.session.active_at.saturating_add(self.activity_interval(open));
        let is_retiring = || open.sealed_by.is_some_and(|kid| self.sealer.is_retiring(kid, now));
        if is_due || open.is_cookie_outdated || is_retiring() {
            Box::pin(self.write_or_log(open, now, arrived)).await
        } else {
            Vec::new()
        }
    }

    /// Waits for what the store writes in the background.
    pub async fn flush(&self) {
        self.store.flush().await;
    }

    /// Why a session ended, if it did so on this instance. No response to it may then write or delete the cookie.
    #[must_use]
    pub fn ended_here(&self, open: &OpenSession) -> Option<EndReason> {
        self.store.ended_here(&open.session)
    }

    /// Whether there are newer tokens of a session by now than its cookie holds.
    #[must_use]
    pub fn has_newer_tokens(&self, open: &OpenSession, now: UnixSeconds) -> bool {
        self.store.has_newer_tokens(open, now)
    }

    /// Ends a session: it is rejected, and no slow response writes it (contract 4.23, 4.24).
    pub async fn end(&self, session: &SessionKey, now: UnixSeconds) {
        if let Some(id) = &session.id {
            self.rejections.forget(id);
        }
        self.end_in_store(session, EndReason::SignedOut, now).await;
    }

    /// Marks the session that `/auth/login` saw as replaced by the sign-in `by` (contract 4.22): it is rejected, and no
    /// slow response writes it.
    pub async fn replace(&self, id: SessionId, by: &OpenSession, now: UnixSeconds) {
        self.rejections.forget(&id);
        let replaced = SessionKey { id: Some(id), hash: None, expires_at: by.expires_at };
        self.end_in_store(&replaced, EndReason::Replaced, now).await;
    }

    /// The same for the session that the companion cookie named at the callback (contract 4.24a). A repeated callback
    /// carries that of its own session.
    pub async fn replace_companion(&self, hash: SessionHash, by: &OpenSession, now: UnixSeconds) {
        if hash != by.session.hash() {
            let replaced = SessionKey { id: None, hash: Some(hash), expires_at: by.expires_at };
            self.end_in_store(&replaced, EndReason::Replaced, now).await;
        }
    }

    async fn end_in_store(&self, session: &SessionKey, reason: EndReason, now: UnixSeconds) {
        if let Err(StoreUnavailable) = self.store.end(session, reason, now).await {
            let session = Audited::known_by(session.hash.as_ref()).session;
            tracing::error!(event = "sign_out_incomplete", session, "the session could not be deleted from the store");
        }
        self.ends.announce(session.id.as_ref());
    }

    /// How many sessions have ended here so far: what [`Self::watch`] needs from before the session was opened.
    #[must_use]
    pub fn end_count(&self) -> EndCount {
        self.ends.count()
    }

    /// Watches a session for a response that streams (contract 10.21).
    #[must_use]
    pub fn watch(&self, session: Box<Session>, before: EndCount) -> SessionWatch {
        SessionWatch::new(&self.ends, &self.store, &self.revocations, session, before)
    }

    /// Lets the responses that stream know of each change of the revocation list, without end.
    pub async fn announce_revocations(&self) {
        let mut changes = self.revocations.changes();
        while changes.changed().await.is_ok() {
            self.ends.announce_all();
        }
    }

    /// Waits for the right to refresh a session's tokens: see [`SessionStore::lock_refresh`].
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn lock_refresh(&self, open: &OpenSession) -> Result<Option<RefreshLock>, LockError> {
        self.store.lock_refresh(open).await
    }

    /// A session in its newest state.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn reload(&self, open: &OpenSession, now: UnixSeconds) -> Result<OpenSession, OpenError> {
        let mut newest = self.store.reload(open, now).await.inspect_err(|_| self.announce_end(&open.session))?;
        self.check_revocations(&newest.session).await?;
        self.remove_unusable_tokens(&mut newest.session);
        Ok(newest)
    }

    fn remove_unusable_tokens(&self, session: &mut Session) {
        self.configured.remove_other_tokens(session);
        self.remove_rejected_tokens(session);
    }

    /// Removes the access tokens that their API rejected with a claims challenge (contract 7.28).
    pub fn remove_rejected_tokens(&self, session: &mut Session) {
        self.rejections.remove_from(session);
    }

    /// Stores the tokens of a refresh: see [`SessionStore::save_tokens`].
    ///
    /// # Errors
    /// [`SaveError`].
    pub async fn save_tokens(
        &self,
        lock: &RefreshLock,
        open: &OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> Result<(), SaveError> {
        let token = new.access_token.clone();
        self.store.save_tokens(lock, open, new, now).await?;
        if let Some(token) = token {
            self.rejections.clear(&open.session.id, &token);
        }
        Ok(())
    }

    /// Notes that an API rejected an access token: this instance does not use its cached copy again (contract 7.12).
    pub fn forget_cached_token(&self, open: &OpenSession, token: &AccessToken) {
        self.store.forget_cached_token(open, token);
    }

    /// Notes that an API rejected an access token with a claims challenge: this instance does not use it again, not
    /// even one of a cookie (contract 7.28).
    pub fn reject_access_token(&self, open: &OpenSession, token: AccessToken, now: UnixSeconds) {
        self.store.forget_cached_token(open, &token);
        self.rejections.reject_access_token(open, token, now);
    }

    /// Notes that the provider does not accept a refresh token any more (contract 7.15).
    pub fn reject_refresh_token(&self, open: &OpenSession, token: SecretString, now: UnixSeconds) {
        self.rejections.reject_refresh_token(open, token, now);
    }

    /// Whether the provider is known not to accept a refresh token.
    #[must_use]
    pub fn is_refresh_token_rejected(&self, id: &SessionId, token: &SecretString) -> bool {
        self.rejections.is_refresh_token_rejected(id, token)
    }

    /// Notes what the user has to do before there is a token for an API.
    pub fn require(&self, open: &OpenSession, api: &str, interaction: RequiredInteraction, now: UnixSeconds) {
        self.rejections.require(open, api, interaction, now);
    }

    /// What the user has to do before there is a token for an API, as far as this instance knows.
    #[must_use]
    pub fn required(&self, id: &SessionId, api: &str) -> Option<RequiredInteraction> {
        self.rejections.required(id, api)
    }

    /// The first second in which a session has been idle for too long.
    #[must_use]
    pub const fn idle_expiry(&self, session: &Session) -> UnixSeconds {
        session.active_at.saturating_add(self.limits.idle.as_secs())
    }

    fn activity_interval(&self, open: &OpenSession) -> u64 {
        let idle = self.limits.idle.as_secs();
        if open.several_cookies { 300.min(idle / 4) } else { 60.min(idle / 10) }
    }

    /// Seals a payload. `name` is the full cookie name, or empty for a value that is not a cookie.
    ///
    /// # Errors
    /// [`SealingKeyUnavailable`].
    pub async fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        expires_at: UnixSeconds,
        now: UnixSeconds,
        payload: &[u8],
    ) -> Result<String, SealingKeyUnavailable> {
        self.sealer.seal(purpose, name, expires_at, now, payload).await
    }

    /// Opens what [`Self::seal`] sealed.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub async fn unseal(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, UnsealError> {
        self.sealer.unseal(purpose, name, sealed, now).await
    }
}

/// The time by now, of a request that arrived at `now`.
fn later(now: UnixSeconds, arrived: Instant) -> UnixSeconds {
    now.saturating_add(arrived.elapsed().as_secs())
}

#[cfg(test)]
mod tests;
