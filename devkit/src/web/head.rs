use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lock;

/// A connection that copies the head of the current request: hyper keeps neither the order of header lines nor how
/// their names were written.
pub(super) struct HeadRecorder<S> {
    stream: S,
    head: Head,
}

/// The copied bytes, shared with the service of the connection.
#[derive(Clone, Default)]
pub(super) struct Head {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    complete: bool,
}

impl Head {
    pub(super) fn bytes(&self) -> Vec<u8> {
        lock(&self.state).bytes.clone()
    }

    /// Starts over for the next request. To be called when a request's body has been read.
    pub(super) fn reset(&self) {
        *lock(&self.state) = State::default();
    }

    fn add(&self, read: &[u8]) {
        let mut state = lock(&self.state);
        if state.complete {
            return;
        }
        state.bytes.extend_from_slice(read);
        if let Some(end) = state.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            state.bytes.truncate(end);
            state.complete = true;
        }
    }
}

impl<S> HeadRecorder<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, head: Head::default() }
    }

    pub(super) fn head(&self) -> Head {
        self.head.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadRecorder<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        if let Some(read) = buf.filled().get(before..).filter(|read| !read.is_empty()) {
            self.head.add(read);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadRecorder<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
