//! A connection's socket with deadlines: for a request head from its first byte, for idling, and for stalled writes.
//!
//! hyper's own header timeout starts at the end of the previous request. It would close connections that the host keeps
//! open for reuse (contract 11.10).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Deadline for the head of a request, from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time without a request. The host closes connections that it does not need much sooner.
const IDLE: Duration = Duration::from_secs(300);
/// Longest time in which the client reads nothing of a response.
const WRITE: Duration = Duration::from_secs(30);

/// What a connection is doing and since when, shared by its socket and its requests.
#[derive(Debug, Clone)]
pub(super) struct ConnState(Arc<Mutex<Now>>);

#[derive(Debug)]
struct Now {
    activity: Activity,
    since: Instant,
    /// How many requests the connection has carried.
    requests: u64,
    /// Who reads from the connection and must look for a deadline once the request has ended.
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// Waits for a request.
    Idle,
    /// A request head is arriving.
    Head,
    /// A request without a body is being handled, to its end by the task that reads from the connection.
    Request,
    /// A request with a body is being handled, which may end in another task: the one that discards the body.
    Upload,
}

/// A request of a connection in progress; dropping it makes the connection idle, unless the next one has begun.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    state: ConnState,
    number: u64,
}

impl ConnState {
    pub(super) fn new() -> Self {
        let now = Now { activity: Activity::Idle, since: Instant::now(), requests: 0, reader: None };
        Self(Arc::new(Mutex::new(now)))
    }

    /// Records that a head has arrived: from now on the deadlines of the request itself apply.
    pub(super) fn begin_request(&self, has_body: bool) -> ActiveRequest {
        self.set(if has_body { Activity::Upload } else { Activity::Request });
        let mut now = self.lock();
        now.requests += 1;
        ActiveRequest { state: self.clone(), number: now.requests }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, activity: Activity) {
        let mut now = self.lock();
        (now.activity, now.since) = (activity, Instant::now());
    }

    fn activity(&self) -> Activity {
        self.lock().activity
    }

    /// Since when no request is being handled and none has arrived whole; `None` if one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let now = self.lock();
        matches!(now.activity, Activity::Idle | Activity::Head).then_some(now.since)
    }

    /// When the next bytes must have arrived. Without a deadline the reader is woken where nothing else would.
    fn deadline(&self, reader: &Waker) -> Option<Instant> {
        let mut now = self.lock();
        match now.activity {
            Activity::Idle => Some(now.since + IDLE),
            Activity::Head => Some(now.since + HEAD),
            Activity::Request => None,
            Activity::Upload => {
                now.reader = Some(reader.clone());
                None
            }
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut now = self.state.lock();
        if now.requests == self.number {
            (now.activity, now.since) = (Activity::Idle, Instant::now());
            if let Some(reader) = now.reader.take() {
                reader.wake();
            }
        }
    }
}

/// The socket of a connection.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    state: ConnState,
    read_timer: Pin<Box<Sleep>>,
    /// Runs while the client reads nothing of a response.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, state: ConnState) -> Self {
        Self { stream, state, read_timer: Box::pin(sleep_until(Instant::now() + IDLE)), write_timer: None }
    }

    /// Fails a write that has been pending for [`WRITE`]; progress restarts the time.
    fn limit_write<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.write_timer = None;
            return write;
        }
        let write_timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE)));
        write_timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before && self.state.activity() == Activity::Idle {
                self.state.set(Activity::Head);
            }
            return read;
        }
        let Some(deadline) = self.state.deadline(context.waker()) else { return Poll::Pending };
        if self.read_timer.deadline() != deadline {
            self.read_timer.as_mut().reset(deadline);
        }
        self.read_timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit_write(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.limit_write(context, write)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The gateway's socket and the client's.
    async fn pair() -> (TimeoutStream<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        (TimeoutStream::new(socket, ConnState::new()), client)
    }

    #[tokio::test]
    async fn stalled_write_times_out_after_30s() {
        let (mut socket, _client) = pair().await;
        tokio::time::pause();
        let start = Instant::now();
        let error = socket.write_all(&vec![0; 64 * 1_024 * 1_024]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, WRITE.as_secs()));
    }

    #[tokio::test]
    async fn a_head_has_10s_from_its_first_byte_and_an_idle_connection_300s() {
        let (mut socket, mut client) = pair().await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'G');
        tokio::time::pause();
        let start = Instant::now();
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), HEAD.as_secs());
        socket.state.set(Activity::Idle);
        let start = Instant::now();
        assert_eq!(socket.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    }
}
