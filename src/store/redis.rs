//! Sessions in Redis (contract section 15): the session cookie holds a handle, without which a record does not open.
//!
//! Imports point down this list: redis, members, moving, lock, index, records, scripts, record, deletions, client.

pub mod client;
mod deletions;
mod index;
mod lock;
mod members;
mod moving;
mod record;
mod records;
mod scripts;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::clock::UnixSeconds;
use crate::keyring::{Key, Purpose};
use crate::session::audit::Audited;
use crate::session::companion::SessionHash;
use crate::session::ended::EndedSessions;
use crate::session::handle::Handle;
use crate::session::payload::{Session, SessionId};
use crate::session::seal::{Opened, Times};
use crate::session::sealer::Sealer;
use crate::session::store::{
    EndReason, IndexError, ListedSession, LoadError, LockError, LogoutTokenId, NewTokens, RefreshLock, SaveError,
    SessionKey, SessionStore, StoreFuture, StoreUnavailable, Whose,
};
use crate::session::{Limits, OpenSession};
use crate::telemetry::in_current_request;
use client::Client;
pub use client::Config;
use deletions::{Deletion, Deletions};
use index::for_each;
use lock::Attempt;
use record::{Index, Names, SessionNames};
use records::{Fields, Records, Stored, is_none, millis};

/// The store of one instance.
#[derive(Debug)]
pub struct RedisStore {
    records: Arc<Records>,
    /// Full name of the session cookie.
    cookie: String,
    ended: EndedSessions,
    /// The newest sessions that this instance stored: a repeated callback must not store one again after its end.
    created: Mutex<LruCache<SessionId, ()>>,
    deletions: Arc<Deletions>,
    /// What is written without delaying a response.
    background: TaskTracker,
}

impl RedisStore {
    /// A store of the sessions whose cookies have this name. `prefix` begins every key; `callbacks` is how many may be
    /// repeated at a time.
    #[must_use]
    pub fn new(
        client: Arc<Client>,
        prefix: &str,
        sealer: Arc<Sealer>,
        cookie: &str,
        limits: Limits,
        callbacks: usize,
    ) -> Self {
        let background = TaskTracker::new();
        background.close();
        Self {
            records: Arc::new(Records { client, names: Names::new(prefix), sealer, limits }),
            cookie: cookie.to_owned(),
            ended: EndedSessions::default(),
            created: Mutex::new(LruCache::new(NonZeroUsize::new(callbacks).unwrap_or(NonZeroUsize::MIN))),
            deletions: Arc::default(),
            background,
        }
    }

    /// Contract 4.24.
    fn check_here(&self, session: &Session) -> Result<(), LoadError> {
        self.ended.check(session)
    }

    fn check_here_before_saving(&self, session: &Session) -> Result<(), SaveError> {
        self.ended.get(session).map_or(Ok(()), |_| Err(SaveError::Ended))
    }

    /// The value of the session cookie (contract 15.1).
    fn seal_cookie(&self, key: &Key, open: &OpenSession, now: UnixSeconds) -> String {
        let times = Times { issued_at: now, expires_at: open.expires_at };
        let payload = Handle::of(&open.session).encode();
        self.records.sealer.seal_with(key, Purpose::Session, &self.cookie, times, &payload)
    }

    /// Reads a session in one round trip, if there is a record (contract 15.9).
    async fn read(&self, handle: &Handle, expires_at: UnixSeconds, now: UnixSeconds) -> Result<Stored, LoadError> {
        let names = self.records.names.session(&handle.hash());
        let fields = self.records.fields(&names).await?;
        self.open(handle, &names, fields, expires_at, now).await
    }

    async fn open(
        &self,
        handle: &Handle,
        names: &SessionNames<'_>,
        fields: Fields,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Stored, LoadError> {
        if is_none(&fields) {
            self.note_end(&handle.session(), expires_at, now).await?;
            self.check_here(&handle.session())?;
        }
        self.records.open(handle, names, fields, now).await
    }

    /// Notes why a session without a record ended on another instance, so that the responses to it that still stream
    /// here end, too (contract 10.21), and none deletes the cookie of a later sign-in. One that has expired did not
    /// end.
    async fn note_end(
        &self,
        session: &Session,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), StoreUnavailable> {
        let hash = session.hash();
        if let Some(reason) = self.records.end_reason(&self.records.names.session(&hash)).await? {
            self.ended.insert(&SessionKey { id: None, hash: Some(hash), expires_at }, reason, now);
        }
        Ok(())
    }

    /// Stores a session that begins, and returns whether there is a record then. A session that was stored before is
    /// not stored again, since it may have ended.
    async fn store_new(&self, key: &Key, new: &OpenSession, now: UnixSeconds) -> Result<bool, SaveError> {
        let mut first = new.clone();
        first.session.generation = first.session.generation.max(1);
        let names = self.records.names.session(&new.session.hash());
        let sealed = self.records.seal(key, &first, now)?;
        let is_repeated = self.created().contains(&new.session.id);
        if !is_repeated {
            self.records.add_to_indexes(&Index::of(&new.session), &names, new.expires_at, now).await?;
        }
        let is_there = self.records.create(&names, &sealed, !is_repeated).await?;
        if !is_there {
            self.records.remove_from_indexes(&Index::of(&new.session), &names).await;
        }
        self.created().put(new.session.id, ());
        Ok(is_there)
    }

    fn created(&self) -> MutexGuard<'_, LruCache<SessionId, ()>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats a deletion that failed (contract 15.11).
    fn delete_later(&self, hash: SessionHash, reason: EndReason, expires_at: UnixSeconds, now: UnixSeconds) {
        let until = Instant::now() + Duration::from_millis(millis(expires_at, now));
        if self.deletions.push(Deletion { hash, reason, until }) {
            let (records, started) = (Arc::clone(&self.records), Instant::now());
            let delete = move |Deletion { hash, reason, until }: Deletion| {
                let (records, now) = (Arc::clone(&records), now.saturating_add(started.elapsed().as_secs()));
                let expires_at = now.saturating_add(until.saturating_duration_since(Instant::now()).as_secs());
                async move { records.end(&hash, reason, Some(expires_at), now).await.map(drop) }
            };
            tokio::spawn(Arc::clone(&self.deletions).repeat(delete));
        }
    }
}

impl SessionStore for RedisStore {
    fn load<'a>(&'a self, cookie: &'a Opened, now: UnixSeconds) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            let (stored, is_moved) = match Handle::decode(cookie.payload()) {
                Some(handle) => {
                    self.check_here(&handle.session())?;
                    (self.read(&handle, cookie.times.expires_at, now).await?, false)
                }
                None => (self.load_moved(cookie, now).await?, true),
            };
            let is_retiring = self.records.sealer.is_retiring(cookie.kid, now);
            let sealed_by = if is_retiring { cookie.kid } else { stored.kid };
            Ok(OpenSession::loaded(stored.session, stored.expires_at, sealed_by, is_moved))
        })
    }

    fn reload<'a>(
        &'a self,
        open: &'a OpenSession,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            self.check_here(&open.session)?;
            let mut newest = open.clone();
            *newest.session = self.read(&Handle::of(&open.session), open.expires_at, now).await?.session;
            Ok(newest)
        })
    }

    fn create<'a>(&'a self, new: &'a OpenSession, now: UnixSeconds) -> StoreFuture<'a, Result<String, SaveError>> {
        Box::pin(async move {
            let key = self.records.sealer.key(now).await.map_err(|_| SaveError::KeysUnavailable)?;
            self.check_here_before_saving(&new.session)?;
            if !self.store_new(&key, new, now).await? {
                let reason = self.records.end_reason(&self.records.names.session(&new.session.hash())).await?;
                self.ended.insert(&new.key(), reason.unwrap_or(EndReason::FromElsewhere), now);
            }
            self.check_here_before_saving(&new.session)?;
            Ok(self.seal_cookie(&key, new, now))
        })
    }

    fn touch<'a>(
        &'a self,
        open: &'a OpenSession,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Option<String>, SaveError>> {
        Box::pin(async move {
            self.check_here_before_saving(&open.session)?;
            let is_retiring = open.sealed_by.is_some_and(|kid| self.records.sealer.is_retiring(kid, now));
            let cookie = if is_retiring || open.is_cookie_outdated {
                let key = self.records.sealer.key(now).await.map_err(|_| SaveError::KeysUnavailable)?;
                Some(self.seal_cookie(&key, open, now))
            } else {
                None
            };
            // It may have ended while the key was loaded, or on another thread.
            self.check_here_before_saving(&open.session)?;
            let (records, background) = (Arc::clone(&self.records), self.background.clone());
            let handle = Handle::of(&open.session);
            let write = async move {
                records.touch(&handle.hash(), now).await;
                if is_retiring {
                    seal_again(&records, &background, &handle, now).await;
                }
            };
            self.background.spawn(in_current_request(write));
            Ok(cookie)
        })
    }

    fn save_tokens<'a>(
        &'a self,
        lock: &'a RefreshLock,
        open: &'a OpenSession,
        new: NewTokens,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), SaveError>> {
        Box::pin(async move {
            self.check_here_before_saving(&open.session)?;
            let mut next = open.session.clone();
            new.put_into(&mut next);
            let saved = self.records.save(*next, open.expires_at, lock, now).await;
            if saved == Err(SaveError::Ended) {
                self.note_end(&open.session, open.expires_at, now).await?;
            }
            saved
        })
    }

    fn lock_refresh<'a>(&'a self, open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>> {
        Box::pin(async move {
            self.check_here(&open.session).map_err(LockError::Load)?;
            let names = self.records.names.session(&open.session.hash());
            let generation = open.session.generation;
            lock::lock(|| lock::try_lock(&self.records, &self.background, &names, generation)).await
        })
    }

    /// A session that is known by its ID only is ended on this instance: a store cannot find it. The callback deletes
    /// it by the hash in the companion cookie (contract 4.24a).
    fn end<'a>(
        &'a self,
        session: &'a SessionKey,
        reason: EndReason,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(async move {
            self.ended.insert(session, reason, now);
            let Some(hash) = &session.hash else { return Ok(()) };
            let ended = self.records.end(hash, reason, Some(session.expires_at), now).await;
            if ended.is_err() {
                self.delete_later(*hash, reason, session.expires_at, now);
            }
            ended.map(drop)
        })
    }

    fn has_index(&self) -> bool {
        true
    }

    fn list<'a>(
        &'a self,
        whose: &'a Whose,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>> {
        Box::pin(async move {
            let members = self.records.members(whose, now).await?;
            let listed = for_each(members, |member| self.list_member(member, now)).await;
            listed.into_iter().filter_map(Result::transpose).collect()
        })
    }

    fn end_all<'a>(
        &'a self,
        whose: &'a Whose,
        except: Option<SessionHash>,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>> {
        Box::pin(async move {
            let mut members = self.records.members(whose, now).await?;
            members.retain(|member| except != Some(member.hash));
            // All are tried, even if one fails.
            let ended = for_each(members, |member| self.end_member(member, now)).await;
            for hash in ended.iter().flatten().flatten() {
                let Audited { session, user } = Audited::ended_with(whose, hash);
                tracing::info!(event = "session_ended", session, user, "a session was ended without its cookie");
            }
            ended.into_iter().filter_map(Result::transpose).collect()
        })
    }

    fn is_recorded<'a>(&'a self, token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>> {
        Box::pin(async move { Ok(self.records.call("EXISTS", &self.records.names.logout_token(token), &[]).await?) })
    }

    fn record<'a>(
        &'a self,
        token: &'a LogoutTokenId,
        until: UnixSeconds,
        now: UnixSeconds,
    ) -> StoreFuture<'a, Result<(), IndexError>> {
        Box::pin(async move {
            let (key, life) = (self.records.names.logout_token(token), millis(until, now).to_string());
            Ok(self.records.call("SET", &key, &[b"1", b"PX", life.as_bytes()]).await?)
        })
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.background.wait())
    }

    fn ended_here(&self, session: &Session) -> Option<EndReason> {
        self.ended.get(session)
    }
}

/// Seals a session again whose key retires, as the holder of the lock. If that is not free, a later activity does it
/// (contract 15.18).
async fn seal_again(records: &Arc<Records>, background: &TaskTracker, handle: &Handle, now: UnixSeconds) {
    let Ok(stored) = records.read(handle, now).await else { return };
    if !records.sealer.is_retiring(stored.kid, now) {
        return;
    }
    let names = records.names.session(&handle.hash());
    // The lock is only for the generation that was read.
    let attempt = lock::try_lock(records, background, &names, stored.session.generation).await;
    if let Ok(Attempt::Taken(lock)) = attempt {
        let saved = records.save(stored.session, stored.expires_at, &lock, now).await;
        if let Err(error) = saved {
            tracing::debug!(?error, "a session was not sealed under the active key; a later activity does it");
        }
    }
}
