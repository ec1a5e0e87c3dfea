//! Bodies with a time limit that own a value, such as a permit, while they stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{Body, BodyError};
use crate::error::Error;
use crate::telemetry::{RequestContext, in_request};

/// Most bytes of a form or a timer payload, which are read whole.
const FORM_BYTES: usize = 64 * 1_024;
/// Deadline for reading one.
const FORM_DEADLINE: Duration = Duration::from_secs(5);

/// A form that has not arrived by its deadline. The connection closes, since the rest may never come (contract 3.9b).
pub const FORM_LATE: Error = Error::BadRequest("the form did not arrive within 5 s");

/// Why the body of a request is incomplete, in words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete(pub &'static str);

impl Incomplete {
    /// No data arrived for too long.
    pub const STALLED: Self = Self("the request body stalled");
    /// The connection closed before the end, or the chunks are malformed.
    pub const BROKEN: Self = Self("the request body is truncated or malformed");
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Incomplete {}

/// Reads a form or a timer payload whole.
///
/// # Errors
/// [`Error::BadRequest`]: it is truncated or not UTF-8. [`FORM_LATE`]. [`Error::BodyTooLarge`].
pub async fn text(body: Body) -> Result<String, Error> {
    timeout(FORM_DEADLINE, whole_text(body)).await.map_err(|_| FORM_LATE)?
}

async fn whole_text(mut body: Body) -> Result<String, Error> {
    const INVALID: Error = Error::BadRequest("the form is truncated or not UTF-8");
    let mut form = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| INVALID)?.into_data().unwrap_or_default();
        if form.len() + data.len() > FORM_BYTES {
            return Err(Error::BodyTooLarge);
        }
        form.extend_from_slice(&data);
    }
    String::from_utf8(form).map_err(|_| INVALID)
}

/// The time limit of a body.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    None,
    /// The body must have ended by then; otherwise it fails.
    Deadline(Instant),
    /// Longest wait for the next frame, after which the body fails with [`Incomplete::STALLED`]. The time that its
    /// reader takes between two frames does not count.
    Pause(Duration),
}

/// A body with a time limit and without trailers. It owns `held` until it is dropped, which hyper does once the body
/// has ended or its reader is gone.
pub struct GuardedBody<B, T> {
    body: B,
    limit: Limit,
    /// Runs only while the sender pauses, so that a body in steady progress costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    request: Option<Arc<RequestContext>>,
    _held: T,
}

impl<B, T> GuardedBody<B, T> {
    pub const fn new(body: B, limit: Limit, held: T) -> Self {
        Self { body, limit, timer: None, request: None, _held: held }
    }

    /// Makes it a part of a request, for what is logged while it streams.
    #[must_use]
    pub fn in_request(self, request: Arc<RequestContext>) -> Self {
        Self { request: Some(request), ..self }
    }

    /// Starts the timer unless it runs already.
    fn has_expired(&mut self, context: &mut Context<'_>, expiry: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(expiry)));
        timer.as_mut().poll(context).is_ready()
    }
}

/// Trailers are the last frame (RFC 9110 section 6.5).
fn is_trailers(frame: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_trailers())
}

impl<B, T> http_body::Body for GuardedBody<B, T>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
    T: Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = in_request(&mut this.request, || Pin::new(&mut this.body).poll_frame(context)).map_err(Into::into);
        let is_late = match (&frame, this.limit) {
            (_, Limit::None) | (Poll::Ready(None), _) => false,
            // A body that never pauses must end at its deadline too.
            (Poll::Ready(Some(_)), Limit::Deadline(deadline)) => Instant::now() >= deadline,
            (Poll::Ready(Some(_)), Limit::Pause(_)) => {
                this.timer = None;
                false
            }
            (Poll::Pending, Limit::Deadline(deadline)) => this.has_expired(context, deadline),
            (Poll::Pending, Limit::Pause(longest)) => this.has_expired(context, Instant::now() + longest),
        };
        match this.limit {
            _ if is_trailers(&frame) => Poll::Ready(None),
            Limit::Pause(_) if is_late => Poll::Ready(Some(Err(Incomplete::STALLED.into()))),
            _ if is_late => Poll::Ready(Some(Err("the response took too long".into()))),
            _ => frame,
        }
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
    use http::HeaderMap;
    use http_body_util::StreamBody;

    use super::*;
    use crate::telemetry::current;

    fn frames(pauses: &'static [u64]) -> Body {
        let frames = futures_util::stream::unfold(pauses.iter(), |mut pauses| async {
            let pause = pauses.next()?;
            tokio::time::sleep(Duration::from_secs(*pause)).await;
            Some((Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x"))), pauses))
        });
        // `Body` must be `Sync`, and this stream is not.
        StreamBody::new(SyncStream(std::sync::Mutex::new(Box::pin(frames)))).boxed()
    }

    struct SyncStream<S>(std::sync::Mutex<Pin<Box<S>>>);

    impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
        type Item = S::Item;

        fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
            self.0.lock().unwrap().as_mut().poll_next(context)
        }
    }

    fn guarded(pauses: &'static [u64], limit: Limit) -> GuardedBody<Body, ()> {
        GuardedBody::new(frames(pauses), limit, ())
    }

    const PAUSE: Limit = Limit::Pause(Duration::from_secs(15));

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_passes_and_a_stalled_one_fails() {
        let whole = guarded(&[14, 14, 14, 14], PAUSE).collect().await.unwrap().to_bytes();
        assert_eq!(whole.as_ref(), b"xxxx");
        let error = guarded(&[1, 16, 1], PAUSE).collect().await.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Incomplete::STALLED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_does_not_count_as_a_stall() {
        let mut body = guarded(&[1, 1, 14], PAUSE);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_takes_longer_than_5_s_is_rejected() {
        assert_eq!(text(frames(&[2, 2, 0])).await.as_deref(), Ok("xxx"));
        assert_eq!(text(frames(&[4, 4])).await, Err(FORM_LATE), "slow, but without a long pause");
    }

    #[tokio::test]
    async fn a_form_over_64_kib_is_too_large() {
        assert!(text(super::super::full(vec![b'x'; 65_536])).await.is_ok());
        assert_eq!(text(super::super::full(vec![b'x'; 65_537])).await, Err(Error::BodyTooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_fails_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(guarded(&[3, 1_000], Limit::Deadline(deadline)).collect().await.is_err());
        assert_eq!(Instant::now(), deadline, "not only when the next frame arrives");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(guarded(&[2, 2], Limit::Deadline(deadline)).collect().await.is_ok());
        assert!(guarded(&[9, 9], Limit::None).collect().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_pauses_fails_at_its_deadline_too() {
        let mut body = guarded(&[0; 9], Limit::Deadline(Instant::now() + Duration::from_secs(5)));
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    /// Contract 20.4.
    #[tokio::test]
    async fn a_body_streams_as_a_part_of_its_request() {
        let request = RequestContext::new(&HeaderMap::new(), None);
        let of_request = Arc::clone(&request);
        let frame = move |()| {
            assert!(current().is_some_and(|current| Arc::ptr_eq(&current, &of_request)));
            Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x")))
        };
        let frames = futures_util::StreamExt::map(futures_util::stream::iter([(), ()]), frame);
        let body = GuardedBody::new(StreamBody::new(frames), Limit::None, ()).in_request(request);
        assert_eq!(body.collect().await.unwrap().to_bytes().as_ref(), b"xx");
        assert!(current().is_none());
    }

    #[tokio::test]
    async fn the_held_value_is_dropped_with_the_body() {
        let held = Arc::new(());
        let body = GuardedBody::new(super::super::full("x"), Limit::None, Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
