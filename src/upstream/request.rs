//! A request to an API or a website, as it is sent (RFC 9112 sections 3, 6 and 7).

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use http_body::Body as _;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use crate::reply::{Body, BodyError};

/// Most bytes of the first write: those of one TLS record (RFC 8446 section 5.1). If that write fails, the upstream can
/// read nothing of it.
const FIRST_WRITE: usize = 16 * 1_024;

/// A request. It has no `Debug`, since a token is in its head.
pub struct Request {
    method: Method,
    /// Request line and headers; emptied once it is the beginning of a body's first write.
    head: Vec<u8>,
    /// How many bytes of the head were written.
    written: usize,
    body: Option<Upload>,
    progress: Progress,
    /// Whether anything of it was written.
    has_begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The head may get more lines.
    Building,
    Sending,
    Sent,
    /// Nothing more of it is sent: the connection broke, its body failed, or the response was there before its end.
    Aborted,
}

/// Why a request was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection broke before the response began.
    Io(io::Error),
    /// The response is malformed, or the connection broke within its head.
    Response(String),
    /// The body failed.
    Body(BodyError),
}

/// A body that is being sent.
struct Upload {
    /// `None` after its end.
    body: Option<Body>,
    /// How many bytes are still to come, or `None` if it is sent in chunks.
    left: Option<u64>,
    /// What is to be written next: what precedes the data, the data, and what follows them.
    pending: Chain<Chain<Bytes, Bytes>, Bytes>,
}

impl Request {
    /// A request for a path of `host`, without a body. `capacity` is about how long its headers become, so that no copy
    /// of a token is left behind by a buffer that grows.
    pub(super) fn new(method: &Method, target: &PathAndQuery, host: &HeaderValue, capacity: usize) -> Self {
        const REST: usize = " / HTTP/1.1\r\nhost: \r\n\r\n".len();
        let (target, method) = (target.as_str(), method.clone());
        let line = method.as_str().len() + target.len() + host.len() + REST;
        let mut head = Vec::with_capacity(line + capacity);
        head.extend_from_slice(method.as_str().as_bytes());
        // Origin form begins with a slash (RFC 9112 section 3.2.1).
        head.extend_from_slice(if target.starts_with('/') { b" " } else { b" /" });
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(host.as_bytes());
        head.extend_from_slice(b"\r\n");
        Self { method, head, written: 0, body: None, progress: Progress::Building, has_begun: false }
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    /// Adds a header line.
    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.header_with(name, |line| line.extend_from_slice(value.as_bytes()));
    }

    /// Adds a header line whose value is written directly, in characters that a value may have (RFC 9110 section 5.5).
    /// Returns what `write` returns; a request whose value could not be written is not sent.
    pub fn header_with<T>(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.head.extend_from_slice(name.as_str().as_bytes());
        self.head.extend_from_slice(b": ");
        let written = write(&mut self.head);
        self.head.extend_from_slice(b"\r\n");
        written
    }

    /// Makes room for a header value of so many bytes and for what follows it.
    pub fn reserve(&mut self, length: usize) {
        self.head.reserve(length + 64);
    }

    /// Adds a body of `length` bytes, or in chunks.
    pub fn body(&mut self, body: Body, length: Option<u64>) {
        match length {
            Some(length) => self.header(&CONTENT_LENGTH, &length.into()),
            None => self.header(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked")),
        }
        let pending = chain(Bytes::new(), Bytes::new(), Bytes::new());
        let body = (length != Some(0)).then_some(body);
        self.body = body.map(|body| Upload { body: Some(body), left: length, pending });
    }

    /// Replaces the body.
    pub(super) fn map_body(&mut self, replace: impl FnOnce(Body) -> Body) {
        if let Some(upload) = &mut self.body {
            upload.body = upload.body.take().map(replace);
        }
    }

    /// Whether there is a body to send.
    pub(super) const fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether it may be sent again although it may have arrived (RFC 9110 section 9.2.2).
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD) && !self.has_body()
    }

    /// Begins to send it from its start, which it can do again if it is unsent or has no body.
    pub(super) fn start(&mut self) {
        if self.progress == Progress::Building {
            self.head.extend_from_slice(b"\r\n");
        }
        (self.progress, self.written, self.has_begun) = (Progress::Sending, 0, false);
    }

    /// Whether nothing of it was written, so that it can be sent on another connection.
    pub(super) const fn is_unsent(&self) -> bool {
        !self.has_begun
    }

    pub(super) fn is_sent(&self) -> bool {
        self.progress == Progress::Sent
    }

    /// The rest of a request that is still being sent, or was aborted.
    pub(super) fn take_rest(&mut self) -> Option<Self> {
        let body = self.body.take();
        let progress = if body.is_some() { self.progress } else { Progress::Aborted };
        let (method, head) = (self.method.clone(), Vec::new());
        let rest = Self { method, head, written: 0, body, progress, has_begun: true };
        (!self.is_sent()).then_some(rest)
    }

    /// Writes until the end of the request.
    pub(super) fn poll_send(
        &mut self,
        stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.progress != Progress::Sending {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(match &mut self.body {
            Some(body) => body.poll_send(&mut self.head, &mut self.has_begun, stream, context),
            None => self.poll_send_head(stream, context),
        });
        self.progress = if sent.is_ok() { Progress::Sent } else { Progress::Aborted };
        if self.has_begun {
            // Its sender may learn that no more of it is read.
            self.body = None;
        }
        Poll::Ready(sent)
    }

    fn poll_send_head(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        while let Some(rest) = self.head.get(self.written..).filter(|rest| !rest.is_empty()) {
            let part = if self.has_begun { rest } else { rest.get(..FIRST_WRITE).unwrap_or(rest) };
            self.written += not_zero(ready!(stream.as_mut().poll_write(context, part)))?;
            self.has_begun = true;
        }
        stream.poll_flush(context).map_err(SendError::Io)
    }
}

impl Upload {
    /// `head` is written together with the first data, and `has_begun` is set.
    fn poll_send(
        &mut self,
        head: &mut Vec<u8>,
        has_begun: &mut bool,
        mut stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            while self.pending.has_remaining() {
                let most = if *has_begun { usize::MAX } else { FIRST_WRITE };
                not_zero(ready!(poll_write_buf(stream.as_mut(), context, &mut (&mut self.pending).take(most))))?;
                *has_begun = true;
            }
            match self.poll_next(std::mem::take(head), context).map_err(SendError::Body)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return stream.poll_flush(context).map_err(SendError::Io),
                Poll::Pending => {
                    ready!(stream.as_mut().poll_flush(context)).map_err(SendError::Io)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Prepares the next write; false, if there is none. What was prepared begins with `start`.
    fn poll_next(&mut self, start: Vec<u8>, context: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let next = match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context)?,
            None => return Poll::Ready(Ok(false)),
        };
        let data = match next {
            Poll::Pending if start.is_empty() => return Poll::Pending,
            Poll::Pending => {
                self.pending = chain(start.into(), Bytes::new(), Bytes::new());
                return Poll::Ready(Ok(true));
            }
            Poll::Ready(None) => return self.end(start).map(|()| true).into(),
            // Trailers are not forwarded (contract 10.7).
            Poll::Ready(Some(frame)) => frame.into_data().unwrap_or_default(),
        };
        self.add(start, data).map(|()| true).into()
    }

    fn add(&mut self, mut start: Vec<u8>, data: Bytes) -> Result<(), BodyError> {
        let size = data.len() as u64;
        let mut end: &[u8] = b"";
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(size).ok_or("the request body is longer than its Content-Length")?;
            if *left == 0 {
                self.body = None;
            }
        } else if size > 0 {
            write!(start, "{size:x}\r\n")?;
            end = b"\r\n";
        }
        self.pending = chain(start.into(), data, Bytes::from_static(end));
        Ok(())
    }

    fn end(&mut self, start: Vec<u8>) -> Result<(), BodyError> {
        self.body = None;
        let last: &[u8] = match self.left {
            Some(1..) => return Err("the request body is shorter than its Content-Length".into()),
            Some(0) => b"",
            None => b"0\r\n\r\n",
        };
        self.pending = chain(start.into(), Bytes::new(), Bytes::from_static(last));
        Ok(())
    }
}

fn chain(start: Bytes, data: Bytes, end: Bytes) -> Chain<Chain<Bytes, Bytes>, Bytes> {
    start.chain(data).chain(end)
}

fn not_zero(written: io::Result<usize>) -> Result<usize, SendError> {
    match written {
        Ok(0) => Err(SendError::Io(io::ErrorKind::WriteZero.into())),
        Ok(written) => Ok(written),
        Err(error) => Err(SendError::Io(error)),
    }
}

#[cfg(test)]
mod tests;
