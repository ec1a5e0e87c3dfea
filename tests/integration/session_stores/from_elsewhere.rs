//! Sessions that are listed, and ended without their cookie, through the service (contract section 16).

use std::sync::Arc;
use std::time::Duration;

use cloakroom::secret::Key32;
use cloakroom::session::payload::{Session, User};
use cloakroom::session::store::{IndexError, LogoutTokenId, Whose};
use cloakroom::session::{Limits, OpenSession, Sessions};

use super::places::{CookiePlace, Instance, NOW, Place, SharedPlace};
use super::rules::{ISSUER, OTHER_ISSUER};

const IDLE: u64 = 1_800;

/// An instance over a place that all of them share.
struct Gateway {
    instance: Instance,
    sessions: Sessions,
}

impl Gateway {
    async fn new(place: &dyn Place) -> Self {
        let instance = Instance::new(place).await;
        let seconds = Duration::from_secs;
        let limits = Limits { idle: seconds(IDLE), max: seconds(28_800), clock_skew: seconds(300) };
        let sessions = instance.sessions(Arc::default(), limits);
        Self { instance, sessions }
    }

    async fn sign_in_at(&self, issuer: &str, user: &str, now: u64) -> OpenSession {
        let user = User { sub: user.to_owned(), ..User::default() };
        let (issuer, handle) = (Some(issuer.to_owned()), Some(Key32::random()));
        let new = Session { issuer, handle, ..Session::new(rand::random(), user, now) };
        let new = self.sessions.begin(new, &self.sessions.known_revocations(), now);
        let cookie = self.instance.store.create(&new, now).await.unwrap();
        self.instance.load(&cookie, now).await.unwrap()
    }

    async fn sign_in(&self, user: &str, now: u64) -> OpenSession {
        self.sign_in_at(ISSUER, user, now).await
    }

    async fn is_there(&self, open: &OpenSession) -> bool {
        self.instance.store.reload(open, NOW).await.is_ok()
    }
}

fn ada() -> Whose {
    Whose::Subject { issuer: ISSUER.to_owned(), sub: "ada".to_owned() }
}

/// Contract 16.1.
#[tokio::test(start_paused = true)]
async fn a_user_sees_own_sessions_newest_first_and_no_expired_ones() {
    let place = SharedPlace::default();
    let (here, there) = (Gateway::new(&place).await, Gateway::new(&place).await);
    let oldest = here.sign_in("ada", NOW - 1_000).await;
    let newest = here.sign_in("ada", NOW).await;
    let older = there.sign_in("ada", NOW - 10).await;
    let _idle = there.sign_in("ada", NOW - IDLE).await;
    let _of_another = here.sign_in("grace", NOW).await;
    let _at_another_provider = here.sign_in_at(OTHER_ISSUER, "ada", NOW).await;
    let listed = here.sessions.list_own(&older, NOW).await.unwrap();
    let hashes: Vec<_> = listed.iter().map(|session| session.hash).collect();
    assert_eq!(hashes, [&newest, &older, &oldest].map(|open| open.session.hash()));
    here.instance.revoke(&format!(r#"{{"users": {{"ada": {}}}}}"#, NOW - 10)).await;
    let listed = here.sessions.list_own(&newest, NOW).await.unwrap();
    let hashes: Vec<_> = listed.iter().map(|session| session.hash).collect();
    assert_eq!(hashes, [newest.session.hash()], "the others were revoked");
}

/// Contract 16.3: the same result for another user's session and for an unknown one.
#[tokio::test(start_paused = true)]
async fn a_user_ends_no_session_of_another_user() {
    let place = SharedPlace::default();
    let gateway = Gateway::new(&place).await;
    let (own, other) = (gateway.sign_in("ada", NOW).await, gateway.sign_in("ada", NOW).await);
    let of_another = gateway.sign_in("grace", NOW).await;
    let at_another_provider = gateway.sign_in_at(OTHER_ISSUER, "ada", NOW).await;
    for hash in [of_another.session.hash(), at_another_provider.session.hash(), [7; 32]] {
        assert_eq!(gateway.sessions.end_own(&own, hash, NOW).await, Ok(false));
    }
    assert!(gateway.is_there(&of_another).await && gateway.is_there(&at_another_provider).await);
    assert_eq!(gateway.sessions.end_own(&own, other.session.hash(), NOW).await, Ok(true));
    assert_eq!(gateway.sessions.end_own(&own, other.session.hash(), NOW).await, Ok(false), "it has ended");
    assert!(!gateway.is_there(&other).await && gateway.is_there(&own).await);
}

/// Contract 16.3.
#[tokio::test(start_paused = true)]
async fn a_user_ends_all_own_sessions_but_the_current_one() {
    let place = SharedPlace::default();
    let gateway = Gateway::new(&place).await;
    let own = gateway.sign_in("ada", NOW).await;
    let others = [gateway.sign_in("ada", NOW).await, gateway.sign_in("ada", NOW).await];
    let of_another = gateway.sign_in("grace", NOW).await;
    assert_eq!(gateway.sessions.end_others(&own, NOW).await, Ok(2));
    assert_eq!(gateway.sessions.end_others(&own, NOW).await, Ok(0));
    assert!(gateway.is_there(&own).await && gateway.is_there(&of_another).await);
    for other in &others {
        assert!(!gateway.is_there(other).await);
    }
}

/// Contract 10.21.
#[tokio::test(start_paused = true)]
async fn responses_of_this_instance_see_an_end_from_elsewhere() {
    let place = SharedPlace::default();
    let gateway = Gateway::new(&place).await;
    let before = gateway.sessions.end_count();
    let (ada, grace) = (gateway.sign_in("ada", NOW).await, gateway.sign_in("grace", NOW).await);
    let watch = |open: &OpenSession| gateway.sessions.watch(open.session.clone(), before);
    let (mut of_ada, mut of_grace) = (watch(&ada), watch(&grace));
    assert_eq!(gateway.sessions.end_all(&self::ada(), NOW).await, Ok(1));
    assert!(of_ada.has_ended() && !of_grace.has_ended());
}

/// Contract 16.8: a token counts once, but one whose sessions could not be ended can be sent again.
#[tokio::test(start_paused = true)]
async fn a_logout_token_counts_once() {
    let place = SharedPlace::default();
    let (here, there) = (Gateway::new(&place).await, Gateway::new(&place).await);
    let token = LogoutTokenId { issuer: ISSUER.to_owned(), jti: "1".to_owned() };
    let _first = here.sign_in("ada", NOW).await;
    place.0.let_end_all_fail(true);
    let outcome = here.sessions.end_by_token(&ada(), &token, NOW + 60, NOW).await;
    assert_eq!(outcome, Err(IndexError::StoreUnavailable));
    place.0.let_end_all_fail(false);
    assert_eq!(there.sessions.end_by_token(&ada(), &token, NOW + 60, NOW).await, Ok(1));
    let later = here.sign_in("ada", NOW).await;
    assert_eq!(here.sessions.end_by_token(&ada(), &token, NOW + 60, NOW).await, Ok(0));
    assert!(here.is_there(&later).await);
}

#[tokio::test(start_paused = true)]
async fn the_cookie_store_supports_none_of_it() {
    let gateway = Gateway::new(&CookiePlace).await;
    let open = gateway.sign_in("ada", NOW).await;
    assert_eq!(gateway.sessions.list_own(&open, NOW).await, Err(IndexError::Unsupported));
    assert_eq!(gateway.sessions.end_own(&open, open.session.hash(), NOW).await, Err(IndexError::Unsupported));
    assert_eq!(gateway.sessions.end_others(&open, NOW).await, Err(IndexError::Unsupported));
}
