//! A connection with deadlines of its own: for the head of a request from its first byte, and for being idle.
//!
//! hyper's deadline for heads runs from the end of the request before, so that a connection which the host keeps would
//! be closed under it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Deadline for the head of a request, from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time without a request. The host drops connections that it does not need much sooner.
const IDLE: Duration = Duration::from_secs(300);

/// Longest time in which the other side takes nothing of an answer.
const WRITE: Duration = Duration::from_secs(30);

/// What a connection is activity, known to its socket and to its requests.
#[derive(Debug, Clone)]
pub(super) struct ConnState(Arc<Mutex<(Activity, Instant)>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// Waits for a request.
    Idle,
    /// The head of one is coming.
    Head,
    /// One is being answered.
    Request,
}

impl ConnState {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((Activity::Idle, Instant::now()))))
    }

    /// A head is whole: from now on the request's own deadlines count.
    pub(super) fn request_begins(&self) {
        self.set(Activity::Request);
    }

    fn set(&self, activity: Activity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (activity, Instant::now());
    }

    fn get(&self) -> (Activity, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.get() {
            (Activity::Idle, since) => Some(since + IDLE),
            (Activity::Head, since) => Some(since + HEAD),
            (Activity::Request, _) => None,
        }
    }
}

/// The socket of a connection.
#[derive(Debug)]
pub(super) struct TimeoutStream {
    stream: TcpStream,
    state: ConnState,
    timer: Pin<Box<Sleep>>,
    /// Runs while nothing of an answer is taken.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl TimeoutStream {
    pub(super) fn new(stream: TcpStream, state: ConnState) -> Self {
        Self { stream, state, timer: Box::pin(sleep_until(Instant::now() + IDLE)), write_timer: None }
    }
}

impl TimeoutStream {
    /// Fails a write that has waited too long; any that goes on starts the time anew.
    fn timed<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write_timer = None;
            return wrote;
        }
        let write_timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE)));
        write_timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before && self.state.get().0 == Activity::Idle {
                self.state.set(Activity::Head);
            }
            return read;
        }
        let Some(deadline) = self.state.deadline() else { return Poll::Pending };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.timed(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of an answer. When it ends, or nobody wants it any more, the connection is idle again and what was held for
/// the request is let go.
#[derive(Debug)]
pub(super) struct TrackedBody<B, H> {
    body: B,
    state: ConnState,
    _held: H,
}

impl<B, H> TrackedBody<B, H> {
    pub(super) const fn new(body: B, state: ConnState, held: H) -> Self {
        Self { body, state, _held: held }
    }
}

impl<B, H> Drop for TrackedBody<B, H> {
    fn drop(&mut self) {
        self.state.set(Activity::Idle);
    }
}

impl<B, H> Body for TrackedBody<B, H>
where
    B: Body + Unpin,
    B::Data: Buf,
    H: Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A socket of ours, and the other side's.
    async fn pair() -> (TimeoutStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (TimeoutStream::new(ours, ConnState::new()), other)
    }

    #[tokio::test]
    async fn stalled_write_times_out_after_30s() {
        let (mut ours, _other) = pair().await;
        tokio::time::pause();
        let begun = Instant::now();
        let error = ours.write_all(&vec![0; 64 * 1_024 * 1_024]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, WRITE.as_secs()));
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_the_first_byte_and_an_idle_connection_more() {
        let (mut ours, mut other) = pair().await;
        other.write_all(b"G").await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'G');
        tokio::time::pause();
        let begun = Instant::now();
        assert_eq!(ours.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), HEAD.as_secs());
        ours.state.set(Activity::Idle);
        let begun = Instant::now();
        assert_eq!(ours.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
    }
}
