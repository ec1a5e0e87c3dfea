//! Stores the tokens of a refresh. While the store does not respond they are kept here, because the provider may have
//! consumed the refresh token that is stored (contract 7.18).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::endpoint::TokenEndpoint;
use super::failure::Failure;
use crate::clock::UnixSeconds;
use crate::session::payload::{Session, SessionId};
use crate::session::store::{EndReason, NewTokens, RefreshLock, SaveError};
use crate::session::{OpenError, OpenSession, Sessions};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::telemetry::in_current_request;

/// Most sessions whose tokens are kept.
const LIMIT: usize = 1_000;
/// The pauses between two attempts grow from the first to the second.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4);

/// Stores tokens by a session's lock.
#[derive(Debug)]
pub(super) struct TokenWriter {
    sessions: Arc<Sessions>,
    endpoint: Arc<dyn TokenEndpoint>,
    unsaved: Mutex<HashMap<SessionId, Unsaved>>,
}

/// Tokens that are not stored yet.
#[derive(Debug)]
struct Unsaved {
    /// That of the session that they belong to.
    generation: u64,
    tokens: Arc<NewTokens>,
}

impl TokenWriter {
    pub(super) fn new(sessions: Arc<Sessions>, endpoint: Arc<dyn TokenEndpoint>) -> Arc<Self> {
        Arc::new(Self { sessions, endpoint, unsaved: Mutex::default() })
    }

    /// Puts the tokens into a session that are not stored yet.
    pub(super) fn add_unsaved(&self, session: &mut Session) {
        if let Some(unsaved) = self.unsaved().get(&session.id).filter(|of| of.generation == session.generation) {
            NewTokens::clone(&unsaved.tokens).put_into(session);
        }
    }

    /// Stores tokens. If the store does not respond, that is done later, and the caller can use them now.
    pub(super) async fn save(
        self: &Arc<Self>,
        lock: RefreshLock,
        open: &OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        match self.sessions.save_tokens(&lock, open, new.clone(), now).await {
            Ok(()) => Ok(()),
            Err(SaveError::Ended) => {
                self.revoke(open, &new);
                Err(OpenError::Ended.into())
            }
            Err(SaveError::KeysUnavailable) => {
                self.save_later(lock, open, new, now).map_err(|Full| OpenError::KeyUnavailable.into())
            }
            Err(SaveError::StoreUnavailable) => {
                self.save_later(lock, open, new, now).map_err(|Full| OpenError::StoreUnavailable.into())
            }
            // The call can use its access token, whatever is stored.
            Err(error @ (SaveError::Superseded | SaveError::TooLarge)) => {
                tracing::warn!(?error, "the tokens of a refresh were not stored");
                Ok(())
            }
        }
    }

    fn save_later(
        self: &Arc<Self>,
        lock: RefreshLock,
        open: &OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> Result<(), Full> {
        let new = Arc::new(new);
        let unsaved = Unsaved { generation: open.session.generation, tokens: Arc::clone(&new) };
        {
            let mut all = self.unsaved();
            if all.len() >= LIMIT {
                tracing::error!(limit = LIMIT, "too many sessions wait for new tokens to be stored: some were lost");
                return Err(Full);
            }
            all.insert(open.session.id, unsaved);
        }
        let (writer, open) = (Arc::clone(self), open.clone());
        let save = async move {
            writer.repeat(&lock, &open, &new, now).await;
            writer.remove(&open.session.id, &new);
        };
        tokio::spawn(in_current_request(save));
        Ok(())
    }

    /// Tries again until the tokens are stored, newer ones are or wait to be, or the session has expired. The lock,
    /// which others wait for, is kept as long as it lasts; after that the generation decides whose tokens count.
    async fn repeat(&self, lock: &RefreshLock, open: &OpenSession, new: &Arc<NewTokens>, now: UnixSeconds) {
        let (started, mut pause) = (Instant::now(), *PAUSES.start());
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(*PAUSES.end());
            // Later ones include these, and would be rejected after them.
            if !self.is_newest(open, new) {
                return;
            }
            let now = now.saturating_add(started.elapsed().as_secs());
            match self.sessions.save_tokens(lock, open, NewTokens::clone(new), now).await {
                Err(SaveError::KeysUnavailable | SaveError::StoreUnavailable) if now < open.expires_at => {}
                Err(SaveError::Ended) => return self.revoke(open, new),
                Ok(()) | Err(_) => return,
            }
        }
    }

    /// Revokes the refresh token that came for a session that has ended: the sign-out could revoke the earlier one
    /// only. The user of a replaced session did not sign out, and some providers revoke all tokens of the user with
    /// one.
    fn revoke(&self, open: &OpenSession, new: &NewTokens) {
        if self.sessions.ended_here(open) == Some(EndReason::Replaced) {
            return;
        }
        if let Some(rotated) = new.refresh_token.clone() {
            let endpoint = Arc::clone(&self.endpoint);
            tokio::spawn(in_current_request(async move { endpoint.revoke(&rotated).await }));
        }
    }

    fn is_newest(&self, open: &OpenSession, new: &Arc<NewTokens>) -> bool {
        self.unsaved().get(&open.session.id).is_some_and(|unsaved| unsaved.is(new))
    }

    /// Newer tokens stay: another thread may have added them since these were stored.
    fn remove(&self, id: &SessionId, new: &Arc<NewTokens>) {
        let mut all = self.unsaved();
        if all.get(id).is_some_and(|unsaved| unsaved.is(new)) {
            all.remove(id);
        }
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<SessionId, Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unsaved {
    fn is(&self, tokens: &Arc<NewTokens>) -> bool {
        Arc::ptr_eq(&self.tokens, tokens)
    }
}

/// The tokens of no more sessions can be kept.
struct Full;

#[cfg(test)]
impl TokenWriter {
    /// Keeps tokens as if the store did not respond.
    pub(super) fn keep(&self, open: &OpenSession, tokens: NewTokens) {
        let unsaved = Unsaved { generation: open.session.generation, tokens: Arc::new(tokens) };
        self.unsaved().insert(open.session.id, unsaved);
    }
}
