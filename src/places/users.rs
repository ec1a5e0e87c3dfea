//! How many requests of one user are in flight, over all of the user's sessions (contract 10.20).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Share;
use crate::id_hash::IdHash;
use crate::session::payload::Session;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// A hash of issuer and `sub`, under a random key: two users that share one would share a limit.
type UserHash = u64;

/// The users with requests in flight.
#[derive(Debug)]
pub(super) struct Users {
    limit: Share,
    hasher: RandomState,
    table: Mutex<HashMap<UserHash, Slots, IdHash>>,
}

#[derive(Debug)]
struct Slots {
    permits: Arc<Semaphore>,
    /// Requests that have a permit or wait for one.
    registered: usize,
}

/// Counts a request as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct UserPermit {
    _permit: OwnedSemaphorePermit,
    _registration: Registration,
}

/// Keeps a user in the table while any request needs it.
#[derive(Debug)]
pub(super) struct Registration {
    users: Arc<Users>,
    user: UserHash,
    permits: Arc<Semaphore>,
}

impl Users {
    pub(super) fn new(limit: Share) -> Self {
        Self { limit, hasher: RandomState::new(), table: Mutex::default() }
    }

    /// Registers a request; `None` if as many wait already as may.
    pub(super) fn register(self: &Arc<Self>, session: &Session) -> Option<Registration> {
        let user = self.hasher.hash_one((session.issuer.as_deref().unwrap_or_default(), &session.user.sub));
        let mut table = self.table();
        let new = || Slots { permits: Arc::new(Semaphore::new(self.limit.held)), registered: 0 };
        let slots = table.entry(user).or_insert_with(new);
        if slots.registered >= self.limit.held + self.limit.waiting {
            return None;
        }
        slots.registered += 1;
        let permits = Arc::clone(&slots.permits);
        drop(table);
        Some(Registration { users: Arc::clone(self), user, permits })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UserHash, Slots, IdHash>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// A permit, if one is free.
    pub(super) fn try_permit(self) -> Result<UserPermit, Self> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(UserPermit { _permit: permit, _registration: self }),
            Err(_) => Err(self),
        }
    }

    /// Waits for a permit.
    pub(super) async fn permit(self) -> Option<UserPermit> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        Some(UserPermit { _permit: permit, _registration: self })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.users.table();
        if let Some(slots) = table.get_mut(&self.user) {
            slots.registered -= 1;
            if slots.registered == 0 {
                table.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }
}
