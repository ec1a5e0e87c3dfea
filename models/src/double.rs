//! The sessions that the token writer uses.

use std::sync::{Arc, Mutex, PoisonError};

use super::OpenSession;
use super::store::{EndReason, NewTokens, RefreshLock, SaveError};
use crate::clock::UnixSeconds;
use crate::secret::ExposeSecret;

/// A store that is unavailable for the first attempts, and records the refresh tokens that it stores.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) failures: Mutex<u32>,
    pub(crate) saved: Mutex<Vec<String>>,
}

impl Sessions {
    pub(crate) fn failing(times: u32) -> Arc<Self> {
        Arc::new(Self { failures: Mutex::new(times), saved: Mutex::default() })
    }

    pub(crate) async fn save_tokens(
        &self,
        _lock: &RefreshLock,
        _open: &OpenSession,
        new: NewTokens,
        _now: UnixSeconds,
    ) -> Result<(), SaveError> {
        shuttle::future::yield_now().await;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if *failures > 0 {
            *failures -= 1;
            return Err(SaveError::StoreUnavailable);
        }
        let token = new.refresh_token.map(|token| token.expose_secret().to_owned());
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).extend(token);
        Ok(())
    }

    pub(crate) const fn ended_here(&self, _open: &OpenSession) -> Option<EndReason> {
        None
    }
}
