//! What every store must do, each rule as a test of its own.

mod index;

use std::time::Duration;

use cloakroom::secret::{ExposeSecret, Key32, SecretString};
use cloakroom::session::OpenSession;
use cloakroom::session::payload::{AccessToken, Claims, Session, User};
use cloakroom::session::store::{
    EndReason, LoadError, NewTokens, RefreshLock, SaveError, SessionKey, StoreUnavailable, Whose,
};
use tokio::time::timeout;

use super::places::{Instance, NOW, Place, ROTATED};

pub const ISSUER: &str = "https://provider.example";
pub const OTHER_ISSUER: &str = "https://other.example";
/// A payload that is no session of any store.
pub const NO_SESSION: &[u8] = b"\x01no session";

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    ActivityIsStored,
    ActivityNeverGoesBack,
    DebugShowsNoToken,
    EndedSessionsAreNotLoaded,
    EndedSessionsAreNotStored,
    EndingOneEndsNoOther,
    EndsAllButOne,
    EndsAllSessions,
    EndsFromElsewhereAreNoted,
    EndsOneSession,
    EndsSessionsOfAProviderSession,
    EndsSessionsOfAUser,
    EndsSessionsOfNoOtherIssuer,
    GenerationsRise,
    LargeTokensAreKept,
    ListsSessions,
    LockExcludesOthers,
    LockIsFreeWhenDropped,
    LockIsForOneSession,
    LogoutTokensAreRecorded,
    MissingKeysAreReported,
    OnlySessionsAreLoaded,
    OutagesAreReported,
    OutdatedCookiesAreWritten,
    ReloadGivesTheNewestState,
    RepeatedCallbacksResetNothing,
    ReplacedSessionsAreNotLoaded,
    ReplacedSessionsAreNotWritten,
    RetiringKeysAreReplaced,
    SessionsAreLoadedAsTheyWere,
    StaleSavesAreRejected,
    StaleTouchesKeepNewTokens,
    TokensAreStored,
    TooLargeSessionsAreRejected,
}

impl Rule {
    pub const ALL: [Self; 34] = [
        Self::ActivityIsStored,
        Self::ActivityNeverGoesBack,
        Self::DebugShowsNoToken,
        Self::EndedSessionsAreNotLoaded,
        Self::EndedSessionsAreNotStored,
        Self::EndingOneEndsNoOther,
        Self::EndsAllButOne,
        Self::EndsAllSessions,
        Self::EndsFromElsewhereAreNoted,
        Self::EndsOneSession,
        Self::EndsSessionsOfAProviderSession,
        Self::EndsSessionsOfAUser,
        Self::EndsSessionsOfNoOtherIssuer,
        Self::GenerationsRise,
        Self::LargeTokensAreKept,
        Self::ListsSessions,
        Self::LockExcludesOthers,
        Self::LockIsFreeWhenDropped,
        Self::LockIsForOneSession,
        Self::LogoutTokensAreRecorded,
        Self::MissingKeysAreReported,
        Self::OnlySessionsAreLoaded,
        Self::OutagesAreReported,
        Self::OutdatedCookiesAreWritten,
        Self::ReloadGivesTheNewestState,
        Self::RepeatedCallbacksResetNothing,
        Self::ReplacedSessionsAreNotLoaded,
        Self::ReplacedSessionsAreNotWritten,
        Self::RetiringKeysAreReplaced,
        Self::SessionsAreLoadedAsTheyWere,
        Self::StaleSavesAreRejected,
        Self::StaleTouchesKeepNewTokens,
        Self::TokensAreStored,
        Self::TooLargeSessionsAreRejected,
    ];

    /// Panics if a store breaks the rule.
    pub async fn check(self, place: &dyn Place) {
        let here = Instance::new(place).await;
        match self {
            Self::ActivityIsStored => activity_is_stored(place, &here).await,
            Self::ActivityNeverGoesBack => activity_never_goes_back(&here).await,
            Self::DebugShowsNoToken => debug_shows_no_token(&here).await,
            Self::EndedSessionsAreNotLoaded => ended_sessions_are_not_loaded(&here).await,
            Self::EndedSessionsAreNotStored => ended_sessions_are_not_stored(&here).await,
            Self::EndingOneEndsNoOther => ending_one_ends_no_other(&here).await,
            Self::EndsAllButOne => index::ends_all_but_one(place, &here).await,
            Self::EndsAllSessions => index::ends_all_sessions(place, &here).await,
            Self::EndsFromElsewhereAreNoted => index::ends_from_elsewhere_are_noted(place, &here).await,
            Self::EndsOneSession => index::ends_one_session(place, &here).await,
            Self::EndsSessionsOfAProviderSession => index::ends_sessions_of_a_provider_session(place, &here).await,
            Self::EndsSessionsOfAUser => index::ends_sessions_of_a_user(place, &here).await,
            Self::EndsSessionsOfNoOtherIssuer => index::ends_sessions_of_no_other_issuer(place, &here).await,
            Self::GenerationsRise => generations_rise(&here).await,
            Self::LargeTokensAreKept => large_tokens_are_kept(&here).await,
            Self::ListsSessions => index::lists_sessions(place, &here).await,
            Self::LockExcludesOthers => lock_excludes_others(&here).await,
            Self::LockIsFreeWhenDropped => lock_is_free_when_dropped(&here).await,
            Self::LockIsForOneSession => lock_is_for_one_session(&here).await,
            Self::LogoutTokensAreRecorded => index::logout_tokens_are_recorded(place, &here).await,
            Self::MissingKeysAreReported => missing_keys_are_reported(place).await,
            Self::OnlySessionsAreLoaded => only_sessions_are_loaded(&here).await,
            Self::OutagesAreReported => outages_are_reported(place, &here).await,
            Self::OutdatedCookiesAreWritten => outdated_cookies_are_written(&here).await,
            Self::ReloadGivesTheNewestState => reload_gives_the_newest_state(&here).await,
            Self::RepeatedCallbacksResetNothing => repeated_callbacks_reset_nothing(&here).await,
            Self::ReplacedSessionsAreNotLoaded => replaced_sessions_are_not_loaded(&here).await,
            Self::ReplacedSessionsAreNotWritten => replaced_sessions_are_not_written(&here).await,
            Self::RetiringKeysAreReplaced => retiring_keys_are_replaced(&here).await,
            Self::SessionsAreLoadedAsTheyWere => sessions_are_loaded_as_they_were(place, &here).await,
            Self::StaleSavesAreRejected => stale_saves_are_rejected(&here).await,
            Self::StaleTouchesKeepNewTokens => stale_touches_keep_new_tokens(place, &here).await,
            Self::TokensAreStored => tokens_are_stored(&here).await,
            Self::TooLargeSessionsAreRejected => too_large_sessions_are_rejected(&here).await,
        }
    }
}

pub fn session() -> Session {
    let claims = Claims { roles: vec!["Reader".to_owned()], provider_sid: Some("sid".to_owned()), ..Claims::default() };
    let (sub, oid) = ("ada".to_owned(), Some("ada-oid".to_owned()));
    let user = User { sub, oid, claims: claims.into(), ..User::default() };
    Session {
        refresh_token: Some("r0".into()),
        access_tokens: vec![access_token("graph", "a0")],
        issuer: Some(ISSUER.to_owned()),
        handle: Some(Key32::random()),
        persist: true,
        ..Session::new(rand::random(), user, NOW)
    }
}

pub fn access_token(api: &str, token: &str) -> AccessToken {
    AccessToken { api: api.to_owned(), token: token.into(), expires_at: NOW + 3_600, life: 3_600, binding: None }
}

pub fn new_tokens(refresh_token: &str, access_token: Option<AccessToken>) -> NewTokens {
    NewTokens { refresh_token: Some(refresh_token.into()), access_token, id_token: None }
}

/// A session that was just stored, with its cookie.
pub async fn stored(here: &Instance, session: Session) -> (OpenSession, String) {
    let new = OpenSession::new(session, NOW + 28_800);
    let cookie = here.store.create(&new, NOW).await.unwrap();
    (here.load(&cookie, NOW).await.unwrap(), cookie)
}

/// The lock of a session, taken as the holder of its newest state.
pub async fn lock(here: &Instance, open: &OpenSession) -> RefreshLock {
    let newest = here.store.reload(open, NOW).await.unwrap();
    here.store.lock_refresh(&newest).await.unwrap().unwrap()
}

/// Stores tokens as the holder of the lock.
pub async fn save(here: &Instance, open: &OpenSession, new: NewTokens, now: u64) -> Result<(), SaveError> {
    let lock = lock(here, open).await;
    here.store.save_tokens(&lock, open, new, now).await
}

pub fn refresh_token(open: &OpenSession) -> &str {
    open.session.refresh_token.as_deref().map_or("", SecretString::expose_secret)
}

pub fn token<'a>(open: &'a OpenSession, api: &str) -> Option<&'a str> {
    open.session.access_token(api, NOW).map(|held| held.token.expose_secret())
}

async fn sessions_are_loaded_as_they_were(place: &dyn Place, here: &Instance) {
    let session = session();
    let (_, cookie) = stored(here, session.clone()).await;
    for instance in [here, &Instance::new(place).await] {
        let open = instance.load(&cookie, NOW + 1).await.unwrap();
        let found = &open.session;
        assert_eq!((found.id, &found.user, &found.issuer), (session.id, &session.user, &session.issuer));
        assert_eq!((found.signed_in_at, found.active_at, open.expires_at), (NOW, NOW, NOW + 28_800));
        assert_eq!((refresh_token(&open), token(&open, "graph")), ("r0", Some("a0")));
        assert_eq!(found.handle.as_ref().map(Key32::expose), session.handle.as_ref().map(Key32::expose));
        assert!(found.persist && open.sealed_by.is_some());
    }
}

/// Contract 5.8, 15.8: what is damaged or unknown is an expired session, never an error.
async fn only_sessions_are_loaded(here: &Instance) {
    for payload in [NO_SESSION, b""] {
        let cookie = here.seal(payload, NOW).await;
        assert_eq!(here.load(&cookie, NOW).await.err(), Some(LoadError::Expired));
    }
}

/// Contract 7.12: a request with a cookie of before the refresh gets the new tokens.
async fn tokens_are_stored(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let new = new_tokens("r1", Some(access_token("orders", "b1")));
    save(here, &open, new, NOW).await.unwrap();
    let newest = here.load(&cookie, NOW + 1).await.unwrap();
    assert_eq!(
        (refresh_token(&newest), token(&newest, "graph"), token(&newest, "orders")),
        ("r1", Some("a0"), Some("b1"))
    );
}

/// Contract 15.5: where another generation is stored, the writer continues with what is stored.
async fn stale_saves_are_rejected(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let lock = lock(here, &open).await;
    here.store.save_tokens(&lock, &open, new_tokens("r1", None), NOW).await.unwrap();
    let stale = here.store.save_tokens(&lock, &open, new_tokens("r2", None), NOW).await;
    assert_eq!(stale, Err(SaveError::Superseded));
    assert_eq!(refresh_token(&here.load(&cookie, NOW).await.unwrap()), "r1");
}

async fn reload_gives_the_newest_state(here: &Instance) {
    let (open, _) = stored(here, session()).await;
    save(here, &open, new_tokens("r1", None), NOW).await.unwrap();
    let newest = here.store.reload(&open, NOW).await.unwrap();
    assert_eq!(refresh_token(&newest), "r1");
    assert_eq!(save(here, &newest, new_tokens("r2", None), NOW).await, Ok(()), "it is the newest state");
}

/// Contract 4.21.
async fn generations_rise(here: &Instance) {
    let (mut open, mut cookie) = stored(here, session()).await;
    for round in 1..4 {
        cookie = touched(here, &open, NOW + round).await.unwrap_or(cookie);
        let after_touch = here.load(&cookie, NOW + round).await.unwrap();
        assert!(after_touch.session.generation >= open.session.generation);
        let newest = here.store.reload(&after_touch, NOW + round).await.unwrap();
        save(here, &newest, new_tokens(&format!("r{round}"), None), NOW + round).await.unwrap();
        cookie = touched(here, &newest, NOW + round).await.unwrap_or(cookie);
        let after_save = here.load(&cookie, NOW + round).await.unwrap();
        assert!(after_save.session.generation > after_touch.session.generation);
        open = after_save;
    }
}

async fn activity_is_stored(place: &dyn Place, here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let cookie = touched(here, &open, NOW + 100).await.unwrap_or(cookie);
    assert_eq!(here.load(&cookie, NOW + 100).await.unwrap().session.active_at, NOW + 100);
    if place.has_index() {
        let listed = here.store.list(&Whose::One(open.session.hash()), NOW + 100).await.unwrap();
        assert_eq!(listed.iter().map(|session| session.active_at).collect::<Vec<_>>(), [NOW + 100]);
    }
}

/// What [`cloakroom::session::store::SessionStore::touch`] returns, once it is stored.
async fn touched(here: &Instance, open: &OpenSession, now: u64) -> Option<String> {
    let cookie = here.store.touch(open, now).await.unwrap();
    here.store.flush().await;
    cookie
}

/// A slow request gets its response after one that was sent later.
async fn activity_never_goes_back(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let cookie = touched(here, &open, NOW + 100).await.unwrap_or(cookie);
    let before = here.load(&cookie, NOW + 100).await.unwrap().session.active_at;
    let cookie = touched(here, &open, NOW + 50).await.unwrap_or(cookie);
    assert!(here.load(&cookie, NOW + 100).await.unwrap().session.active_at >= before);
}

/// Contract 4.23: a slow response writes no older tokens, whatever instance reads what it wrote.
async fn stale_touches_keep_new_tokens(place: &dyn Place, here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    save(here, &open, new_tokens("r1", None), NOW).await.unwrap();
    let cookie = touched(here, &open, NOW + 100).await.unwrap_or(cookie);
    let there = Instance::new(place).await;
    assert_eq!(refresh_token(&there.load(&cookie, NOW + 100).await.unwrap()), "r1");
}

/// A callback may be repeated after the session was used.
async fn repeated_callbacks_reset_nothing(here: &Instance) {
    let new = OpenSession::new(session(), NOW + 28_800);
    let first = here.store.create(&new, NOW).await.unwrap();
    let open = here.load(&first, NOW).await.unwrap();
    save(here, &open, new_tokens("r1", None), NOW).await.unwrap();
    let second = here.store.create(&new, NOW + 1).await.unwrap();
    for cookie in [first, second] {
        assert_eq!(refresh_token(&here.load(&cookie, NOW + 1).await.unwrap()), "r1");
    }
}

/// Contract 4.24.
async fn ended_sessions_are_not_loaded(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    assert_eq!(here.store.ended_here(&open.session), None);
    here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
    assert_eq!(here.load(&cookie, NOW + 1).await.err(), Some(LoadError::Ended));
    assert_eq!(here.store.reload(&open, NOW + 1).await.err(), Some(LoadError::Ended));
    assert_eq!(here.store.ended_here(&open.session), Some(EndReason::SignedOut));
}

/// Contract 4.23, 15.5.
async fn ended_sessions_are_not_stored(here: &Instance) {
    let (open, _) = stored(here, session()).await;
    let lock = lock(here, &open).await;
    here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
    assert_eq!(here.store.touch(&open, NOW + 1).await, Err(SaveError::Ended));
    assert_eq!(here.store.save_tokens(&lock, &open, new_tokens("r1", None), NOW + 1).await, Err(SaveError::Ended));
    assert_eq!(here.store.create(&open, NOW + 1).await, Err(SaveError::Ended));
}

/// The names by which a callback may know the session that it replaces: the ID or the hash (contract 4.22, 4.24a).
fn names(open: &OpenSession) -> [SessionKey; 2] {
    [SessionKey { hash: None, ..open.key() }, SessionKey { id: None, ..open.key() }]
}

/// Contract 4.24.
async fn replaced_sessions_are_not_loaded(here: &Instance) {
    for name in [0, 1] {
        let (open, cookie) = stored(here, session()).await;
        here.store.end(&names(&open)[name], EndReason::Replaced, NOW).await.unwrap();
        assert_eq!(here.load(&cookie, NOW + 1).await.err(), Some(LoadError::Ended), "{name}");
        assert_eq!(here.store.reload(&open, NOW + 1).await.err(), Some(LoadError::Ended), "{name}");
    }
}

/// Contract 4.22, 4.23.
async fn replaced_sessions_are_not_written(here: &Instance) {
    for name in [0, 1] {
        let (open, _) = stored(here, session()).await;
        let lock = lock(here, &open).await;
        here.store.end(&names(&open)[name], EndReason::Replaced, NOW).await.unwrap();
        assert_eq!(here.store.touch(&open, NOW + 1).await, Err(SaveError::Ended), "{name}");
        let saved = here.store.save_tokens(&lock, &open, new_tokens("r1", None), NOW + 1).await;
        assert_eq!(saved, Err(SaveError::Ended), "{name}");
        assert_eq!(here.store.create(&open, NOW + 1).await, Err(SaveError::Ended), "{name}");
        assert_eq!(here.store.ended_here(&open.session), Some(EndReason::Replaced), "{name}");
    }
}

async fn ending_one_ends_no_other(here: &Instance) {
    let (one, _) = stored(here, session()).await;
    let (other, cookie) = stored(here, session()).await;
    here.store.end(&one.key(), EndReason::SignedOut, NOW).await.unwrap();
    assert_eq!(here.store.ended_here(&other.session), None);
    assert_eq!(here.load(&cookie, NOW).await.unwrap().session.id, other.session.id);
}

/// Contract 7.11, 15.10.
async fn lock_excludes_others(here: &Instance) {
    let (open, _) = stored(here, session()).await;
    let held = here.store.lock_refresh(&open).await.unwrap().unwrap();
    let second = timeout(Duration::from_secs(1), here.store.lock_refresh(&open)).await;
    assert!(second.is_err(), "it waits");
    assert!(held.lasts(Duration::from_secs(12)));
}

async fn lock_is_free_when_dropped(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let held = here.store.lock_refresh(&open).await.unwrap().unwrap();
    drop(held);
    let next = timeout(Duration::from_secs(5), here.store.lock_refresh(&open)).await.unwrap().unwrap();
    assert!(next.is_some());
    // A waiter gets either the lock or, if new tokens were stored meanwhile, none.
    let waits = timeout(Duration::from_secs(5), here.store.lock_refresh(&open));
    let saves = async {
        here.store.save_tokens(next.as_ref().unwrap(), &open, new_tokens("r1", None), NOW).await.unwrap();
        drop(next);
    };
    assert!(tokio::join!(waits, saves).0.is_ok());
    assert_eq!(refresh_token(&here.load(&cookie, NOW).await.unwrap()), "r1");
}

async fn lock_is_for_one_session(here: &Instance) {
    let (one, _) = stored(here, session()).await;
    let (other, _) = stored(here, session()).await;
    let _held = here.store.lock_refresh(&one).await.unwrap().unwrap();
    assert!(timeout(Duration::from_secs(1), here.store.lock_refresh(&other)).await.is_ok());
}

/// Contract 5.12: 503, never 401.
async fn missing_keys_are_reported(place: &dyn Place) {
    let here = Instance::without_keys(place).await;
    let new = OpenSession::new(session(), NOW + 28_800);
    assert_eq!(here.store.create(&new, NOW).await, Err(SaveError::KeysUnavailable));
}

/// Contract 15.12: 503, never 401.
async fn outages_are_reported(place: &dyn Place, here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let lock = lock(here, &open).await;
    if !place.set_down(true) {
        return;
    }
    let loaded = here.load(&cookie, NOW).await.err();
    let outcomes = (
        here.store.reload(&open, NOW).await.err(),
        here.store.create(&open, NOW).await.err(),
        here.store.save_tokens(&lock, &open, new_tokens("r1", None), NOW).await.err(),
        here.store.end(&open.key(), EndReason::SignedOut, NOW).await.err(),
    );
    place.set_down(false);
    let (load, save) = (Some(LoadError::StoreUnavailable), Some(SaveError::StoreUnavailable));
    assert_eq!((loaded, outcomes), (load, (load, save, save, Some(StoreUnavailable))));
    let works_again = async {
        let new = OpenSession::new(session(), NOW + 28_800);
        while here.store.create(&new, NOW).await == Err(SaveError::StoreUnavailable) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        here.store.reload(&new, NOW).await.unwrap()
    };
    timeout(Duration::from_secs(30), works_again).await.unwrap();
}

/// Contract 3.11, 15.17.
async fn outdated_cookies_are_written(here: &Instance) {
    let (mut open, _) = stored(here, session()).await;
    open.is_cookie_outdated = true;
    let cookie = touched(here, &open, NOW + 1).await.expect("a cookie");
    assert_eq!(here.load(&cookie, NOW + 1).await.unwrap().session.id, open.session.id);
}

/// Contract 4.16, 15.7.
async fn too_large_sessions_are_rejected(here: &Instance) {
    let huge = Session { refresh_token: Some("r".repeat(1_000_000).into()), ..session() };
    let new = OpenSession::new(huge, NOW + 28_800);
    assert_eq!(here.store.create(&new, NOW).await, Err(SaveError::TooLarge));
}

/// Contract 4.15: what does not fit the cookie is kept by the instance.
async fn large_tokens_are_kept(here: &Instance) {
    let large = "x".repeat(9_000);
    let mut session = session();
    session.put_access_token(access_token("orders", &large));
    let (open, _) = stored(here, session).await;
    assert_eq!((token(&open, "graph"), token(&open, "orders")), (Some("a0"), Some(large.as_str())));
}

/// Contract 6.24, 15.18.
async fn retiring_keys_are_replaced(here: &Instance) {
    let (open, cookie) = stored(here, session()).await;
    let first = here.open(&cookie, NOW).await.kid;
    let cookie = touched(here, &open, ROTATED).await.expect("a cookie under the active key");
    let second = here.open(&cookie, ROTATED).await.kid;
    assert_ne!(first, second);
    assert_eq!(here.load(&cookie, ROTATED).await.unwrap().sealed_by, Some(second));
}

async fn debug_shows_no_token(here: &Instance) {
    let canary = Session { refresh_token: Some("CANARY-0".into()), ..session() };
    let (open, _) = stored(here, canary).await;
    let new = new_tokens("CANARY-1", Some(access_token("graph", "CANARY-2")));
    save(here, &open, new, NOW).await.unwrap();
    let text = format!("{:?}", here.store);
    assert!(!text.contains("CANARY"), "{text}");
}
