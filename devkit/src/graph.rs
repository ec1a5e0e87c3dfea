//! A stand-in for Microsoft Graph: a real HTTP server on loopback that takes only access tokens that the provider
//! signed for it, records what it receives byte for byte, and misbehaves on request.

mod answers;
mod batch;
mod bearer;
mod drive;
mod streams;
#[cfg(test)]
mod tests;
mod uploads;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::web::{Body, Call, Clock, Handler, HangUp, Log, Server, Wire, lock};
use bearer::Gate;
use drive::Drive;
use uploads::UploadHost;

pub use crate::web::Recorded;
pub use drive::File;

/// How many events a listener may be behind.
const EVENTS: usize = 64;

/// How a [`Graph`] is set up.
#[derive(Clone, Debug)]
pub struct GraphOptions {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The only issuer whose tokens count; its key set is fetched by discovery, when first needed.
    pub issuer: String,
    /// The only audience that counts.
    pub audience: String,
    /// Sends the head of an answer and its body in two TCP segments, as Graph does.
    pub two_segments: bool,
}

impl GraphOptions {
    /// On a free port, for tokens of that issuer with Graph as audience, in one segment.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            issuer: issuer.to_owned(),
            audience: "https://graph.microsoft.com".to_owned(),
            two_segments: false,
        }
    }
}

/// A handle on a running stand-in. It runs until the last handle is dropped, or one is stopped.
///
/// All paths are under `/v1.0` and need a good token:
///
/// | path | answer |
/// |---|---|
/// | `GET /me`, `PATCH /me` | the user of the token; 204 |
/// | `GET /me/photo/$value` | a PNG with `ETag`, conditional and in ranges |
/// | `GET /me/messages?$top=&$skip=` | pages of 25 messages with an absolute `@odata.nextLink` |
/// | `POST /me/sendMail` | 202 |
/// | `POST /me/drive/root:/{path}:/createUploadSession` | an `uploadUrl` for a file by its path |
/// | `POST /me/drive/items/{id}/createUploadSession` | one for new content of a file |
/// | `GET /me/drive/items/{id}` | a file's facts |
/// | `GET /me/drive/root/delta` | what changed, with an absolute `@odata.deltaLink` |
/// | `POST /$batch` | the answers to up to 20 of the calls above, in order |
/// | `GET /users` | two users |
/// | any `/echo/{path}` | what came, as JSON: `method`, `target`, `headers`, `body_length`, `body_sha256`, `body` |
/// | any `/hostile` | headers that would act on the gateway's origin |
/// | any `/headers?{name}={value}` | an empty JSON object with these headers, several of one name too |
/// | any `/redirect?to=&status=` | a redirect, 302 unless told otherwise |
/// | any `/slow?first=&total=&chunks=` | head after `first` ms, the last of `chunks` chunks after `total` ms |
/// | any `/bytes?n=&chunked=` | `n` bytes, streamed; with `chunked=1` without `Content-Length` |
/// | any `/events` | server-sent events: what is told by [`Graph::tell`] from then on |
/// | any `/status/{code}` | that status, with a Graph-like error from 400 on; 429 and 503 with `Retry-After: 7` |
/// | any `/hang-up?after=` | nothing: the connection closes; with `after` when so many of 1,000 bytes were sent |
///
/// An `uploadUrl` is on a host of its own, over TLS by a certificate that nobody trusts: it takes chunks in their order
/// (`PUT` with `Content-Range`; a multiple of 320 KiB, up to a MiB), tells how far they are (`GET`) and forgets them
/// (`DELETE`), for pages of any origin, and refuses whoever sends `Authorization`.
#[derive(Clone, Debug)]
pub struct Graph {
    state: Arc<State>,
    server: Arc<Server>,
    uploads: Arc<UploadHost>,
}

impl Graph {
    /// Binds and serves; it answers from the moment this returns. The provider need not run yet.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate of the upload host cannot be made.
    pub async fn start(options: GraphOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let wire = Wire { two_segments: options.two_segments };
        let drive = Arc::<Drive>::default();
        let uploads = UploadHost::start(Arc::clone(&drive)).await?;
        let state = Arc::new(State {
            origin: format!("http://{}", listener.local_addr()?),
            links: Mutex::default(),
            upload_origin: uploads.origin(),
            drive,
            gate: Gate::new(&options.issuer, options.audience),
            clock: Clock::default(),
            log: Log::default(),
            step_up: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
        });
        let server = Server::start(listener, wire, Arc::clone(&state))?;
        Ok(Self { state, server: Arc::new(server), uploads: Arc::new(uploads) })
    }

    /// Closes the listener and all connections; the port is free afterwards.
    pub async fn stop(&self) {
        self.server.stop().await;
        self.uploads.stop().await;
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// `http://127.0.0.1:PORT/v1.0`, for an API map.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}/v1.0", self.state.origin)
    }

    /// What it received, oldest first, up to 10,000 requests, refused ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.requests()
    }

    /// What the upload host received, oldest first, up to 10,000 requests, preflights included.
    #[must_use]
    pub fn upload_requests(&self) -> Vec<Recorded> {
        self.uploads.requests()
    }

    /// `https://127.0.0.1:PORT`, to which chunks go.
    #[must_use]
    pub fn upload_origin(&self) -> String {
        self.uploads.origin()
    }

    /// The files on the drive, the one that changed last at the end.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        self.state.drive.files()
    }

    /// Makes absolute links in answers begin with this instead of its own origin: with `https://graph.microsoft.com`
    /// they are what Graph itself sends.
    pub fn link_as(&self, origin: &str) {
        *lock(&self.state.links) = Some(origin.to_owned());
    }

    /// How many requests it ever received.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.log.count()
    }

    /// How many bytes of request bodies came so far, also of a request that is still sending: so a test sees that an
    /// upload streams.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.state.log.body_bytes()
    }

    /// Forgets the recorded requests; the counts go on.
    pub fn clear_requests(&self) {
        self.state.log.clear();
    }

    /// Sets its clock forward. It is not the provider's.
    pub fn advance(&self, by: Duration) {
        self.state.clock.advance(by);
    }

    /// Tells an event to everybody who listens at `/events`, and how many those are.
    pub fn tell(&self, event: &str) -> usize {
        self.state.events.send(event.to_owned()).unwrap_or(0)
    }

    /// From now on refuses tokens without this authentication context in `acrs`, by a claims challenge (401
    /// `insufficient_claims`); `None` ends it.
    pub fn require_context(&self, context: Option<&str>) {
        *lock(&self.state.step_up) = context.map(str::to_owned);
    }
}

#[derive(Debug)]
struct State {
    origin: String,
    /// What links begin with, when that is not the origin.
    links: Mutex<Option<String>>,
    upload_origin: String,
    drive: Arc<Drive>,
    gate: Gate,
    clock: Clock,
    log: Log,
    step_up: Mutex<Option<String>>,
    events: broadcast::Sender<String>,
}

impl State {
    /// An absolute link to a path behind the version.
    fn link(&self, path: &str) -> String {
        let origin = lock(&self.links).clone().unwrap_or_else(|| self.origin.clone());
        format!("{origin}/v1.0{path}")
    }
}

impl Handler for State {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, call: Call) -> Result<Response<Body>, HangUp> {
        let claims = match self.gate.claims(&call, self.clock.now()).await {
            Ok(claims) => claims,
            Err(why) => return Ok(bearer::refused(why)),
        };
        let needed = lock(&self.step_up).clone();
        match needed.filter(|context| !bearer::has_context(&claims, context)) {
            Some(context) => Ok(bearer::challenged(&context)),
            None => answers::answer(self, &call, &claims).await,
        }
    }
}
