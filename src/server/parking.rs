//! Idle connections without buffers.
//!
//! hyper holds two buffers of 8 KB for each of its connections. So hyper has a connection only from the first byte of a
//! request until it has been idle for a while. Then it is parked: its task holds little more than the socket and a
//! timer.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::net::TcpStream as StdTcpStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::{ConnState, Next, TimeoutStream};

/// How long a connection is idle before it is parked. Under load none is.
pub(super) const DELAY: Duration = Duration::from_millis(200);

pub(super) type Socket = TokioIo<TimeoutStream<TcpStream>>;
pub(super) type Connection<S> = http1::Connection<Socket, S>;

/// Serves a connection to its end; it is parked after `delay`. `open` gives a socket to hyper.
#[expect(clippy::manual_async_fn, reason = "the future of an `async fn` holds its arguments twice")]
pub(super) fn serve<S, B>(
    stream: StdTcpStream,
    state: ConnState,
    delay: Duration,
    open: impl Fn(Socket) -> Connection<S>,
) -> impl Future<Output = ()>
where
    S: HttpService<Incoming, ResBody = B> + Unpin,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    async move {
        // Registers with the runtime of its thread.
        let Ok(mut stream) = TcpStream::from_std(stream) else { return };
        // Otherwise the second segment of a response waits 40 ms for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        // Boxed, so that a parked connection keeps no room for it.
        let open = |stream, unread| {
            let socket = TimeoutStream::new(stream, unread, state.clone());
            Some(Box::new(open(TokioIo::new(socket))))
        };
        // One timer for all deadlines but that of a stalled write.
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            if !poll_fn(|context| poll_parked(&stream, &state, timer.as_mut(), context)).await {
                // What has arrived meanwhile is not known before the runtime has asked the system.
                yield_now().await;
                if stream.readable().now_or_never().is_none() {
                    return;
                }
            }
            let mut connection = open(stream, Bytes::new());
            let served = poll_fn(|context| {
                loop {
                    let parked = ready!(poll_served(&mut connection, &state, delay, timer.as_mut(), context));
                    let Some((stream, unread)) = parked else { return Poll::Ready(None) };
                    // Empty lines before a request are ignored (RFC 9112, section 2.2).
                    if unread.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                        return Poll::Ready(Some(stream));
                    }
                    connection = open(stream, unread);
                }
            });
            let Some(parked) = served.await else { return };
            stream = parked;
        }
    }
}

/// Whether a parked connection gets a request; otherwise it is closed.
fn poll_parked(stream: &TcpStream, state: &ConnState, timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<bool> {
    // The end of the connection too is read by hyper, as is what arrives together with a signal.
    if stream.poll_read_ready(context).is_ready() {
        return Poll::Ready(true);
    }
    match state.next(context.waker(), None) {
        Next::CloseAt(deadline) | Next::ParkAt(deadline) => poll_deadline(timer, deadline, context).map(|()| false),
        Next::Wait => Poll::Pending,
        Next::Drain | Next::Close => Poll::Ready(false),
    }
}

/// Polls hyper's connection until it is to be parked, which gives back the socket and what was read from it but is of
/// no request so far. `None` if the connection has ended.
fn poll_served<S, B>(
    connection: &mut Option<Box<Connection<S>>>,
    state: &ConnState,
    delay: Duration,
    mut timer: Pin<&mut Sleep>,
    context: &mut Context<'_>,
) -> Poll<Option<(TcpStream, Bytes)>>
where
    S: HttpService<Incoming, ResBody = B> + Unpin,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    S::Future: Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    loop {
        let Some(http) = connection else { return Poll::Ready(None) };
        // An error means that the client broke the connection; there is nothing to do about it.
        if Pin::new(&mut **http).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        match state.next(context.waker(), Some(delay)) {
            Next::Wait => return Poll::Pending,
            Next::Close => return Poll::Ready(None),
            Next::CloseAt(deadline) => return poll_deadline(timer, deadline, context).map(|()| None),
            Next::Drain => Pin::new(&mut **http).graceful_shutdown(),
            Next::ParkAt(deadline) => {
                ready!(poll_deadline(timer.as_mut(), deadline, context));
                Pin::new(&mut **http).graceful_shutdown();
                // Pending if it is not idle for hyper, which then closes it after what is in progress.
                if ready!(http.poll_without_shutdown(context)).is_err() {
                    return Poll::Ready(None);
                }
                let parts = connection.take().map(|http| http.into_parts());
                return Poll::Ready(parts.map(|parts| (parts.io.into_inner().into_inner(), parts.read_buf)));
            }
        }
    }
}

/// Waits for a deadline. The timer is set only where it would be too late, or ran out too early: for most calls it is
/// not set at all.
fn poll_deadline(mut timer: Pin<&mut Sleep>, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    loop {
        ready!(timer.as_mut().poll(context));
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
}

#[cfg(test)]
mod tests;
