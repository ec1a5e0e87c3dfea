//! A double of a store behind a handle (contract section 15), in memory: the cookie holds handle and ID, all instances
//! share the records, and the refresh lock counts for all of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::keyring::Purpose;
use cloakroom::secret::Key32;
use cloakroom::session::OpenSession;
use cloakroom::session::companion::SessionHash;
use cloakroom::session::ended::EndedSessions;
use cloakroom::session::payload::{Session, Token, User};
use cloakroom::session::seal::Opened;
use cloakroom::session::sealer::Sealer;
use cloakroom::session::store::{
    EndReason, IndexError, ListedSession, LoadError, LockError, LogoutTokenId, NewTokens, RefreshLock, SaveError,
    SessionKey, SessionStore, StoreFuture, StoreUnavailable, Whose,
};
use cloakroom::session::user_agent::UserAgent;
use tokio::time::Instant;

use super::places::NAME;

type Handle = [u8; 32];

/// Most bytes of a record (contract 15.7).
const LIMIT: usize = 512 * 1_024;
/// Life of a refresh lock (contract 15.10).
const LOCK: Duration = Duration::from_secs(15);

struct Record {
    session: Session,
    expires_at: u64,
    user_agent: UserAgent,
}

impl Record {
    fn is_of(&self, whose: &Whose) -> bool {
        let user = &self.session.user;
        let (issuer, found, value) = match whose {
            Whose::Everyone => return true,
            Whose::One(hash) => return self.session.hash() == *hash,
            Whose::OneOfUser { hash, .. } if self.session.hash() != *hash => return false,
            Whose::OneOfUser { issuer, sub, .. } => (issuer, Some(&user.sub), sub),
            Whose::ProviderSession { issuer, sid } => (issuer, user.claims.provider_sid.as_ref(), sid),
            Whose::Subject { issuer, sub } => (issuer, Some(&user.sub), sub),
            Whose::ObjectId { issuer, oid } => (issuer, user.oid.as_ref(), oid),
        };
        self.session.issuer.as_ref() == Some(issuer) && found == Some(value)
    }

    fn listed(&self) -> ListedSession {
        ListedSession {
            hash: self.session.hash(),
            signed_in_at: self.session.signed_in_at,
            active_at: self.session.active_at,
            expires_at: self.expires_at,
            user_agent: self.user_agent.clone(),
        }
    }
}

/// What all instances share.
#[derive(Default)]
pub struct Shared {
    records: Mutex<HashMap<Handle, Record>>,
    logout_tokens: Mutex<HashSet<LogoutTokenId>>,
    locks: Mutex<HashMap<Handle, Arc<()>>>,
    is_down: AtomicBool,
    /// Whether ending all sessions of a user fails.
    end_all_fails: AtomicBool,
    /// How long the next read takes.
    next_read: Mutex<Duration>,
    /// How often a refresh lock was taken.
    locked: AtomicUsize,
}

impl Shared {
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub fn let_end_all_fail(&self, fails: bool) {
        self.end_all_fails.store(fails, Ordering::SeqCst);
    }

    pub fn delay_next_read(&self, delay: Duration) {
        *self.next_read.lock().unwrap() = delay;
    }

    pub fn locked(&self) -> usize {
        self.locked.load(Ordering::SeqCst)
    }

    fn reach(&self) -> Result<(), StoreUnavailable> {
        if self.is_down.load(Ordering::SeqCst) { Err(StoreUnavailable) } else { Ok(()) }
    }

    fn record(&self, handle: &Handle) -> Result<Session, LoadError> {
        self.reach().map_err(|StoreUnavailable| LoadError::StoreUnavailable)?;
        let records = self.records.lock().unwrap();
        records.get(handle).map(|record| record.session.clone()).ok_or(LoadError::Expired)
    }

    fn change<T>(&self, open: &OpenSession, change: impl FnOnce(&mut Session) -> T) -> Result<T, SaveError> {
        self.reach().map_err(|StoreUnavailable| SaveError::StoreUnavailable)?;
        let mut records = self.records.lock().unwrap();
        let record = records.get_mut(&handle(&open.session));
        record.map(|record| change(&mut record.session)).ok_or(SaveError::Ended)
    }
}

/// The store of one instance.
pub struct SharedStore {
    shared: Arc<Shared>,
    sealer: Arc<Sealer>,
    ended: EndedSessions,
}

impl SharedStore {
    pub fn new(shared: Arc<Shared>, sealer: Arc<Sealer>) -> Self {
        Self { shared, sealer, ended: EndedSessions::default() }
    }

    /// Contract 4.24.
    fn check(&self, session: &Session) -> Result<(), LoadError> {
        self.ended.check(session)
    }

    /// The record of a session. One without has ended on another instance.
    fn record(&self, session: &Session, expires_at: u64, now: u64) -> Result<Session, LoadError> {
        self.shared.record(&handle(session)).inspect_err(|error| {
            if *error == LoadError::Expired {
                let key = SessionKey { id: None, hash: Some(session.hash()), expires_at };
                self.ended.insert(&key, EndReason::FromElsewhere, now);
            }
        })
    }

    async fn cookie(&self, open: &OpenSession, now: u64) -> Result<String, SaveError> {
        let payload = [handle(&open.session).as_slice(), &open.session.id].concat();
        let sealed = self.sealer.seal(Purpose::Session, NAME, open.expires_at, now, &payload).await;
        sealed.map_err(|_| SaveError::KeysUnavailable)
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

fn handle(session: &Session) -> Handle {
    *session.handle.as_ref().unwrap().expose()
}

impl SessionStore for SharedStore {
    fn load<'a>(&'a self, cookie: &'a Opened, now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            let (handle, id) = cookie.payload().split_first_chunk().ok_or(LoadError::Expired)?;
            let id = id.try_into().map_err(|_| LoadError::Expired)?;
            let named = Session {
                handle: Some(Key32::new(*handle)),
                ..Session::new(id, User::default(), cookie.times.issued_at)
            };
            self.check(&named)?;
            let session = self.record(&named, cookie.times.expires_at, now)?;
            Ok(OpenSession::loaded(session, cookie.times.expires_at, cookie.kid, false))
        })
    }

    fn reload<'a>(&'a self, open: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            let delay = std::mem::take(&mut *self.shared.next_read.lock().unwrap());
            tokio::time::sleep(delay).await;
            self.check(&open.session)?;
            let mut newest = open.clone();
            *newest.session = self.record(&open.session, open.expires_at, now)?;
            Ok(newest)
        })
    }

    fn create<'a>(&'a self, new: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<String, SaveError>> {
        Box::pin(async move {
            self.shared.reach().map_err(|StoreUnavailable| SaveError::StoreUnavailable)?;
            let cookie = self.cookie(new, now).await?;
            self.check(&new.session).map_err(|_| SaveError::Ended)?;
            if new.session.encode().len() > LIMIT {
                return Err(SaveError::TooLarge);
            }
            let mut records = self.shared.records.lock().unwrap();
            let record = records.entry(handle(&new.session)).or_insert_with(|| Record {
                session: Session::clone(&new.session),
                expires_at: new.expires_at,
                user_agent: new.user_agent.clone(),
            });
            record.session.generation = record.session.generation.max(1);
            Ok(cookie)
        })
    }

    fn touch<'a>(&'a self, open: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<Option<String>, SaveError>> {
        Box::pin(async move {
            self.check(&open.session).map_err(|_| SaveError::Ended)?;
            self.shared.change(open, |record| record.active_at = record.active_at.max(now))?;
            let is_retiring = open.sealed_by.is_some_and(|kid| self.sealer.is_retiring(kid, now));
            if is_retiring || open.is_cookie_outdated { self.cookie(open, now).await.map(Some) } else { Ok(None) }
        })
    }

    fn save_tokens<'a>(
        &'a self,
        _lock: &'a RefreshLock,
        open: &'a OpenSession,
        new: NewTokens,
        _now: u64,
    ) -> StoreFuture<'a, Result<(), SaveError>> {
        Box::pin(async move {
            self.check(&open.session).map_err(|_| SaveError::Ended)?;
            self.shared.change(open, |record| {
                if record.generation != open.session.generation {
                    return Err(SaveError::Superseded);
                }
                record.generation += 1;
                record.refresh_token = new.refresh_token.map(Token::from).or_else(|| record.refresh_token.take());
                if let Some(token) = new.access_token {
                    record.put_access_token(token);
                }
                Ok(())
            })?
        })
    }

    fn lock_refresh<'a>(&'a self, open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>> {
        Box::pin(async move {
            let handle = handle(&open.session);
            loop {
                if self.shared.record(&handle).map_err(LockError::Load)?.generation > open.session.generation {
                    return Ok(None);
                }
                let lock = Arc::clone(self.shared.locks.lock().unwrap().entry(handle).or_default());
                // Held as long as a guard holds one more reference.
                if Arc::strong_count(&lock) == 2 {
                    self.shared.locked.fetch_add(1, Ordering::SeqCst);
                    return Ok(Some(RefreshLock::new(lock, Some(Instant::now() + LOCK))));
                }
                drop(lock);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    fn end<'a>(
        &'a self,
        session: &'a SessionKey,
        reason: EndReason,
        now: u64,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(async move {
            self.ended.insert(session, reason, now);
            self.shared.reach()?;
            let mut records = self.shared.records.lock().unwrap();
            records
                .retain(|_, Record { session: of, .. }| session.id != Some(of.id) && session.hash != Some(of.hash()));
            Ok(())
        })
    }

    fn has_index(&self) -> bool {
        true
    }

    fn list<'a>(&'a self, whose: &'a Whose, _now: u64) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>> {
        Box::pin(async move {
            self.shared.reach()?;
            let records = self.shared.records.lock().unwrap();
            Ok(records.values().filter(|record| record.is_of(whose)).map(Record::listed).collect())
        })
    }

    fn end_all<'a>(
        &'a self,
        whose: &'a Whose,
        except: Option<SessionHash>,
        now: u64,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>> {
        Box::pin(async move {
            self.shared.reach()?;
            if self.shared.end_all_fails.load(Ordering::SeqCst) {
                return Err(IndexError::StoreUnavailable);
            }
            let mut ended = Vec::new();
            self.shared.records.lock().unwrap().retain(|_, record| {
                let hash = record.session.hash();
                let is_kept = except == Some(hash) || !record.is_of(whose);
                if !is_kept {
                    let key = SessionKey { id: None, hash: Some(hash), expires_at: record.expires_at };
                    self.ended.insert(&key, EndReason::FromElsewhere, now);
                    ended.push(hash);
                }
                is_kept
            });
            Ok(ended)
        })
    }

    fn is_recorded<'a>(&'a self, token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>> {
        Box::pin(async move {
            self.shared.reach()?;
            Ok(self.shared.logout_tokens.lock().unwrap().contains(token))
        })
    }

    fn record<'a>(
        &'a self,
        token: &'a LogoutTokenId,
        _until: u64,
        _now: u64,
    ) -> StoreFuture<'a, Result<(), IndexError>> {
        Box::pin(async move {
            self.shared.reach()?;
            self.shared.logout_tokens.lock().unwrap().insert(token.clone());
            Ok(())
        })
    }

    fn ended_here(&self, session: &Session) -> Option<EndReason> {
        self.ended.get(session)
    }
}
