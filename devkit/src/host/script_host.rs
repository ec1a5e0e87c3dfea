//! What the real host calls a script host: all that lives from one change of the files to the next.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::config::{self, Functions, HostConfig, Settings, Watcher, is_on};
use super::cors::Cors;
use super::http::{Client, HttpInvoker, Worker};
use super::log::Log;
use super::options::{Mode, Options};
use super::process::{Handler, Order, Phase, Plan, Probe, supervise};
use super::server::App;
use super::timer::{Timer, announce};
use crate::os;

/// Kestrel's limit of bodies, as the host sets it.
const BODY_LIMIT: usize = 104_857_600;

/// `func start` prints this and does not start; a stand-in runs without storage.
const STORAGE_MISSING: &str = "Missing value for AzureWebJobsStorage in local.settings.json. This is required for all \
    triggers other than httptrigger, kafkatrigger, rabbitmqtrigger, orchestrationTrigger, activityTrigger, \
    entityTrigger. You can run 'func azure functionapp fetch-app-settings <functionAppName>', specify a connection \
    string in local.settings.json, or use managed identity to authenticate.";

/// What stays the same when files change.
pub(super) struct Launcher {
    pub(super) options: Options,
    pub(super) settings: Settings,
    pub(super) address: SocketAddr,
    /// Where the handler listens if it was started elsewhere.
    pub(super) attached: Option<u16>,
    pub(super) log: Log,
}

/// The functions, the handler and the timers. Dropping it ends them.
pub(super) struct ScriptHost {
    pub(super) app: Arc<App>,
    supervisor: JoinSet<()>,
    timers: JoinSet<()>,
    /// Reserves the handler's port.
    _reserved: Option<TcpSocket>,
}

impl Launcher {
    /// Reads the files and starts what they say.
    pub(super) fn launch(&self) -> io::Result<ScriptHost> {
        let options = &self.options;
        let (config, functions) = config::load(options, &self.settings)?;
        let cors = Cors::new(&self.settings)?;
        let log = self.log.filtered(config.levels.clone());
        self.announce(&functions, &log);
        let reserved = self.attached.is_none().then(reserve_port).transpose()?;
        let own = reserved.as_ref().map(TcpSocket::local_addr).transpose()?;
        let port = self.attached.or(own.map(|own| own.port())).unwrap_or_default();
        let reserved = reserved.filter(|_| os::SHARES_PORTS);
        let (orders, received) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler::new(port, log.clone(), orders));
        let config = Arc::new(config);
        let probe = Probe {
            port,
            follow_redirects: config.mode != Mode::Forward,
            patience: config.function_timeout.map(|limit| limit + Duration::from_secs(60)),
            log,
        };
        let plan = Plan {
            options: options.clone(),
            settings: self.settings.clone(),
            config: Arc::clone(&config),
            probe: probe.clone(),
            attached: self.attached.is_some(),
        };
        let app = Arc::new(App { cors, ..self.app(config, functions, probe, Arc::clone(&handler)) });
        let (mut supervisor, mut timers) = (JoinSet::new(), JoinSet::new());
        if !app.functions.is_empty() {
            supervisor.spawn(supervise(plan, handler, received));
        }
        for timer in &app.timers {
            timers.spawn(Arc::clone(timer).run());
        }
        Ok(ScriptHost { app, supervisor, timers, _reserved: reserved })
    }

    fn announce(&self, functions: &Functions, log: &Log) {
        functions.errors.iter().for_each(|error| log.error(error));
        for function in &functions.http {
            let (name, methods, route) = (&function.name, function.methods(), &function.route);
            log.information(format!("{name}: [{methods}] http://{}/{route}", self.address));
        }
        functions.timers.iter().for_each(|timer| announce(timer, log));
        for name in &functions.others {
            log.warning(format!("{name}: its trigger is not supported by this stand-in"));
        }
        if functions.is_empty() {
            log.warning("No job functions found.");
        }
        let storage = self.settings.get("AzureWebJobsStorage").is_some_and(|value| !value.trim().is_empty());
        let only_http = functions.timers.is_empty() && functions.others.is_empty();
        if !(storage || only_http) {
            log.warning(STORAGE_MISSING);
        }
    }

    fn app(&self, config: Arc<HostConfig>, functions: Functions, probe: Probe, handler: Arc<Handler>) -> App {
        let body_limit = self.settings.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT").and_then(|limit| limit.parse().ok());
        let client = Client::new(handler.port);
        let worker = Arc::new(Worker { handler, client, config: Arc::clone(&config) });
        App {
            timers: functions.timers.iter().map(|function| Arc::new(Timer::new(function, &worker))).collect(),
            functions,
            invoker: HttpInvoker {
                worker,
                body_limit: body_limit.unwrap_or(BODY_LIMIT),
                scheme: if self.options.front_end_azure { "https" } else { "http" },
            },
            probe,
            cors: None,
            homepage: !is_on(&self.settings, "AzureWebJobsDisableHomepage"),
            outstanding: config.max_outstanding.map(|most| Arc::new(Semaphore::new(most))),
            options: self.options.clone(),
            config,
        }
    }
}

impl ScriptHost {
    /// Ends timers and handler. Requests in flight fail.
    async fn end(&mut self, order: Order) {
        self.timers.abort_all();
        self.app.handler().order(order);
        while self.supervisor.join_next().await.is_some() {}
    }
}

/// Runs until the host is stopped or gives up, and launches again whenever a file changes.
pub(super) async fn run(
    launcher: Launcher,
    mut files: Watcher,
    mut running: ScriptHost,
    current: watch::Sender<Arc<App>>,
    stopping: Arc<Notify>,
) {
    loop {
        let app = Arc::clone(&running.app);
        tokio::select! {
            () = stopping.notified() => break,
            _ = app.handler().wait_for(|phase| phase == Phase::Down) => break,
            () = files.changed() => {}
        }
        launcher.log.information("host.json or a function.json has changed. Restarting the host.");
        match launcher.launch() {
            Ok(next) => {
                // New requests wait for the new handler while the old one ends.
                current.send_replace(Arc::clone(&next.app));
                std::mem::replace(&mut running, next).end(Order::Replace).await;
            }
            Err(error) => {
                launcher.log.error(format!("A host error has occurred during startup operation: {error}"));
                running.end(Order::Replace).await;
            }
        }
    }
    running.end(Order::Stop).await;
}

/// A free port of 127.0.0.1 for the handler.
///
/// The socket is bound but never listens: connections are refused until the handler listens itself, which it may since
/// such listeners reuse addresses, and no other process is given the port. Where a system does not allow that, the
/// socket must be closed first. The real host does not reserve its port.
pub(super) fn reserve_port() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket)
}
