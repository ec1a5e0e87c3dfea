//! A stand-in for the Azure Functions host: it serves a project's HTTP functions through the custom handler that the
//! project's own `host.json` names, with the real host's peculiarities, which were measured.
//!
//! It pulls HTTP and timer triggers and no others.

mod cli;
mod client;
mod command;
mod files;
mod forward;
mod functions;
mod handler;
mod headers;
mod host_json;
mod inspect;
mod invocation;
mod log;
mod options;
mod path;
mod payload;
mod proxy;
mod query;
mod readiness;
mod restarts;
mod route;
mod schedule;
mod script;
mod server;
mod settings;
mod timer;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Notify, watch},
    task::JoinHandle,
};

pub use self::{
    cli::run,
    inspect::{Inspection, inspect},
    log::{Level, LogLine, Source},
    options::{CodeLookup, HostError, Mode, Options},
    path::seen_by_handler,
};
use self::{
    files::Files,
    handler::Phase,
    log::Log,
    script::{Launch, keep},
    server::{App, serve},
};

/// Kestrel's limit of bodies, as the host sets it.
const BODY_LIMIT: usize = 104_857_600;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A running host. Dropping it kills the handler.
pub struct Host {
    address: SocketAddr,
    log: Log,
    /// What the files say now; a change of them replaces it.
    current: watch::Receiver<Arc<App>>,
    stopping: Arc<Notify>,
    server: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Host {
    /// Listens, and starts the handler in the background, as the real host does.
    ///
    /// # Errors
    ///
    /// When the project cannot be read, its configuration is wrong, or the port is taken.
    pub async fn start(options: Options) -> Result<Self, HostError> {
        Self::start_with(options, None).await
    }

    /// Like [`Host::start`], but when `handler` is a port, what listens there is taken for the handler.
    pub(crate) async fn start_with(options: Options, handler: Option<u16>) -> Result<Self, HostError> {
        let log = Log::new(options.print);
        let settings = settings::environment(options.inherit_env, &options.env);
        let settings = settings::add_local(settings, &options.root)?;
        let listener = TcpListener::bind((options.address, options.port)).await?;
        let address = listener.local_addr()?;
        let files = Files::new(&options.root);
        let launch = Launch { options, settings, address, attached: handler, log: log.clone() };
        let script = launch.script()?;
        let (sender, current) = watch::channel(Arc::clone(&script.app));
        let stopping = Arc::new(Notify::new());
        Ok(Self {
            address,
            log,
            server: tokio::spawn(serve(listener, current.clone())),
            current,
            stopping: Arc::clone(&stopping),
            keeper: tokio::spawn(keep(launch, files, script, sender, stopping)),
        })
    }

    /// Where the host listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The lines that the host and its handler have written so far, the last 200,000 of them.
    pub fn logs(&self) -> Vec<LogLine> {
        self.log.lines()
    }

    /// The handler's process, while there is one.
    pub fn handler_pid(&self) -> Option<u32> {
        self.app().handler.pid()
    }

    /// The port that the handler was told to listen on. It stays the same when the handler is restarted, but not when
    /// a changed file restarts the host.
    pub fn handler_port(&self) -> u16 {
        self.app().handler.port
    }

    /// How often the handler was started again since the files changed last.
    pub fn restarts(&self) -> u32 {
        self.app().handler.restarts()
    }

    /// Waits until the handler answers. A host without functions has no handler, and is ready at once.
    ///
    /// # Errors
    ///
    /// [`HostError::ShutDown`] when the host has given up.
    pub async fn wait_ready(&self) -> Result<(), HostError> {
        let app = self.app();
        let idle = app.functions.is_empty();
        match app.handler.reaches(|phase| idle || phase != Phase::Starting).await {
            Phase::Down | Phase::Stopped => Err(HostError::ShutDown),
            Phase::Starting | Phase::Initialized => Ok(()),
        }
    }

    /// Waits until the host has given up by itself, which the real one does with exit code 1.
    pub async fn wait_shut_down(&self) {
        given_up(self.current.clone()).await;
    }

    /// Stops: the handler is killed at once, unless [`Options::platform_sigterm`] grants it time.
    pub async fn stop(mut self) {
        self.stopping.notify_one();
        // Both tasks end by themselves or were aborted: there is nothing to learn from how.
        let _ = (&mut self.keeper).await;
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    fn app(&self) -> Arc<App> {
        Arc::clone(&self.current.borrow())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.keeper.abort();
        self.server.abort();
    }
}

/// Waits until the host has given up, whatever files change before that.
async fn given_up(mut current: watch::Receiver<Arc<App>>) {
    loop {
        let app = Arc::clone(&current.borrow_and_update());
        tokio::select! {
            _ = app.handler.reaches(|phase| phase == Phase::Down) => return,
            // An error says that nothing will replace this one any more.
            Ok(()) = current.changed() => {}
        }
    }
}

/// A free port of 127.0.0.1 for the handler.
///
/// The socket is bound but never listens: connections are refused until the handler listens itself, which it may since
/// such listeners reuse addresses, and nobody else is given the port. The real host leaves that to luck.
fn reserve_port() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket)
}

/// A random UUID, version 4.
fn uuid() -> String {
    let random: u128 = rand::random();
    let bits = (random & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let group = |from, to| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32))
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
