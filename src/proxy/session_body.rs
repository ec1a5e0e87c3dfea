//! The body of an API's response, which is cut off when its session ends (contract 10.21).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::reply::BodyError;
use crate::session::SessionWatch;

/// A body that fails when its session ends on this instance, so that the connection closes before the end of the
/// response.
pub(super) struct SessionBody<B> {
    body: B,
    watch: SessionWatch,
}

impl<B> SessionBody<B> {
    pub(super) const fn new(body: B, watch: SessionWatch) -> Self {
        Self { body, watch }
    }
}

impl<B> Body for SessionBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.body).poll_frame(context).map_err(Into::into);
        let is_cut = match &frame {
            Poll::Pending => this.watch.poll_ended(context),
            Poll::Ready(Some(Ok(_))) => this.watch.has_ended(),
            Poll::Ready(_) => false,
        };
        if is_cut { Poll::Ready(Some(Err("the session has ended".into()))) } else { frame }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::stream::poll_fn;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;
    use crate::keyring::file::FileRing;
    use crate::keyring::revocations::{Addition, RevocationCache, Target};
    use crate::keyring::states::Parameters;
    use crate::keyring::static_key::StaticKey;
    use crate::keyring::{KeySource, NewVersion, Ring};
    use crate::secret::Key32;
    use crate::session::configured::Configured;
    use crate::session::cookie::{Persistence, SameSite, SessionCookies, Settings};
    use crate::session::payload::{Session, User};
    use crate::session::sealer::Sealer;
    use crate::session::{Limits, OpenSession, Sessions};
    use crate::store::cookie::CookieStore;

    const NOW: u64 = 1_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn sessions() -> Sessions {
        let source: Arc<dyn KeySource> = Arc::new(StaticKey::new(&Key32::new([7; 32])));
        let revocations = RevocationCache::new(Arc::clone(&source), 300, DAY);
        sessions_over(source, revocations)
    }

    fn sessions_over(source: Arc<dyn KeySource>, revocations: Arc<RevocationCache>) -> Sessions {
        let parameters = Parameters { propagation: DAY, life: DAY, retention: DAY };
        let ring = Ring::new(source, parameters, DAY);
        let cookies = SessionCookies::new(Settings {
            name: "__Host-Http-x".to_owned(),
            domain: None,
            same_site: SameSite::Strict,
            login_same_site: SameSite::Lax,
            budget: 7_000,
            persistence: Persistence::Off,
        });
        let sealer = Arc::new(Sealer::new(ring, "app".to_owned(), 300));
        let store = Arc::new(CookieStore::new(Arc::clone(&sealer), cookies.clone()));
        let limits = Limits { idle: DAY, max: DAY, clock_skew: DAY };
        Sessions::new(sealer, cookies, limits, Configured::with(Arc::default()), store, revocations)
    }

    fn session(sessions: &Sessions, number: u8) -> OpenSession {
        let handle = Some(Key32::new([number; 32]));
        sessions.begin(
            Session { handle, ..Session::new([number; 16], User::default(), NOW) },
            &sessions.known_revocations(),
            NOW,
        )
    }

    /// A body of what is sent.
    fn body() -> (UnboundedSender<Frame<Bytes>>, impl Body<Data = Bytes, Error = BodyError> + Unpin + Send) {
        let (sender, mut frames) = unbounded_channel();
        (sender, StreamBody::new(poll_fn(move |context| frames.poll_recv(context).map(|frame| frame.map(Ok)))))
    }

    /// Contract 10.21: the body fails, woken while it waits, and a body of another session continues.
    #[tokio::test(start_paused = true)]
    async fn a_response_that_waits_is_cut_off_when_its_session_ends() {
        for how in ["signed out", "replaced, known by its ID", "replaced, known by its hash"] {
            let sessions = sessions();
            let (one, other) = (session(&sessions, 1), session(&sessions, 2));
            let before = sessions.end_count();
            let (_sender, waits) = body();
            let mut cut = SessionBody::new(waits, sessions.watch(one.session.clone(), before));
            let (_other_sender, waits) = body();
            let mut continues = SessionBody::new(waits, sessions.watch(other.session.clone(), before));
            let waiting = tokio::spawn(async move { cut.frame().await.unwrap().is_err() });
            assert!(continues.frame().now_or_never().is_none());
            tokio::task::yield_now().await;
            let sign_in = session(&sessions, 3);
            match how {
                "signed out" => sessions.end(&one.key(), NOW).await,
                "replaced, known by its ID" => sessions.replace(one.session.id, &sign_in, NOW).await,
                _ => sessions.replace_companion(one.session.hash(), &sign_in, NOW).await,
            }
            let cut = tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("it is woken");
            assert!(cut.unwrap(), "{how}");
            assert!(continues.frame().now_or_never().is_none());
        }
    }

    /// Contract 10.21, 16.6.
    #[tokio::test]
    async fn a_response_that_waits_is_cut_off_when_its_session_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let source: Arc<dyn KeySource> = Arc::new(FileRing::new(folder.path().join("keys.json")));
        let new = NewVersion { text: "A".repeat(43).into(), expires: NOW, activate_now: false };
        source.publish(&new, NOW).await.unwrap();
        let revocations = RevocationCache::new(Arc::clone(&source), 300, DAY);
        revocations.refresh(NOW).await;
        let sessions = Arc::new(sessions_over(Arc::clone(&source), Arc::clone(&revocations)));
        let announcing = Arc::clone(&sessions);
        tokio::spawn(async move { announcing.announce_revocations().await });
        let open = |user: &str| {
            let user = User { sub: user.to_owned(), ..User::default() };
            sessions.begin(Session::new(rand::random(), user, NOW), &sessions.known_revocations(), NOW)
        };
        let (one, other) = (open("ada"), open("grace"));
        let before = sessions.end_count();
        let (_sender, waits) = body();
        let mut cut = SessionBody::new(waits, sessions.watch(one.session.clone(), before));
        let (_other_sender, waits) = body();
        let mut continues = SessionBody::new(waits, sessions.watch(other.session.clone(), before));
        let waiting = tokio::spawn(async move { cut.frame().await.unwrap().is_err() });
        assert!(continues.frame().now_or_never().is_none());
        tokio::task::yield_now().await;
        let addition = Addition::new(&Target::User("ada".to_owned()), NOW + 1, NOW, 300);
        source.add_revocations(&addition).await.unwrap();
        revocations.refresh(NOW).await;
        let cut = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it is woken");
        assert!(cut.unwrap());
        assert!(continues.frame().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_response_that_never_waits_is_cut_off_too() {
        let sessions = sessions();
        let open = session(&sessions, 1);
        let before = sessions.end_count();
        let (sender, sent) = body();
        let mut body = SessionBody::new(sent, sessions.watch(open.session.clone(), before));
        for _ in 0..2 {
            sender.send(Frame::data(Bytes::from_static(b"x"))).unwrap();
        }
        assert!(body.frame().await.unwrap().is_ok());
        sessions.end(&open.key(), NOW).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_watch_notes_an_end_between_opening_and_watching() {
        let sessions = sessions();
        let open = session(&sessions, 1);
        let before = sessions.end_count();
        sessions.end(&open.key(), NOW).await;
        assert!(sessions.watch(open.session.clone(), before).has_ended());
    }
}
