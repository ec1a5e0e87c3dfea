//! What the service does when a store does not respond.

use std::time::Duration;

use http::header::COOKIE;

use super::*;
use crate::error::Error;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::keyring::{KeySource, Ring};
use crate::secret::Key32;
use crate::session::cookie::{Persistence, SameSite, Settings};
use crate::session::handle::Handle;
use crate::session::payload::User;
use crate::session::store::{IndexError, ListedSession, LoadError, LockError, LogoutTokenId, StoreFuture, Whose};
use crate::telemetry::captured_log::Capture;

const NAME: &str = "__Host-Http-x";
const NOW: UnixSeconds = 1_000;

/// A store that does not respond.
#[derive(Debug)]
struct Down;

fn down<'a, T: Send + 'a, E: Send + 'a>(error: E) -> StoreFuture<'a, Result<T, E>> {
    Box::pin(async { Err(error) })
}

impl SessionStore for Down {
    fn load<'a>(&'a self, _cookie: &'a Opened, _now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        down(LoadError::StoreUnavailable)
    }

    fn reload<'a>(&'a self, _open: &'a OpenSession, _now: u64) -> StoreFuture<'a, Result<OpenSession, LoadError>> {
        down(LoadError::StoreUnavailable)
    }

    fn create<'a>(&'a self, _new: &'a OpenSession, _now: u64) -> StoreFuture<'a, Result<String, SaveError>> {
        down(SaveError::StoreUnavailable)
    }

    fn touch<'a>(&'a self, _open: &'a OpenSession, _now: u64) -> StoreFuture<'a, Result<Option<String>, SaveError>> {
        down(SaveError::StoreUnavailable)
    }

    fn save_tokens<'a>(
        &'a self,
        _lock: &'a RefreshLock,
        _open: &'a OpenSession,
        _new: NewTokens,
        _now: u64,
    ) -> StoreFuture<'a, Result<(), SaveError>> {
        down(SaveError::StoreUnavailable)
    }

    fn lock_refresh<'a>(&'a self, _open: &'a OpenSession) -> StoreFuture<'a, Result<Option<RefreshLock>, LockError>> {
        down(LockError::Load(LoadError::StoreUnavailable))
    }

    fn end<'a>(
        &'a self,
        _session: &'a SessionKey,
        _reason: EndReason,
        _now: u64,
    ) -> StoreFuture<'a, Result<(), StoreUnavailable>> {
        down(StoreUnavailable)
    }

    fn has_index(&self) -> bool {
        true
    }

    fn list<'a>(&'a self, _whose: &'a Whose, _now: u64) -> StoreFuture<'a, Result<Vec<ListedSession>, IndexError>> {
        down(IndexError::StoreUnavailable)
    }

    fn end_all<'a>(
        &'a self,
        _whose: &'a Whose,
        _except: Option<SessionHash>,
        _now: u64,
    ) -> StoreFuture<'a, Result<Vec<SessionHash>, IndexError>> {
        down(IndexError::StoreUnavailable)
    }

    fn is_recorded<'a>(&'a self, _token: &'a LogoutTokenId) -> StoreFuture<'a, Result<bool, IndexError>> {
        down(IndexError::StoreUnavailable)
    }

    fn record<'a>(
        &'a self,
        _token: &'a LogoutTokenId,
        _until: u64,
        _now: u64,
    ) -> StoreFuture<'a, Result<(), IndexError>> {
        down(IndexError::StoreUnavailable)
    }

    fn ended_here(&self, _session: &Session) -> Option<EndReason> {
        None
    }
}

async fn sessions() -> Sessions {
    let day = Duration::from_secs(86_400);
    let parameters = Parameters { propagation: day, life: day, retention: day };
    let source: Arc<dyn KeySource> = Arc::new(StaticKey::new(&Key32::new([7; 32])));
    let revocations = RevocationCache::new(Arc::clone(&source), 300, day);
    let ring = Ring::new(source, parameters, day);
    tokio::join!(ring.refresh(NOW), revocations.refresh(NOW));
    let cookies = SessionCookies::new(Settings {
        name: NAME.to_owned(),
        domain: None,
        same_site: SameSite::Strict,
        login_same_site: SameSite::Lax,
        budget: 7_000,
        persistence: Persistence::Off,
    });
    let limits = Limits { idle: day, max: day, clock_skew: day };
    let sealer = Arc::new(Sealer::new(ring, "app".to_owned(), 300));
    Sessions::new(sealer, cookies, limits, Configured::with(Arc::default()), Arc::new(Down), revocations)
}

/// Contract 15.12: 503, never 401, and the cookie is kept.
#[tokio::test]
async fn a_store_that_does_not_respond_signs_no_user_out() {
    let sessions = sessions().await;
    let sealed = sessions.seal(Purpose::Session, NAME, NOW + 1, NOW, b"a handle").await.unwrap();
    let cookie = HeaderValue::from_str(&format!("{NAME}={sealed}")).unwrap();
    let error = sessions.open(&HeaderMap::from_iter([(COOKIE, cookie)]), NOW).await.unwrap_err();
    assert_eq!(Error::from(error), Error::StoreUnavailable);
    let open = sessions.begin(Session::new([1; 16], User::default(), NOW), &sessions.known_revocations(), NOW);
    assert_eq!(sessions.start(&open, NOW, Instant::now()).await, Err(WriteError::StoreUnavailable));
    assert!(!sessions.has_newer_tokens(&open, NOW));
}

/// Contract 15.9, 15.11: a sign-in starts, and a sign-out ends the session here, by the cookie alone.
#[tokio::test]
async fn a_stored_session_is_identified_without_the_store() {
    let sessions = sessions().await;
    let handle = Handle { secret: Key32::new([8; 32]), id: [5; 16], signed_in_at: NOW, persists: Some([3; 12]) };
    let sealed = sessions.seal(Purpose::Session, NAME, NOW + 100, NOW, &handle.encode()).await.unwrap();
    let cookie = HeaderValue::from_str(&format!("{NAME}={sealed}")).unwrap();
    let session = sessions.identify(&HeaderMap::from_iter([(COOKIE, cookie)]), NOW).await.unwrap();
    let key = SessionKey { id: Some([5; 16]), hash: Some(handle.hash()), expires_at: NOW + 100 };
    assert_eq!(session, Identified { key, persists: Some([3; 12]) });
    assert_eq!(sessions.identify(&HeaderMap::new(), NOW).await, Err(OpenError::Missing));
}

#[tokio::test]
async fn a_cookie_that_was_not_written_and_a_session_that_was_not_ended_are_logged() {
    let (sessions, capture) = (sessions().await, Capture::start());
    let open = sessions.begin(Session::new([1; 16], User::default(), NOW), &sessions.known_revocations(), NOW);
    assert!(sessions.write_or_log(&open, NOW, Instant::now()).await.is_empty());
    assert!(capture.text().contains("WARN") && capture.text().contains("cookie was not written"));
    sessions.end(&open.key(), NOW).await;
    assert!(capture.text().contains("ERROR") && capture.text().contains("sign_out_incomplete"));
}
