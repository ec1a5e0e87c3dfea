//! Rules of stores that know which sessions there are; the others must say that they do not.

use std::collections::HashSet;

use cloakroom::session::OpenSession;
use cloakroom::session::payload::Session;
use cloakroom::session::store::{EndReason, IndexError, ListedSession, LoadError, LogoutTokenId, SaveError, Whose};
use cloakroom::session::user_agent::UserAgent;

use super::super::places::{Instance, NOW, Place};
use super::{ISSUER, OTHER_ISSUER, lock, new_tokens, session, stored};

/// Contract 16.8, 16.9.
pub async fn ends_sessions_of_a_provider_session(place: &dyn Place, here: &Instance) {
    let whose = Whose::ProviderSession { issuer: ISSUER.to_owned(), sid: unique() };
    let Whose::ProviderSession { sid, .. } = &whose else { unreachable!() };
    let of_sid = |sid: &str| {
        let mut session = session();
        session.user.claims.provider_sid = Some(sid.to_owned());
        session
    };
    ends(place, here, &whose, [of_sid(sid), of_sid(sid)], [of_sid("another"), of_sid("")]).await;
}

/// Contract 16.4.
pub async fn ends_sessions_of_a_user(place: &dyn Place, here: &Instance) {
    let user = unique();
    let of = |sub: &str, oid: &str| {
        let mut session = session();
        session.user.sub = sub.to_owned();
        session.user.oid = Some(oid.to_owned());
        session
    };
    let subject = Whose::Subject { issuer: ISSUER.to_owned(), sub: user.clone() };
    ends(place, here, &subject, [of(&user, "1"), of(&user, "2")], [of("another", &user), of("", "")]).await;
    let user = unique();
    let object = Whose::ObjectId { issuer: ISSUER.to_owned(), oid: user.clone() };
    let others = [of(&user, "another"), of("", "")];
    ends(place, here, &object, [of("1", &user), of("2", &user)], others).await;
}

/// Contract 15.4: a `sub` means something at its issuer only.
pub async fn ends_sessions_of_no_other_issuer(place: &dyn Place, here: &Instance) {
    let user = unique();
    let of = |issuer: &str| {
        let mut session = Session { issuer: Some(issuer.to_owned()), ..session() };
        session.user.sub.clone_from(&user);
        session
    };
    let whose = Whose::Subject { issuer: ISSUER.to_owned(), sub: user.clone() };
    if place.has_index() {
        let (kept, cookie) = stored(here, of(OTHER_ISSUER)).await;
        here.store.end_all(&whose, None, NOW).await.unwrap();
        assert_eq!(here.load(&cookie, NOW).await.unwrap().session.id, kept.session.id);
    }
}

/// A value that no other rule uses, since all share one place.
fn unique() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Whether exactly these sessions are ended, or none where the store does not know its sessions.
async fn ends(place: &dyn Place, here: &Instance, whose: &Whose, ended: [Session; 2], kept: [Session; 2]) {
    let hashes = ended.each_ref().map(Session::hash);
    let mut cookies = Vec::new();
    for session in ended.into_iter().chain(kept) {
        cookies.push(stored(here, session).await.1);
    }
    let outcome = here.store.end_all(whose, None, NOW).await;
    if !place.has_index() {
        assert_eq!(outcome, Err(IndexError::Unsupported));
        return;
    }
    assert_eq!(outcome.unwrap().into_iter().collect::<HashSet<_>>(), HashSet::from(hashes));
    let mut loaded = Vec::new();
    for cookie in &cookies {
        loaded.push(here.load(cookie, NOW).await.is_ok());
    }
    assert_eq!(loaded, [false, false, true, true]);
}

/// A session of a user, and [`Whose`] names all of that user.
fn session_of(user: &str) -> (Session, Whose) {
    let mut session = session();
    session.user.sub = user.to_owned();
    (session, Whose::Subject { issuer: ISSUER.to_owned(), sub: user.to_owned() })
}

/// Contract 16.1, 16.2.
pub async fn lists_sessions(place: &dyn Place, here: &Instance) {
    let user = unique();
    let (session, whose) = session_of(&user);
    assert_eq!(here.store.has_index(), place.has_index());
    if !place.has_index() {
        assert_eq!(here.store.list(&whose, NOW).await, Err(IndexError::Unsupported));
        return;
    }
    let user_agent = UserAgent::parse(b"Browser/1");
    let mut new = OpenSession::new(session, NOW + 28_800);
    new.user_agent = user_agent.clone();
    let cookie = here.store.create(&new, NOW).await.unwrap();
    let (other, _) = stored(here, Session { issuer: Some(OTHER_ISSUER.to_owned()), ..session_of(&user).0 }).await;
    let open = here.load(&cookie, NOW).await.unwrap();
    let (hash, expires_at) = (open.session.hash(), open.expires_at);
    let expected = ListedSession { hash, signed_in_at: NOW, active_at: NOW, expires_at, user_agent };
    let there = Instance::new(place).await;
    assert_eq!(there.store.list(&whose, NOW + 100).await.unwrap(), [expected]);
    let of_one = there.store.list(&Whose::One(other.session.hash()), NOW + 100).await.unwrap();
    assert_eq!(of_one.iter().map(|session| session.hash).collect::<Vec<_>>(), [other.session.hash()]);
    here.store.end(&open.key(), EndReason::SignedOut, NOW).await.unwrap();
    assert_eq!(there.store.list(&whose, NOW + 100).await.unwrap(), []);
}

/// Contract 16.3.
pub async fn ends_all_but_one(place: &dyn Place, here: &Instance) {
    let user = unique();
    let (session, whose) = session_of(&user);
    let (kept, cookie) = stored(here, session).await;
    let (ended, _) = stored(here, session_of(&user).0).await;
    if place.has_index() {
        let outcome = here.store.end_all(&whose, Some(kept.session.hash()), NOW).await;
        assert_eq!(outcome, Ok(vec![ended.session.hash()]));
        assert_eq!(here.load(&cookie, NOW).await.unwrap().session.id, kept.session.id);
    }
}

/// Contract 16.3, 16.4.
pub async fn ends_one_session(place: &dyn Place, here: &Instance) {
    let (one, cookie) = stored(here, session()).await;
    let (other, other_cookie) = stored(here, session()).await;
    if place.has_index() {
        let whose = Whose::One(one.session.hash());
        assert_eq!(here.store.end_all(&whose, None, NOW).await, Ok(vec![one.session.hash()]));
        assert!(here.load(&cookie, NOW).await.is_err());
        assert_eq!(here.load(&other_cookie, NOW).await.unwrap().session.id, other.session.id);
        assert_eq!(here.store.end_all(&whose, None, NOW).await, Ok(Vec::new()), "it has ended already");
    }
}

/// Contract 16.4.
pub async fn ends_all_sessions(place: &dyn Place, here: &Instance) {
    let (_, cookie) = stored(here, session()).await;
    let issuer = Some(OTHER_ISSUER.to_owned());
    let (_, other) = stored(here, Session { issuer, ..session_of(&unique()).0 }).await;
    if place.has_index() {
        assert!(here.store.end_all(&Whose::Everyone, None, NOW).await.unwrap().len() >= 2);
        for cookie in [cookie, other] {
            assert!(here.load(&cookie, NOW).await.is_err());
        }
    }
}

/// Contract 4.24, 10.21: responses to the session end on this instance, and no instance loads or stores it.
pub async fn ends_from_elsewhere_are_noted(place: &dyn Place, here: &Instance) {
    let (session, whose) = session_of(&unique());
    let (open, cookie) = stored(here, session).await;
    if place.has_index() {
        let there = Instance::new(place).await;
        let lock = lock(&there, &open).await;
        here.store.end_all(&whose, None, NOW).await.unwrap();
        assert_eq!(here.store.ended_here(&open.session), Some(EndReason::FromElsewhere));
        for instance in [here, &there] {
            assert_eq!(instance.load(&cookie, NOW).await.err(), Some(LoadError::Expired));
            assert_eq!(instance.store.ended_here(&open.session), Some(EndReason::FromElsewhere), "it knows by now");
        }
        let saved = there.store.save_tokens(&lock, &open, new_tokens("r1", None), NOW).await;
        assert_eq!(saved, Err(SaveError::Ended));
    }
}

/// Contract 16.8.
pub async fn logout_tokens_are_recorded(place: &dyn Place, here: &Instance) {
    let token = |issuer: &str, jti: &str| LogoutTokenId { issuer: issuer.to_owned(), jti: jti.to_owned() };
    let jti = unique();
    let ours = token(ISSUER, &jti);
    if !place.has_index() {
        assert_eq!(here.store.is_recorded(&ours).await, Err(IndexError::Unsupported));
        assert_eq!(here.store.record(&ours, NOW + 60, NOW).await, Err(IndexError::Unsupported));
        return;
    }
    assert_eq!(here.store.is_recorded(&ours).await, Ok(false));
    here.store.record(&ours, NOW + 60, NOW).await.unwrap();
    let there = Instance::new(place).await;
    assert_eq!(there.store.is_recorded(&ours).await, Ok(true));
    for other in [token(OTHER_ISSUER, &jti), token(ISSUER, &unique())] {
        assert_eq!(there.store.is_recorded(&other).await, Ok(false));
    }
}
