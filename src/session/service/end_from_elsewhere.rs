//! Sessions that are listed, or ended without their cookie: by their user, by an operator, or by the provider (contract
//! section 16). Only stores that know which sessions there are support it.

use std::cmp::Reverse;

use super::Sessions;
use crate::clock::UnixSeconds;
use crate::session::companion::SessionHash;
use crate::session::handle::Handle;
use crate::session::payload::Session;
use crate::session::seal::Opened;
use crate::session::store::{IndexError, ListedSession, LoadError, LogoutTokenId, Whose};
use crate::session::{OpenError, OpenSession};

impl Sessions {
    /// Whether the store knows which sessions there are. Otherwise the routes that need it do not exist.
    #[must_use]
    pub fn has_index(&self) -> bool {
        self.store.has_index()
    }

    /// Loads the session of a cookie. An instance that finds that it has ended elsewhere ends the responses to it that
    /// still stream (contract 10.21). A session that was revoked or is of another issuer is not moved into the store.
    pub(super) async fn load(&self, cookie: &Opened, now: UnixSeconds) -> Result<OpenSession, OpenError> {
        let handle = Handle::decode(cookie.payload());
        if handle.is_none() && self.store.has_index() {
            // Boxed, since it happens once for a session.
            Box::pin(self.check_before_move(cookie)).await?;
        }
        let announce = |_: &LoadError| handle.iter().for_each(|handle| self.announce_end(&handle.session()));
        Ok(self.store.load(cookie, now).await.inspect_err(announce)?)
    }

    async fn check_before_move(&self, cookie: &Opened) -> Result<(), OpenError> {
        if let Some(session) = Session::decode(cookie.payload()) {
            self.check_revocations(&session).await?;
            if !self.configured.is_issuer_of(&session) {
                return Err(OpenError::Expired);
            }
        }
        Ok(())
    }

    /// Announces the end of a session if this instance knows of it.
    pub(super) fn announce_end(&self, session: &Session) {
        if self.store.ended_here(session).is_some() {
            self.ends.announce(Some(&session.id));
        }
    }

    /// The sessions of any of these [`Whose`] that have not expired, newest first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn list(&self, whose: &[Whose], now: UnixSeconds) -> Result<Vec<ListedSession>, IndexError> {
        let mut listed = Vec::new();
        for whose in whose {
            listed.extend(self.store.list(whose, now).await?);
        }
        let idle = self.limits.idle.as_secs();
        listed.retain(|session| now < session.expires_at.min(session.active_at.saturating_add(idle)));
        listed.sort_by_key(|session| (Reverse((session.signed_in_at, session.active_at)), session.hash));
        listed.dedup_by_key(|session| session.hash);
        Ok(listed)
    }

    /// The sessions of the user of a session, newest first (contract 16.1).
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn list_own(&self, open: &OpenSession, now: UnixSeconds) -> Result<Vec<ListedSession>, IndexError> {
        let mut listed = self.list(&[sessions_of(open)], now).await?;
        let user = &open.session.user;
        let is_revoked = |at| self.revocations.look_up(at, user.oid.as_deref(), &user.sub) == Some(true);
        listed.retain(|session| !is_revoked(session.signed_in_at));
        Ok(listed)
    }

    /// Ends the session with this hash if it is one of the user of `open`. Returns whether it was (contract 16.3).
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn end_own(&self, open: &OpenSession, hash: SessionHash, now: UnixSeconds) -> Result<bool, IndexError> {
        let (issuer, sub) = user_of(open);
        Ok(self.end_all(&Whose::OneOfUser { hash, issuer, sub }, now).await? > 0)
    }

    /// Ends all sessions of the user of `open` but this one. Returns their number (contract 16.3).
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn end_others(&self, open: &OpenSession, now: UnixSeconds) -> Result<usize, IndexError> {
        self.end_except(&sessions_of(open), Some(open.session.hash()), now).await
    }

    /// Ends the sessions of [`Whose`]. Returns their number.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn end_all(&self, whose: &Whose, now: UnixSeconds) -> Result<usize, IndexError> {
        self.end_except(whose, None, now).await
    }

    /// Ends the sessions of [`Whose`] as a logout token demands, which counts once until it is too old to be accepted
    /// (contract 16.8). It is recorded last, so that one whose sessions could not be ended can be sent again. Returns
    /// their number.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn end_by_token(
        &self,
        whose: &Whose,
        token: &LogoutTokenId,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<usize, IndexError> {
        if self.store.is_recorded(token).await? {
            return Ok(0);
        }
        let ended = self.end_all(whose, now).await?;
        self.store.record(token, until, now).await?;
        Ok(ended)
    }

    async fn end_except(
        &self,
        whose: &Whose,
        except: Option<SessionHash>,
        now: UnixSeconds,
    ) -> Result<usize, IndexError> {
        let ended = self.store.end_all(whose, except, now).await;
        // After a failure, too: some may have ended before it.
        if ended.as_ref().map_or(true, |ended| !ended.is_empty()) {
            self.ends.announce_all();
        }
        ended.map(|ended| ended.len())
    }
}

/// A session of payload version 2 has no issuer, and no other session has an empty one.
fn user_of(open: &OpenSession) -> (String, String) {
    (open.session.issuer.clone().unwrap_or_default(), open.session.user.sub.clone())
}

fn sessions_of(open: &OpenSession) -> Whose {
    let (issuer, sub) = user_of(open);
    Whose::Subject { issuer, sub }
}
