//! A connection to an API or a website (HTTP/1.1, RFC 9112), for one request at a time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::Method;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::io::poll_read_buf;

use super::request::{Request, SendError};
use super::response::{Framing, Head, Next, take_head};
use crate::reply::BodyError;

/// Most bytes that are read at a time, and of the head of a response.
const BUFFER: usize = 64 * 1_024;
/// How many bytes are read at a time at first.
const FIRST_READ: usize = 8 * 1_024;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// What was read and not used yet.
    buffer: BytesMut,
    /// How many bytes of it were parsed already, and are not the whole head of a response.
    parsed: usize,
    /// How many bytes are read at a time where it is not known how many will arrive.
    read_size: usize,
    pub(super) opened_at: Instant,
    pub(super) used_at: Instant,
}

/// Plain, or TLS in a box, since connections are moved and TLS is large.
#[derive(Debug)]
struct Stream(Either<TcpStream, Box<TlsStream<TokioIo<TokioIo<TcpStream>>>>>);

impl Drop for Stream {
    /// Sends the alert that this is the end (RFC 8446 section 6.1), unless that would have to wait.
    fn drop(&mut self) {
        if let Either::Right(tls) = &mut self.0 {
            let _ = unconstrained(poll_fn(|context| Pin::new(&mut *tls).poll_shutdown(context))).now_or_never();
        }
    }
}

/// A response whose body is arriving.
pub(super) struct Receiving {
    connection: Connection,
    framing: Framing,
    is_persistent: bool,
    /// The rest of the request, if the response began before its end.
    request: Option<Request>,
}

impl Connection {
    pub(super) fn new(stream: MaybeHttpsStream<TokioIo<TcpStream>>, now: Instant) -> Self {
        let stream = match stream {
            MaybeHttpsStream::Http(stream) => Stream(Either::Left(stream.into_inner())),
            MaybeHttpsStream::Https(stream) => Stream(Either::Right(Box::new(stream.into_inner()))),
        };
        Self { stream, buffer: BytesMut::new(), parsed: 0, read_size: FIRST_READ, opened_at: now, used_at: now }
    }

    /// Whether it is open, and nothing arrived that no request asked for.
    pub(super) fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = poll_fn(|context| Pin::new(&mut self.stream.0).poll_read(context, &mut byte));
        // Otherwise a task that has done much would wait here for its next turn, as if nothing had arrived.
        unconstrained(read).now_or_never().is_none()
    }

    /// Sends a request and receives the head of its response, with which a body may still be being sent.
    pub(super) async fn exchange(&mut self, request: &mut Request) -> Result<Head, SendError> {
        let mut has_begun = false;
        poll_fn(|context| self.poll_exchange(request, &mut has_begun, context)).await
    }

    /// `has_begun`: whether anything of the response has arrived, interim ones included.
    fn poll_exchange(
        &mut self,
        request: &mut Request,
        has_begun: &mut bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Head, SendError>> {
        match request.poll_send(Pin::new(&mut self.stream.0), context) {
            // The upstream may have responded before it closed the connection.
            Poll::Ready(Err(SendError::Io(_))) if !request.is_unsent() => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            let head = self.take_head(request.method()).map_err(|problem| SendError::Response(problem.into()))?;
            if let Some(head) = head {
                return Poll::Ready(Ok(head));
            }
            if self.buffer.len() >= BUFFER {
                return Poll::Ready(Err(SendError::Response("the head of the response has more than 64 KiB".into())));
            }
            let error = match ready!(self.poll_read(None, context)) {
                Ok(1..) => {
                    *has_begun = true;
                    continue;
                }
                Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed before the response"),
                Err(error) => error,
            };
            let error = if *has_begun { SendError::Response(error.to_string()) } else { SendError::Io(error) };
            return Poll::Ready(Err(error));
        }
    }

    /// Takes the head of a response out of the buffer, if it is there as a whole. It is parsed again only once it may
    /// be, or a head that arrives byte by byte would be parsed as often.
    fn take_head(&mut self, method: &Method) -> Result<Option<Head>, &'static str> {
        let new = self.buffer.get(self.parsed.saturating_sub(3)..).unwrap_or_default();
        if self.parsed > 0 && memmem::find(new, b"\n\r\n").or_else(|| memmem::find(new, b"\n\n")).is_none() {
            self.parsed = self.buffer.len();
            return Ok(None);
        }
        let head = take_head(&mut self.buffer, method)?;
        self.parsed = if head.is_none() { self.buffer.len() } else { 0 };
        Ok(head)
    }

    /// Reads what has arrived; 0 at the end of the connection. `expected`: how many bytes are still to arrive.
    fn poll_read(&mut self, expected: Option<u64>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let expected = expected.map(|expected| usize::try_from(expected).unwrap_or(BUFFER).clamp(FIRST_READ, BUFFER));
        let size = expected.unwrap_or(self.read_size);
        if self.buffer.capacity() - self.buffer.len() < size / 2 {
            self.buffer.reserve(size);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream.0), context, &mut self.buffer))?;
        if read == spare {
            self.read_size = (self.read_size * 2).min(BUFFER);
        }
        Poll::Ready(Ok(read))
    }
}

impl Receiving {
    /// `request` if it is still being sent.
    pub(super) const fn new(
        connection: Connection,
        framing: Framing,
        is_persistent: bool,
        request: Option<Request>,
    ) -> Self {
        Self { connection, framing, is_persistent, request }
    }

    /// What has arrived of the body with the head.
    pub(super) fn arrived(&mut self) -> Bytes {
        match self.take() {
            Ok(Next::Data(data)) => data,
            // The next call returns the same error.
            Ok(Next::Missing | Next::End) | Err(_) => Bytes::new(),
        }
    }

    /// Receives the next part of the body; `None` at its end.
    pub(super) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match self.take()? {
                Next::Data(data) => return Poll::Ready(Ok(Some(data))),
                Next::End => return Poll::Ready(Ok(None)),
                Next::Missing => {}
            }
            if ready!(self.connection.poll_read(self.framing.left(), context))? == 0 {
                self.framing.at_close()?;
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Whether the response began before the end of the request.
    pub(super) const fn is_sending(&self) -> bool {
        self.request.is_some()
    }

    /// Sends the rest of the request. If its body fails, the upstream learns that it is not complete.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (stream, Some(request)) = (&mut self.connection.stream.0, &mut self.request) else {
            return Poll::Ready(());
        };
        // After an error the request is aborted.
        let _ = ready!(request.poll_send(Pin::new(stream), context));
        if request.is_sent() { Poll::Ready(()) } else { Pin::new(stream).poll_shutdown(context).map(drop) }
    }

    fn take(&mut self) -> Result<Next, &'static str> {
        let next = self.framing.take(&mut self.connection.buffer)?;
        // The next call returns an error of this.
        let _ = self.framing.advance(&mut self.connection.buffer);
        Ok(next)
    }

    /// How many bytes are still to arrive, if that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.framing.has_ended()
    }

    /// The connection after the end of the body, if it can be used again.
    pub(super) fn into_connection(self) -> Option<Connection> {
        let is_sent = self.request.is_none_or(|request| request.is_sent());
        let connection = self.connection;
        let is_usable = self.is_persistent && is_sent && connection.buffer.is_empty();
        is_usable.then(|| Connection { buffer: BytesMut::new(), read_size: FIRST_READ, ..connection })
    }
}

#[cfg(test)]
impl Connection {
    /// Makes every write fail, as after a reset that was not noticed yet.
    pub(super) fn break_sending(&mut self) {
        let shutdown = poll_fn(|context| Pin::new(&mut self.stream.0).poll_shutdown(context));
        shutdown.now_or_never().unwrap().unwrap();
    }
}
