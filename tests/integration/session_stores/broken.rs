//! A correct store with one rule broken.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom::secret::ExposeSecret;
use cloakroom::session::OpenSession;
use cloakroom::session::companion::SessionHash;
use cloakroom::session::payload::{Session, SessionId, User};
use cloakroom::session::seal::Opened;
use cloakroom::session::sealer::Sealer;
use cloakroom::session::store::{
    EndReason, IndexError, ListedSession, LoadError, LockError, LogoutTokenId, NewTokens, RefreshLock, SaveError,
    SessionKey, SessionStore, StoreFuture, StoreUnavailable, Whose,
};
use cloakroom::session::user_agent::UserAgent;

use super::places::{Place, ROTATED, SharedPlace};
use super::rules::{ISSUER, NO_SESSION, OTHER_ISSUER, Rule};

/// Where every store breaks one rule.
pub struct BrokenPlace {
    inner: SharedPlace,
    rule: Rule,
}

impl BrokenPlace {
    pub fn new(rule: Rule) -> Self {
        Self { inner: SharedPlace::default(), rule }
    }
}

impl Place for BrokenPlace {
    fn store(&self, sealer: &Arc<Sealer>) -> Arc<dyn SessionStore> {
        let (inner, rule) = (self.inner.store(sealer), self.rule);
        Arc::new(Broken { inner, rule, seen: Mutex::default(), lock: Arc::default() })
    }

    fn has_index(&self) -> bool {
        self.inner.has_index()
    }

    fn set_down(&self, is_down: bool) -> bool {
        self.inner.set_down(is_down)
    }
}

struct Broken {
    inner: Arc<dyn SessionStore>,
    rule: Rule,
    seen: Mutex<Seen>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

/// What a broken store must know of the sessions.
#[derive(Default)]
struct Seen {
    created: Vec<SessionKey>,
    /// By the payload of the cookie.
    loaded: HashMap<Vec<u8>, OpenSession>,
    ended: Vec<(SessionKey, EndReason)>,
    ended_from_elsewhere: Vec<SessionHash>,
    touched_at: HashMap<SessionId, u64>,
    tokens: Vec<String>,
}

impl Seen {
    /// The session of a cookie that was loaded before it ended for this reason.
    fn loaded_before(&self, cookie: &Opened, reason: EndReason) -> Option<OpenSession> {
        let open = self.loaded.get(cookie.payload())?;
        let names = |key: &SessionKey| key.id == Some(open.session.id) || key.hash == Some(open.session.hash());
        self.ended.iter().any(|(key, of)| *of == reason && names(key)).then(|| open.clone())
    }
}

/// Gives a lock back later than it should.
struct Late(Option<RefreshLock>);

impl Drop for Late {
    fn drop(&mut self) {
        let lock = self.0.take();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(lock);
        });
    }
}

impl Broken {
    fn breaks(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }

    fn alter_loaded(&self, cookie: &Opened, loaded: Result<OpenSession, LoadError>) -> Result<OpenSession, LoadError> {
        match loaded {
            Ok(mut open) => {
                let id = open.session.id;
                match self.rule {
                    Rule::SessionsAreLoadedAsTheyWere => open.session.user.claims.roles.clear(),
                    Rule::GenerationsRise => open.session.generation = open.session.generation.min(1),
                    Rule::ActivityNeverGoesBack => {
                        let touched_at = self.seen(|seen| seen.touched_at.get(&id).copied());
                        open.session.active_at = touched_at.unwrap_or(open.session.active_at);
                    }
                    _ => {}
                }
                self.seen(|seen| seen.loaded.insert(cookie.payload().to_vec(), open.clone()));
                Ok(open)
            }
            Err(LoadError::Ended) if self.breaks(Rule::EndedSessionsAreNotLoaded) => {
                self.seen(|seen| seen.loaded_before(cookie, EndReason::SignedOut)).ok_or(LoadError::Ended)
            }
            Err(LoadError::Ended) if self.breaks(Rule::ReplacedSessionsAreNotLoaded) => {
                self.seen(|seen| seen.loaded_before(cookie, EndReason::Replaced)).ok_or(LoadError::Ended)
            }
            Err(LoadError::Expired) if self.breaks(Rule::OnlySessionsAreLoaded) && cookie.payload() == NO_SESSION => {
                Ok(OpenSession::new(Session::new([0; 16], User::default(), 0), cookie.times.expires_at))
            }
            Err(LoadError::StoreUnavailable) if self.breaks(Rule::OutagesAreReported) => Err(LoadError::Expired),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broken").field("tokens", &self.seen(|seen| seen.tokens.clone())).finish()
    }
}

impl SessionStore for Broken {
    fn load<'a>(&'a self, cookie: &'a Opened, now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move { self.alter_loaded(cookie, self.inner.load(cookie, now).await) })
    }

    fn reload<'a>(&'a self, open: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        Box::pin(async move {
            let newest = self.inner.reload(open, now).await?;
            Ok(if self.breaks(Rule::ReloadGivesTheNewestState) { open.clone() } else { newest })
        })
    }

    fn create<'a>(&'a self, new: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<String, SaveError>> {
        Box::pin(async move {
            let mut new = new.clone();
            if self.breaks(Rule::LargeTokensAreKept) {
                new.session.access_tokens.retain(|held| held.token.expose_secret().len() < 4_000);
            }
            if self.breaks(Rule::RepeatedCallbacksResetNothing)
                && self.seen(|seen| seen.created.contains(&new.key()))
                && let Ok(newest) = self.inner.reload(&new, now).await
            {
                let tokens = NewTokens {
                    refresh_token: new.session.refresh_token.as_deref().cloned(),
                    access_token: None,
                    id_token: None,
                };
                self.inner.save_tokens(&RefreshLock::new((), None), &newest, tokens, now).await?;
            }
            match self.inner.create(&new, now).await {
                Err(SaveError::KeysUnavailable) if self.breaks(Rule::MissingKeysAreReported) => Err(SaveError::Ended),
                Err(SaveError::TooLarge) if self.breaks(Rule::TooLargeSessionsAreRejected) => Ok(String::new()),
                created => {
                    self.seen(|seen| seen.created.push(new.key()));
                    created
                }
            }
        })
    }

    fn touch<'a>(&'a self, open: &'a OpenSession, now: u64) -> StoreFuture<'a, Result<Option<String>, SaveError>> {
        Box::pin(async move {
            self.seen(|seen| seen.touched_at.insert(open.session.id, now));
            let is_lost = self.breaks(Rule::ActivityIsStored) && now < ROTATED;
            let at = if is_lost { open.session.active_at } else { now };
            let is_written = self.breaks(Rule::ReplacedSessionsAreNotWritten);
            let touched = match self.inner.touch(open, at).await {
                Err(SaveError::Ended) if is_written && self.ended_here(&open.session) == Some(EndReason::Replaced) => {
                    return Ok(None);
                }
                touched => touched?,
            };
            if self.breaks(Rule::StaleTouchesKeepNewTokens)
                && let Ok(newest) = self.inner.reload(open, now).await
            {
                let tokens = NewTokens {
                    refresh_token: open.session.refresh_token.as_deref().cloned(),
                    access_token: None,
                    id_token: None,
                };
                self.inner.save_tokens(&RefreshLock::new((), None), &newest, tokens, now).await?;
            }
            let is_kept = match self.rule {
                Rule::OutdatedCookiesAreWritten => !open.is_cookie_outdated,
                Rule::RetiringKeysAreReplaced => now < ROTATED,
                _ => true,
            };
            Ok(touched.filter(|_| is_kept))
        })
    }

    fn save_tokens<'a>(
        &'a self,
        lock: &'a RefreshLock,
        open: &'a OpenSession,
        mut new: NewTokens,
        now: u64,
    ) -> StoreFuture<'a, Result<(), SaveError>> {
        Box::pin(async move {
            if self.breaks(Rule::DebugShowsNoToken) {
                self.seen(|seen| seen.tokens.extend(new.refresh_token.iter().map(|it| it.expose_secret().to_owned())));
            }
            if self.breaks(Rule::TokensAreStored) {
                new.access_token = None;
            }
            match self.inner.save_tokens(lock, open, new.clone(), now).await {
                Err(SaveError::Superseded) if self.breaks(Rule::StaleSavesAreRejected) => {
                    let newest = self.inner.reload(open, now).await.unwrap();
                    self.inner.save_tokens(lock, &newest, new, now).await
                }
                Err(SaveError::Ended)
                    if self.breaks(Rule::EndedSessionsAreNotStored)
                        && self.ended_here(&open.session) == Some(EndReason::SignedOut) =>
                {
                    Ok(())
                }
                saved => saved,
            }
        })
    }

    fn lock_refresh<'a>(&'a self, open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>> {
        Box::pin(async move {
            if self.breaks(Rule::LockExcludesOthers) {
                return Ok(Some(RefreshLock::new((), None)));
            }
            let lock = self.inner.lock_refresh(open).await?;
            Ok(match self.rule {
                Rule::LockIsForOneSession => {
                    let guard = Arc::clone(&self.lock).lock_owned().await;
                    lock.map(|lock| RefreshLock::new((lock, guard), None))
                }
                Rule::LockIsFreeWhenDropped => lock.map(|lock| RefreshLock::new(Late(Some(lock)), None)),
                _ => lock,
            })
        })
    }

    fn end<'a>(
        &'a self,
        session: &'a SessionKey,
        reason: EndReason,
        now: u64,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>> {
        Box::pin(async move {
            self.seen(|seen| seen.ended.push((*session, reason)));
            if self.breaks(Rule::EndingOneEndsNoOther) {
                for other in self.seen(|seen| seen.created.clone()) {
                    self.inner.end(&other, reason, now).await?;
                }
            }
            self.inner.end(session, reason, now).await
        })
    }

    fn has_index(&self) -> bool {
        self.inner.has_index()
    }

    fn list<'a>(&'a self, whose: &'a Whose, now: u64) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>> {
        Box::pin(async move {
            let mut listed = self.inner.list(whose, now).await?;
            if self.breaks(Rule::ListsSessions) {
                listed.iter_mut().for_each(|session| session.user_agent = UserAgent::unknown());
            }
            Ok(listed)
        })
    }

    fn end_all<'a>(
        &'a self,
        whose: &'a Whose,
        except: Option<SessionHash>,
        now: u64,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>> {
        Box::pin(async move {
            let ended = match (self.rule, whose) {
                (Rule::EndsAllSessions, Whose::Everyone)
                | (Rule::EndsOneSession, Whose::One(_))
                | (Rule::EndsSessionsOfAProviderSession, Whose::ProviderSession { .. })
                | (Rule::EndsSessionsOfAUser, Whose::ObjectId { .. }) => Vec::new(),
                (Rule::EndsSessionsOfNoOtherIssuer, Whose::Subject { sub, .. }) => {
                    let of = |issuer: &str| Whose::Subject { issuer: issuer.to_owned(), sub: sub.clone() };
                    self.inner.end_all(&of(OTHER_ISSUER), except, now).await?;
                    self.inner.end_all(&of(ISSUER), except, now).await?
                }
                (Rule::EndsAllButOne, _) => self.inner.end_all(whose, None, now).await?,
                _ => self.inner.end_all(whose, except, now).await?,
            };
            self.seen(|seen| seen.ended_from_elsewhere.extend(&ended));
            Ok(ended)
        })
    }

    fn is_recorded<'a>(&'a self, token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>> {
        Box::pin(async move {
            let is_recorded = self.inner.is_recorded(token).await?;
            Ok(is_recorded && !self.breaks(Rule::LogoutTokensAreRecorded))
        })
    }

    fn record<'a>(&'a self, token: &'a LogoutTokenId, until: u64, now: u64) -> StoreFuture<'a, Result<(), IndexError>> {
        self.inner.record(token, until, now)
    }

    fn ended_here(&self, session: &Session) -> Option<EndReason> {
        let is_missed = self.breaks(Rule::EndsFromElsewhereAreNoted)
            && self.seen(|seen| seen.ended_from_elsewhere.contains(&session.hash()));
        self.inner.ended_here(session).filter(|_| !is_missed)
    }
}
