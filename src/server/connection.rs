//! What a connection is doing, the deadlines that follow, and its socket.
//!
//! hyper's own header timeout starts at the end of the previous request. It would close connections that the host keeps
//! open for reuse (contract 11.10).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Deadline for the head of a request, from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time without a request. The host closes connections that it does not need much sooner.
const IDLE: Duration = Duration::from_secs(300);
/// Longest time in which the client reads nothing of a response.
const WRITE: Duration = Duration::from_secs(30);

/// What a connection is doing and since when, shared by its task, its socket and its requests.
#[derive(Debug, Clone)]
pub(super) struct ConnState(Arc<Mutex<Now>>);

#[derive(Debug)]
struct Now {
    activity: Activity,
    /// Not set by a first byte or a request: a call reads the clock once.
    since: Instant,
    /// How many requests the connection has carried.
    requests: u64,
    /// Whether the client does not read what has been written to it.
    is_write_blocked: bool,
    ending: Option<Ending>,
    /// The task of the connection.
    task: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// Waits for a request.
    Idle,
    /// The first byte of a request head has just been read.
    FirstByte,
    /// A request head is arriving.
    Head,
    /// A request without a body is being handled, to its end by the task of the connection.
    Request,
    /// A request with a body is being handled, which may end in another task: the one that discards the body.
    Upload,
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process ends: a request that has arrived is finished.
    Shutdown,
    /// Another connection needs the place: only a request that is being handled is finished.
    MakeRoom,
    /// The request in progress is the last one.
    Draining,
}

/// What the task of a connection does next, unless the socket wakes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A request is being handled.
    Wait,
    /// It is idle; its buffers are released at this time.
    ParkAt(Instant),
    CloseAt(Instant),
    /// The request in progress is the last one.
    Drain,
    Close,
}

/// A request of a connection in progress; dropping it makes the connection idle, unless the next one has begun.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    state: ConnState,
    number: u64,
}

impl ConnState {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Now {
            activity: Activity::Idle,
            since: Instant::now(),
            requests: 0,
            is_write_blocked: false,
            ending: None,
            task: None,
        })))
    }

    /// Records that a head has arrived: from now on the deadlines of the request itself apply.
    pub(super) fn begin_request(&self, has_body: bool) -> ActiveRequest {
        let mut now = self.lock();
        now.activity = if has_body { Activity::Upload } else { Activity::Request };
        now.requests += 1;
        ActiveRequest { state: self.clone(), number: now.requests }
    }

    /// Ends the connection, which its task does.
    pub(super) fn end(&self, why: Ending) {
        let mut now = self.lock();
        if now.ending.is_none() {
            now.ending = Some(why);
            if let Some(task) = &now.task {
                task.wake_by_ref();
            }
        }
    }

    /// Since when no request is being handled and none has arrived whole; `None` if one is, or if the connection is to
    /// end already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let now = self.lock();
        (now.has_no_request() && now.ending.is_none()).then_some(now.since)
    }

    /// What the task does next. `park_after` is how long an idle connection is not parked; `None` if it is parked. The
    /// task is woken when something else than the socket changes that.
    pub(super) fn next(&self, task: &Waker, park_after: Option<Duration>) -> Next {
        let mut now = self.lock();
        if !now.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            now.task = Some(task.clone());
        }
        match now.ending {
            Some(Ending::MakeRoom) if now.has_no_request() => return Next::Close,
            Some(Ending::MakeRoom | Ending::Shutdown) => {
                if park_after.is_some() {
                    now.ending = Some(Ending::Draining);
                }
                return Next::Drain;
            }
            Some(Ending::Draining) | None => {}
        }
        match (now.activity, park_after) {
            (Activity::Idle, Some(delay)) if now.may_park() => Next::ParkAt(now.since + delay.min(IDLE)),
            (Activity::Idle, _) => Next::CloseAt(now.since + IDLE),
            (Activity::FirstByte, _) => {
                (now.activity, now.since) = (Activity::Head, Instant::now());
                Next::CloseAt(now.since + HEAD)
            }
            (Activity::Head, _) => Next::CloseAt(now.since + HEAD),
            (Activity::Request | Activity::Upload, _) => Next::Wait,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    fn has_no_request(&self) -> bool {
        matches!(self.activity, Activity::Idle | Activity::FirstByte | Activity::Head)
    }

    fn may_park(&self) -> bool {
        !self.is_write_blocked && self.ending.is_none()
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut now = self.state.lock();
        if now.requests == self.number {
            let is_upload = now.activity == Activity::Upload;
            (now.activity, now.since) = (Activity::Idle, Instant::now());
            if let Some(task) = now.task.as_ref().filter(|_| is_upload) {
                task.wake_by_ref();
            }
        }
    }
}

/// The socket of a connection.
#[derive(Debug)]
pub(super) struct TimeoutStream<S> {
    stream: S,
    state: ConnState,
    /// What was read before, and is read again.
    unread: Bytes,
    /// Runs while the client reads nothing of a response.
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> TimeoutStream<S> {
    pub(super) fn new(stream: S, unread: Bytes, state: ConnState) -> Self {
        Self { stream, state, unread, write_timer: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails a write that has been pending for [`WRITE`]; progress restarts the time.
    fn limit_write<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            if self.write_timer.take().is_some() {
                self.state.lock().is_write_blocked = false;
            }
            return write;
        }
        let write_timer = self.write_timer.get_or_insert_with(|| {
            self.state.lock().is_write_blocked = true;
            Box::pin(sleep_until(Instant::now() + WRITE))
        });
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
        let read = if self.unread.is_empty() {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            Poll::Ready(Ok(()))
        };
        if read.is_ready() && buffer.filled().len() > before {
            let mut now = self.state.lock();
            if now.activity == Activity::Idle {
                now.activity = Activity::FirstByte;
            }
        }
        read
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
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn stalled_write_times_out_after_30s() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = TimeoutStream::new(socket, Bytes::new(), ConnState::new());
        tokio::time::pause();
        let start = Instant::now();
        let error = socket.write_all(&vec![0; 64 * 1_024 * 1_024]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, WRITE.as_secs()));
    }
}
