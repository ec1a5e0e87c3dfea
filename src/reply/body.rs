//! Bodies that end in time, or that hold something while they stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::{Body, BodyError};
use crate::error::Error;

/// Most bytes of a form or a payload that is read whole.
const FORM: usize = 64 * 1_024;
/// Deadline for the whole of it.
const FORM_DEADLINE: Duration = Duration::from_secs(15);
/// Longest pause in the body of a request, while somebody waits for it.
const PAUSE: Duration = Duration::from_secs(15);

/// The error of a client's body that is not whole: what is wrong with it, as the client may hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete(pub &'static str);

impl Incomplete {
    /// It stopped coming.
    pub const STALLED: Self = Self("the body of the request stopped coming");
    /// It ended before its end, or its chunks are malformed.
    pub const BROKEN: Self = Self("the body of the request is cut off or malformed");
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Incomplete {}

/// A form or a payload, read whole and in time.
///
/// # Errors
/// [`Error::BadRequest`]: it is cut off, not UTF-8, longer than 64 KiB, or late.
pub async fn text(body: Body) -> Result<String, Error> {
    let late = |_| Error::BadRequest("the form did not come within 15 s");
    timeout(FORM_DEADLINE, whole_text(body)).await.map_err(late)?
}

async fn whole_text(mut body: Body) -> Result<String, Error> {
    const WRONG: Error = Error::BadRequest("the form is cut off, not UTF-8, or longer than 64 KiB");
    let mut form = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| WRONG)?.into_data().unwrap_or_default();
        if form.len() + data.len() > FORM {
            return Err(WRONG);
        }
        form.extend_from_slice(&data);
    }
    String::from_utf8(form).map_err(|_| WRONG)
}

/// A body that fails at its deadline, so that an endless answer ends, and that holds something until it has streamed or
/// nobody wants it any more.
#[must_use]
pub fn until<B, T>(deadline: Option<Instant>, body: B, held: T) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + Sync + Unpin + 'static,
    B::Error: Into<BodyError>,
    T: Send + Sync + Unpin + 'static,
{
    Until { body, deadline, timer: None, _held: held }.boxed()
}

/// A body that fails with [`Incomplete::STALLED`] when nothing more comes of it.
#[must_use]
pub fn without_long_pauses(body: Body) -> Body {
    WithoutPauses { body, pause: None }.boxed()
}

struct Until<B, T> {
    body: B,
    deadline: Option<Instant>,
    /// Runs only while the sender pauses.
    timer: Option<Pin<Box<Sleep>>>,
    _held: T,
}

impl<B, T> http_body::Body for Until<B, T>
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
        let frame = Pin::new(&mut this.body).poll_frame(context).map_err(Into::into);
        let Some(deadline) = this.deadline else { return frame };
        let is_late = match &frame {
            // An answer that never pauses must end too.
            Poll::Ready(Some(_)) => Instant::now() >= deadline,
            Poll::Ready(None) => false,
            Poll::Pending => {
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().poll(context).is_ready()
            }
        };
        if is_late { Poll::Ready(Some(Err("the call took too long".into()))) } else { frame }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct WithoutPauses {
    body: Body,
    /// Runs only while somebody waits: a reader that is slow itself is no pause of the sender's.
    pause: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for WithoutPauses {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.pause = None;
            return frame;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
        pause.as_mut().poll(context).map(|()| Some(Err(Incomplete::STALLED.into())))
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
    use http_body_util::StreamBody;

    use super::*;

    fn frames(pauses: &'static [u64]) -> Body {
        let frames = futures_util::stream::unfold(pauses.iter(), |mut pauses| async {
            let pause = pauses.next()?;
            sleep(Duration::from_secs(*pause)).await;
            Some((Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x"))), pauses))
        });
        // The stream is not `Sync`, which bodies of ours are.
        StreamBody::new(SyncStream(std::sync::Mutex::new(Box::pin(frames)))).boxed()
    }

    struct SyncStream<S>(std::sync::Mutex<Pin<Box<S>>>);

    impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
        type Item = S::Item;

        fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
            self.0.lock().unwrap().as_mut().poll_next(context)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_slow_but_not_stop() {
        let whole = without_long_pauses(frames(&[14, 14, 14, 14])).collect().await.unwrap().to_bytes();
        assert_eq!(whole.as_ref(), b"xxxx");
        let error = without_long_pauses(frames(&[1, 16, 1])).collect().await.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Incomplete::STALLED));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_no_pause_of_the_sender() {
        let mut body = without_long_pauses(frames(&[1, 1, 14]));
        for _ in 0..3 {
            sleep(Duration::from_secs(60)).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_comes_in_time_or_is_refused() {
        assert_eq!(text(frames(&[5, 5, 4])).await.as_deref(), Ok("xxx"));
        assert!(matches!(text(frames(&[14, 14])).await, Err(Error::BadRequest(_))), "slow, but without a long pause");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(until(Some(deadline), frames(&[3, 1_000]), ()).collect().await.is_err());
        assert_eq!(Instant::now(), deadline, "not when the sender goes on");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(until(Some(deadline), frames(&[2, 2]), ()).collect().await.is_ok());
        assert!(until(None, frames(&[9, 9]), ()).collect().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_pauses_ends_at_its_deadline_too() {
        let mut body = until(Some(Instant::now() + Duration::from_secs(5)), frames(&[0; 9]), ());
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_is_held_goes_with_the_body() {
        let held = std::sync::Arc::new(());
        let body = until(None, super::super::full("x"), std::sync::Arc::clone(&held));
        assert_eq!(std::sync::Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
