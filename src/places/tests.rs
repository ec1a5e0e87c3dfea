use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use super::*;
use crate::reply::{BodyError, full};
use crate::session::payload::User;

fn session(number: u8, issuer: &str, sub: &str) -> Session {
    let user = User { sub: sub.to_owned(), ..User::default() };
    Session { issuer: Some(issuer.to_owned()), ..Session::new([number; 16], user, 0) }
}

fn places() -> Arc<Places> {
    Places::new(&Limits::default())
}

/// Requests of a class that have entered without waiting.
fn entered(places: &Arc<Places>, class: Class, count: usize) -> Vec<Place> {
    let enter = |_| {
        let place = places.arrived(class);
        place.enter().now_or_never().expect("no request waits").unwrap();
        place
    };
    (0..count).map(enter).collect()
}

/// Whether a request of a class is rejected at once.
fn is_rejected(places: &Arc<Places>, class: Class) -> bool {
    places.arrived(class).enter().now_or_never() == Some(Err(Error::Overloaded))
}

fn free(places: &Places) -> [usize; 4] {
    [&places.all, &places.general, &places.spa.held, &places.sessionless.held]
        .map(|permits| permits.available_permits())
}

const ALL_FREE: [usize; 4] = [90, 80, 30, 20];

/// Contract 10.19.
#[test]
fn calls_leave_places_for_sign_ins_and_health_is_never_counted() {
    let places = places();
    let calls = entered(&places, Class::Proxied, 80);
    for class in [Class::Proxied, Class::General, Class::SpaFile] {
        assert!(is_rejected(&places, class), "{class:?}");
    }
    let sign_ins = entered(&places, Class::SignIn, 10);
    assert!(is_rejected(&places, Class::SignIn));
    entered(&places, Class::Exempt, 1);
    drop((calls, sign_ins));
    assert_eq!(free(&places), ALL_FREE);
}

/// Contract 10.20, for the SPA's files and for other requests without a session.
#[tokio::test(start_paused = true)]
async fn each_kind_has_its_share_and_a_burst_of_twenty_more_waits_two_seconds() {
    for (class, held) in [(Class::SpaFile, 30), (Class::SignIn, 20), (Class::General, 20)] {
        let places = places();
        let mut inside = entered(&places, class, held);
        let burst: Vec<Place> = (0..20).map(|_| places.arrived(class)).collect();
        let waiting = tokio::spawn({
            let burst = burst.clone();
            async move { join_all(burst.iter().map(Place::enter)).await }
        });
        tokio::task::yield_now().await;
        assert!(is_rejected(&places, class), "{class:?}: only 20 wait");
        entered(&places, Class::Proxied, 1);
        inside.truncate(held - 15);
        let begun = Instant::now();
        let outcomes = waiting.await.unwrap();
        assert_eq!(begun.elapsed(), WAIT, "{class:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 15, "{class:?}");
        drop((inside, burst));
        assert_eq!(free(&places), ALL_FREE, "{class:?}");
    }
}

/// Contract 10.20: who waits counts among the 80, so the ten places for signing in stay free.
#[tokio::test(start_paused = true)]
async fn who_waits_counts_among_the_places_for_everything() {
    let places = places();
    let _inside = entered(&places, Class::SignIn, 20);
    let calls = entered(&places, Class::Proxied, 60);
    let waiting: Vec<_> = (0..10).map(|_| places.arrived(Class::SignIn)).collect();
    let all = join_all(waiting.iter().map(Place::enter));
    tokio::pin!(all);
    assert!(all.as_mut().now_or_never().is_none(), "10 wait");
    assert_eq!(free(&places), [0, 10, 30, 0]);
    drop(calls);
    entered(&places, Class::Proxied, 60);
    assert!(all.await.iter().all(Result::is_err));
}

/// Contract 10.20: over all sessions of a user.
#[tokio::test(start_paused = true)]
async fn a_user_has_48_places_over_all_sessions_and_eight_more_wait() {
    let places = places();
    let of_ada = [session(1, "https://a.example", "ada"), session(2, "https://a.example", "ada")];
    let mut inside = entered(&places, Class::Proxied, 48);
    for (place, session) in inside.iter().zip(of_ada.iter().cycle()) {
        place.enter_as(session).await.unwrap();
    }
    let others = entered(&places, Class::Proxied, 2);
    others[0].enter_as(&session(3, "https://a.example", "grace")).await.unwrap();
    others[1].enter_as(&session(4, "https://b.example", "ada")).now_or_never().unwrap().unwrap();
    let burst = entered(&places, Class::Proxied, 8);
    let waiting = tokio::spawn({
        let (burst, session) = (burst.clone(), of_ada[1].clone());
        async move { join_all(burst.iter().map(|place| place.enter_as(&session))).await }
    });
    tokio::task::yield_now().await;
    let further = entered(&places, Class::Proxied, 1);
    assert_eq!(further[0].enter_as(&of_ada[0]).now_or_never(), Some(Err(Error::Overloaded)), "only 8 wait");
    inside.pop();
    let begun = Instant::now();
    let outcomes = waiting.await.unwrap();
    assert_eq!(begun.elapsed(), WAIT);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "a short burst is served");
    drop((inside, others, burst, further));
    assert_eq!(free(&places), ALL_FREE);
    assert!(places.users.is_empty(), "users without requests are removed");
}

#[tokio::test]
async fn with_an_open_session_a_request_leaves_the_share_of_those_without() {
    let places = places();
    let ada = session(1, "https://a.example", "ada");
    let requests = entered(&places, Class::SignIn, 20);
    requests[0].enter_as(&ada).await.unwrap();
    requests[1].try_enter_as(&ada);
    assert_eq!(free(&places), [70, 80, 30, 2]);
    let calls = entered(&places, Class::Proxied, 46);
    for call in &calls {
        call.enter_as(&ada).await.unwrap();
    }
    requests[2].try_enter_as(&ada);
    assert_eq!(free(&places)[3], 2, "the user's share is full, and a sign-out does not wait for it");
}

#[test]
fn a_place_that_its_handler_gave_back_is_free() {
    let places = places();
    let request = entered(&places, Class::SignIn, 1);
    let response = request.clone();
    request[0].release();
    assert_eq!(free(&places), ALL_FREE, "while the response is sent");
    drop(response);
}

/// A body of what is sent.
fn body() -> (UnboundedSender<&'static [u8]>, Body) {
    let (sender, mut parts) = unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |context| {
        parts.poll_recv(context).map(|part| part.map(|part| Ok::<_, BodyError>(Frame::data(Bytes::from_static(part)))))
    });
    (sender, StreamBody::new(frames).boxed())
}

/// Contract 10.20, 3.9b.
#[tokio::test(start_paused = true)]
async fn a_form_takes_its_place_once_it_has_arrived_and_at_most_128_arrive() {
    let places = places();
    let (senders, bodies): (Vec<_>, Vec<_>) = (0..128).map(|_| body()).unzip();
    let forms: Vec<Place> = (0..128).map(|_| places.arrived(Class::SignIn)).collect();
    let mut arriving: Vec<_> =
        forms.iter().zip(bodies).map(|(form, body)| form.enter_with_form(body).boxed()).collect();
    poll_fn(|context| {
        assert!(arriving.iter_mut().all(|form| form.poll_unpin(context).is_pending()));
        Poll::Ready(())
    })
    .await;
    assert_eq!(free(&places), ALL_FREE);
    let further = places.arrived(Class::SignIn);
    assert_eq!(further.enter_with_form(full("x")).await, Err(Error::Overloaded));
    senders[0].send(b"a=b").unwrap();
    drop(senders);
    assert_eq!(arriving.remove(0).await.as_deref(), Ok("a=b"));
    assert_eq!(free(&places), [89, 80, 30, 19]);
    assert_eq!(further.enter_with_form(full("x")).await.as_deref(), Ok("x"));
}

/// Contract 10.20.
#[tokio::test(start_paused = true)]
async fn an_unread_body_gives_its_place_back_after_5_s_and_continues() {
    const PAUSE: Duration = Duration::from_millis(4_900);
    let places = places();
    let place = entered(&places, Class::SpaFile, 1).remove(0);
    let (sender, parts) = body();
    let mut body = place.while_read(parts);
    for _ in 0..3 {
        sender.send(b"x").unwrap();
    }
    sleep(PAUSE).await;
    assert!(body.frame().await.unwrap().is_ok());
    sleep(PAUSE).await;
    assert_eq!(places.spa.held.available_permits(), 29, "a slow reader keeps its place");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(free(&places), ALL_FREE);
    assert!(body.frame().await.unwrap().is_ok(), "the body continues");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_for_more_keeps_its_place_until_the_body_is_dropped() {
    let places = places();
    let place = entered(&places, Class::SpaFile, 1).remove(0);
    let (_sender, parts) = body();
    let mut body = place.while_read(parts);
    assert!(body.frame().now_or_never().is_none());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(places.spa.held.available_permits(), 29);
    drop(body);
    assert_eq!(free(&places), ALL_FREE);
}
