//! Sessions in cookies, with what an instance knows beyond them.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use shuttle::future::{block_on, spawn, yield_now};

use super::cookie::CookieStore;
use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::secret::ExposeSecret;
use crate::session::OpenSession;
use crate::session::cookie::{Persistence, SameSite, SessionCookies, Settings};
use crate::session::payload::{AccessToken, Session, User};
use crate::session::sealer::Sealer;
use crate::session::store::{EndReason, NewTokens, SaveError, SessionStore};

const NOW: UnixSeconds = 1_000;
const NAME: &str = "__Host-Http-cloakroom";

/// A store without sessions.
pub(crate) fn store(sealer: &Arc<Sealer>) -> Arc<CookieStore> {
    let settings = Settings {
        name: NAME.to_owned(),
        domain: None,
        same_site: SameSite::Strict,
        login_same_site: SameSite::Lax,
        budget: 7_000,
        persistence: Persistence::Off,
    };
    Arc::new(CookieStore::new(Arc::clone(sealer), SessionCookies::new(settings)))
}

fn open() -> OpenSession {
    let session = Session { refresh_token: Some("0".into()), ..Session::new([1; 16], User::default(), NOW) };
    OpenSession::new(session, 20_000)
}

fn tokens(number: u32) -> NewTokens {
    let (api, token) = ("graph".to_owned(), number.to_string().into());
    let access_token = AccessToken { api, token, expires_at: 9_000, life: 3_600, binding: None };
    let refresh_token = Some(number.to_string().into());
    NewTokens { refresh_token, access_token: Some(access_token), id_token: None }
}

/// The number of a session's refresh token.
fn number(session: &Session) -> u32 {
    let token = session.refresh_token.as_deref().map(ExposeSecret::expose_secret);
    token.and_then(|token| token.parse().ok()).unwrap_or(u32::MAX)
}

/// Each refresh uses the newest refresh token (contract 7.11), and a cookie of a higher generation never holds older
/// tokens (contract 4.22, 4.23). `sealer` has its keys already.
pub fn no_cookie_of_a_higher_generation_has_older_tokens(sealer: &Arc<Sealer>) {
    block_on(async {
        let store = store(sealer);
        let written: Arc<Mutex<Vec<String>>> = Arc::default();
        let refreshes = (0..2).map(|_| {
            let store = Arc::clone(&store);
            spawn(async move {
                let Ok(Some(lock)) = store.lock_refresh(&open()).await else { unreachable!("it is free some time") };
                let Ok(newest) = store.reload(&open(), NOW).await else { unreachable!("it has not ended") };
                let next = number(&newest.session) + 1;
                assert_eq!(store.save_tokens(&lock, &newest, tokens(next), NOW).await, Ok(()));
                next
            })
        });
        let writes = (0..2).map(|_| {
            let (store, written) = (Arc::clone(&store), Arc::clone(&written));
            spawn(async move {
                let Ok(Some(sealed)) = store.touch(&open(), NOW).await else { unreachable!("it has not ended") };
                written.lock().unwrap_or_else(PoisonError::into_inner).push(sealed);
            })
        });
        let (refreshes, writes) = (refreshes.collect::<Vec<_>>(), writes.collect::<Vec<_>>());
        let mut used: Vec<u32> = join_all(refreshes).await.into_iter().flatten().collect();
        used.sort_unstable();
        assert_eq!(used, [1, 2], "a refresh token was used twice");
        join_all(writes).await;
        let written = std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner));
        let mut cookies = Vec::new();
        for sealed in written {
            let Ok(opened) = sealer.unseal(Purpose::Session, NAME, sealed.as_bytes(), NOW).await else { continue };
            cookies.extend(Session::decode(opened.payload()).map(|session| (session.generation, number(&session))));
        }
        cookies.sort_unstable();
        let is_newer =
            |pair: &[(u64, u32)]| matches!(pair, [(first, old), (second, new)] if first < second && old <= new);
        assert!(cookies.len() == 2 && cookies.windows(2).all(is_newer), "{cookies:?}");
    });
}

/// After a sign-out an instance knows no tokens of the session, whatever requests were in flight, and nothing of it is
/// stored or written (contract 4.23).
pub fn nothing_is_left_of_a_session_that_ended(sealer: &Arc<Sealer>) {
    block_on(async {
        let store = store(sealer);
        let refresh = Arc::clone(&store);
        let refresh = spawn(async move {
            let Ok(Some(lock)) = refresh.lock_refresh(&open()).await else { unreachable!("it is free") };
            let saved = refresh.save_tokens(&lock, &open(), tokens(1), NOW).await;
            assert!(matches!(saved, Ok(()) | Err(SaveError::Ended)), "{saved:?}");
        });
        let end = Arc::clone(&store);
        let end = spawn(async move { end.end(&open().key(), EndReason::SignedOut, NOW).await });
        assert!(refresh.await.is_ok() && end.await.is_ok_and(|ended| ended.is_ok()));
        let mut state = format!("{store:?}");
        // The task that removes old tokens has the lock.
        while state.contains("access_tokens: None") {
            yield_now().await;
            state = format!("{store:?}");
        }
        assert!(state.contains("access_tokens: Some(0)"), "{state}");
        assert_eq!(store.touch(&open(), NOW).await, Err(SaveError::Ended));
    });
}
