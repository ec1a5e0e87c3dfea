//! A stand-in for the Azure Functions host: it serves a project's HTTP functions through the custom handler that the
//! project's own `host.json` names, with the real host's peculiarities, which were measured.
//!
//! Timers, payload mode and the watching of files are not in it: a function that needs payload mode is answered 500
//! with a line in the log.

mod cli;
mod client;
mod command;
mod forward;
mod functions;
mod handler;
mod headers;
mod host_json;
mod invocation;
mod log;
mod options;
mod path;
mod proxy;
mod query;
mod readiness;
mod restarts;
mod route;
mod server;
mod settings;
mod upload;

#[cfg(test)]
mod tests;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

pub use self::{
    cli::run,
    log::{Level, LogLine, Source},
    options::{CodeLookup, HostError, Mode, Options},
};
use self::{
    client::Client,
    functions::Functions,
    handler::{Handler, Order, Phase, Plan, supervise},
    host_json::HostConfig,
    log::Log,
    readiness::Probe,
    server::{App, serve},
    settings::Settings,
};

/// Kestrel's limit of bodies, as the host sets it.
const BODY_LIMIT: usize = 104_857_600;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A running host. Dropping it kills the handler.
pub struct Host {
    address: SocketAddr,
    app: Arc<App>,
    server: JoinHandle<()>,
    supervisor: JoinHandle<()>,
    /// Keeps the handler's port for it.
    _reserved: Option<TcpSocket>,
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
        let text = std::fs::read_to_string(options.root.join("host.json"))
            .map_err(|error| HostError::Configuration(format!("host.json cannot be read: {error}")))?;
        let mut config = host_json::parse(&text, &settings)?;
        if options.functions.is_some() {
            config.functions.clone_from(&options.functions);
        }
        let functions = functions::load(functions::read(&options.root)?, &config, &settings);
        let listener = TcpListener::bind((options.address, options.port)).await?;
        let address = listener.local_addr()?;
        announce(&functions, address, &log);
        let reserved = handler.is_none().then(reserve_port).transpose()?;
        let own = reserved.as_ref().map(TcpSocket::local_addr).transpose()?;
        let port = handler.or(own.map(|own| own.port())).unwrap_or_default();
        let (orders, received) = mpsc::unbounded_channel();
        let shared = Arc::new(Handler::new(port, log, orders));
        let plan = plan(&options, &config, settings.clone(), &shared, handler.is_some());
        let app = Arc::new(app(&options, config, functions, &settings, Arc::clone(&shared)));
        let idle = app.functions.is_empty();
        let supervisor = tokio::spawn(async move {
            if !idle {
                supervise(plan, shared, received).await;
            }
        });
        Ok(Self {
            address,
            server: tokio::spawn(serve(listener, Arc::clone(&app))),
            app,
            supervisor,
            _reserved: reserved,
        })
    }

    /// Where the host listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The lines that the host and its handler have written so far, the last 200,000 of them.
    pub fn logs(&self) -> Vec<LogLine> {
        self.app.handler.log.lines()
    }

    /// The handler's process, while there is one.
    pub fn handler_pid(&self) -> Option<u32> {
        self.app.handler.pid()
    }

    /// The port that the handler was told to listen on. It stays the same when the handler is restarted.
    pub fn handler_port(&self) -> u16 {
        self.app.handler.port
    }

    /// How often the handler was started again.
    pub fn restarts(&self) -> u32 {
        self.app.handler.restarts()
    }

    /// Waits until the handler answers. A host without functions has no handler, and is ready at once.
    ///
    /// # Errors
    ///
    /// [`HostError::ShutDown`] when the host has given up.
    pub async fn wait_ready(&self) -> Result<(), HostError> {
        let idle = self.app.functions.is_empty();
        match self.app.handler.reaches(|phase| idle || phase != Phase::Starting).await {
            Phase::Down => Err(HostError::ShutDown),
            Phase::Starting | Phase::Initialized => Ok(()),
        }
    }

    /// Waits until the host has given up by itself, which the real one does with exit code 1.
    pub async fn wait_shut_down(&self) {
        self.app.handler.reaches(|phase| phase == Phase::Down).await;
    }

    /// Stops: the handler is killed at once, unless [`Options::platform_sigterm`] grants it time.
    pub async fn stop(mut self) {
        self.app.handler.order(Order::Stop);
        // Both tasks end by themselves or were aborted: there is nothing to learn from how.
        let _ = (&mut self.supervisor).await;
        self.server.abort();
        let _ = (&mut self.server).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.supervisor.abort();
        self.server.abort();
    }
}

fn announce(functions: &Functions, address: SocketAddr, log: &Log) {
    functions.errors.iter().for_each(|error| log.error(error));
    for function in &functions.http {
        let (name, methods, route) = (&function.name, function.methods(), &function.route);
        log.information(format!("{name}: [{methods}] http://{address}/{route}"));
    }
    for name in &functions.others {
        log.warning(format!("{name}: its trigger is not supported by this stand-in"));
    }
    if functions.is_empty() {
        log.warning("No job functions found.");
    }
}

fn plan(options: &Options, config: &HostConfig, settings: Settings, handler: &Handler, attached: bool) -> Plan {
    Plan {
        root: options.root.canonicalize().unwrap_or_else(|_| options.root.clone()),
        description: (!attached).then(|| config.description.clone()),
        settings,
        initialization_timeout: config.initialization_timeout,
        probe: probe(mode(options, config), config, handler),
        cold_start: options.cold_start,
        platform_sigterm: options.platform_sigterm,
    }
}

fn app(options: &Options, config: HostConfig, functions: Functions, settings: &Settings, handler: Arc<Handler>) -> App {
    let mode = mode(options, &config);
    let body_limit = settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT").and_then(|limit| limit.parse().ok());
    let outstanding = options.max_outstanding.or(config.max_outstanding);
    App {
        functions,
        mode,
        client: Client::new(handler.port),
        probe: probe(mode, &config, &handler),
        initialization_timeout: config.initialization_timeout,
        function_timeout: config.function_timeout,
        body_limit: body_limit.unwrap_or(BODY_LIMIT),
        custom_headers: config.custom_headers,
        homepage: !settings::is_on(settings, "AzureWebJobsDisableHomepage"),
        key: options.key.clone(),
        code_lookup: options.code_lookup,
        front_end_azure: options.front_end_azure,
        outstanding: outstanding.map(|most| Arc::new(Semaphore::new(most))),
        handler,
    }
}

fn probe(mode: Option<Mode>, config: &HostConfig, handler: &Handler) -> Probe {
    Probe {
        port: handler.port,
        follow_redirects: mode != Some(Mode::Forward),
        patience: config.function_timeout.map(|limit| limit + Duration::from_secs(60)),
        log: handler.log.clone(),
    }
}

/// Proxying wins over forwarding; without either only payload mode is left.
fn mode(options: &Options, config: &HostConfig) -> Option<Mode> {
    let configured = [(config.proxying, Mode::Proxy), (config.forwarding, Mode::Forward)];
    let first = configured.into_iter().find_map(|(on, mode)| on.then_some(mode));
    options.mode.or(first)
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
