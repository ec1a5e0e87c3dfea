//! The connections to the handler, used as .NET's HTTP client uses them: kept alive, without cookies, redirects or
//! decompression, and a request body is sent whole before the response is read.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use http::header::{EXPECT, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::body::{ReplayableBody, whole};
use super::wire::{Framing, Head, Wire};
use crate::web::{Body, lock};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How often a request without body is sent when connections end without the first byte of a response.
const SENDS: u32 = 4;

/// How long the body waits for a `100 Continue`.
const CONTINUE: Duration = Duration::from_secs(1);

/// A pool of connections to one port of 127.0.0.1.
pub(crate) struct Client {
    port: u16,
    idle: Pool,
}

type Pool = Arc<Mutex<Vec<(Wire, Instant)>>>;

/// A final response.
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) body: Body,
}

/// No response came.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: String,
    /// The connection was closed, not reset, before the first byte of a response.
    closed: bool,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { cause: error.to_string(), closed: false }
    }
}

impl Client {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, idle: Arc::default() }
    }

    /// Sends a request, up to four times if `repeats` is set.
    pub(super) async fn send(
        &self,
        head: &Request<()>,
        body: &ReplayableBody,
        repeats: bool,
    ) -> Result<Reply, Failure> {
        let mut sent = 0;
        loop {
            let mut wire = match self.take_idle() {
                Some(wire) => wire,
                None => self.connect().await?,
            };
            sent += 1;
            match exchange(&mut wire, head, body.clone()).await {
                Ok((response, reusable)) => return Ok(self.reply(wire, head.method(), response, reusable)),
                Err(failure) if repeats && failure.closed && sent < SENDS => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    pub(super) async fn connect(&self) -> Result<Wire, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Wire::new(stream))
    }

    fn take_idle(&self) -> Option<Wire> {
        let mut idle = lock(&self.idle);
        idle.retain(|(wire, since)| since.elapsed() < IDLE && wire.is_idle());
        idle.pop().map(|(wire, _)| wire)
    }

    /// The body is read as the client takes it; then the connection returns to the pool.
    fn reply(&self, mut wire: Wire, method: &Method, head: Head, reusable: bool) -> Reply {
        let framing = head.framing(method);
        let reusable = reusable && head.keeps_alive() && framing != Framing::UntilClose;
        let pool = Arc::clone(&self.idle);
        let give_back = move |wire| {
            if reusable {
                lock(&pool).push((wire, Instant::now()));
            }
        };
        if framing == Framing::Length(0) {
            give_back(wire);
            return Reply { head, body: whole("") };
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let copied = tokio::select! {
                copied = wire.copy_body(framing, &sender) => copied,
                () = sender.closed() => return,
            };
            match copied {
                Ok(()) => give_back(wire),
                // The client may have disconnected.
                Err(error) => drop(sender.send(Err(error)).await),
            }
        });
        let frames = stream::unfold(receiver, |mut receiver: mpsc::Receiver<io::Result<_>>| async move {
            let bytes = receiver.recv().await?;
            Some((bytes.map(Frame::data), receiver))
        });
        Reply { head, body: StreamBody::new(frames).boxed_unsync() }
    }
}

/// The final response, and whether the connection can be used again.
async fn exchange(wire: &mut Wire, request: &Request<()>, mut body: ReplayableBody) -> Result<(Head, bool), Failure> {
    wire.stream.write_all(&serialized(request)).await?;
    let has_body = !body.is_end_stream();
    let expects =
        request.headers().get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if has_body && expects {
        // Without any response within the time, the body is sent all the same.
        if let Ok(head) = timeout(CONTINUE, wire.head()).await {
            let head = head_of(head)?;
            if !head.status.is_informational() {
                return Ok((head, false));
            }
        }
    }
    let chunked = request.headers().contains_key(TRANSFER_ENCODING);
    while has_body && let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if chunked && !data.is_empty() {
            wire.stream.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
        }
        wire.stream.write_all(&data).await?;
        if chunked && !data.is_empty() {
            wire.stream.write_all(b"\r\n").await?;
        }
    }
    if chunked {
        wire.stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok((final_head(wire).await?, true))
}

async fn final_head(wire: &mut Wire) -> Result<Head, Failure> {
    loop {
        let head = head_of(wire.head().await)?;
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(head);
        }
    }
}

fn head_of(read: io::Result<Option<Head>>) -> Result<Head, Failure> {
    read?.ok_or_else(|| Failure {
        cause: "the handler closed the connection without a response".to_owned(),
        closed: true,
    })
}

fn serialized(request: &Request<()>) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let mut bytes = format!("{} {target} HTTP/1.1\r\n", request.method()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
