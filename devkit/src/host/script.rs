//! What the real host calls a script host: all that lives from one change of the files to the next.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpSocket,
    sync::{Notify, Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    BODY_LIMIT, HostError, Mode, Options,
    client::Client,
    files::Files,
    functions::{self, Functions},
    handler::{Handler, Order, Phase, Plan, supervise},
    host_json::{self, HostConfig},
    log::Log,
    readiness::Probe,
    reserve_port,
    server::App,
    settings::{self, Settings},
};

/// What stays the same when files change.
pub(super) struct Launch {
    pub(super) options: Options,
    pub(super) settings: Settings,
    pub(super) address: SocketAddr,
    /// Where the handler listens if it was started elsewhere.
    pub(super) attached: Option<u16>,
    pub(super) log: Log,
}

/// The functions, the handler and the timers. Dropping it ends them.
pub(super) struct Script {
    pub(super) app: Arc<App>,
    supervisor: JoinSet<()>,
    timers: JoinSet<()>,
    /// Keeps the handler's port for it.
    _reserved: Option<TcpSocket>,
}

impl Launch {
    /// Reads the files and starts what they say.
    pub(super) fn script(&self) -> Result<Script, HostError> {
        let text = std::fs::read_to_string(self.options.root.join("host.json"))
            .map_err(|error| HostError::Configuration(format!("host.json cannot be read: {error}")))?;
        let mut config = host_json::parse(&text, &self.settings)?;
        if self.options.functions.is_some() {
            config.functions.clone_from(&self.options.functions);
        }
        let functions = functions::load(functions::read(&self.options.root)?, &config, &self.settings);
        self.announce(&functions);
        let reserved = self.attached.is_none().then(reserve_port).transpose()?;
        let own = reserved.as_ref().map(TcpSocket::local_addr).transpose()?;
        let port = self.attached.or(own.map(|own| own.port())).unwrap_or_default();
        let (orders, received) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler::new(port, self.log.clone(), orders));
        let plan = self.plan(&config, &handler);
        let app = Arc::new(self.app(config, functions, Arc::clone(&handler)));
        let (mut supervisor, mut timers) = (JoinSet::new(), JoinSet::new());
        if !app.functions.is_empty() {
            supervisor.spawn(supervise(plan, handler, received));
        }
        for timer in &app.functions.timers {
            timers.spawn(Arc::clone(timer).keep(Arc::clone(&app)));
        }
        Ok(Script { app, supervisor, timers, _reserved: reserved })
    }

    fn announce(&self, functions: &Functions) {
        let log = &self.log;
        functions.errors.iter().for_each(|error| log.error(error));
        for function in &functions.http {
            let (name, methods, route) = (&function.name, function.methods(), &function.route);
            log.information(format!("{name}: [{methods}] http://{}/{route}", self.address));
        }
        for timer in &functions.timers {
            log.information(format!("{}: timerTrigger", timer.name));
            timer.announce(log);
        }
        for name in &functions.others {
            log.warning(format!("{name}: its trigger is not supported by this stand-in"));
        }
        if functions.is_empty() {
            log.warning("No job functions found.");
        }
        let storage = self.settings.get("AzureWebJobsStorage").is_some_and(|value| !value.trim().is_empty());
        let needless = functions.timers.is_empty() && functions.others.is_empty();
        if !(storage || needless) {
            log.warning(STORAGE_MISSING);
        }
    }

    fn plan(&self, config: &HostConfig, handler: &Handler) -> Plan {
        let options = &self.options;
        Plan {
            root: options.root.canonicalize().unwrap_or_else(|_| options.root.clone()),
            description: self.attached.is_none().then(|| config.description.clone()),
            settings: self.settings.clone(),
            initialization_timeout: config.initialization_timeout,
            probe: probe(mode(options, config), config, handler),
            cold_start: options.cold_start,
            platform_sigterm: options.platform_sigterm,
        }
    }

    fn app(&self, config: HostConfig, functions: Functions, handler: Arc<Handler>) -> App {
        let (options, settings) = (&self.options, &self.settings);
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
}

/// What `func start` says before it refuses to start; a stand-in without storage can go on.
const STORAGE_MISSING: &str = "Missing value for AzureWebJobsStorage in local.settings.json. This is required for all \
    triggers other than httptrigger, kafkatrigger, rabbitmqtrigger, orchestrationTrigger, activityTrigger, \
    entityTrigger. You can run 'func azure functionapp fetch-app-settings <functionAppName>', specify a connection \
    string in local.settings.json, or use managed identity to authenticate.";

impl Script {
    /// Ends timers and handler. Calls that are under way fail.
    async fn end(&mut self, order: Order) {
        self.timers.abort_all();
        self.app.handler.order(order);
        while self.supervisor.join_next().await.is_some() {}
    }
}

/// Lives until it is told to stop, or until the host gives up, and starts anew whenever a file changes.
pub(super) async fn keep(
    launch: Launch,
    mut files: Files,
    mut script: Script,
    current: watch::Sender<Arc<App>>,
    stopping: Arc<Notify>,
) {
    loop {
        let app = Arc::clone(&script.app);
        tokio::select! {
            () = stopping.notified() => break,
            _ = app.handler.reaches(|phase| phase == Phase::Down) => break,
            () = files.changed() => {}
        }
        launch.log.information("host.json or a function.json has changed. Restarting the host.");
        match launch.script() {
            Ok(next) => {
                // New requests wait for the new handler while the old one is taken away.
                current.send_replace(Arc::clone(&next.app));
                std::mem::replace(&mut script, next).end(Order::Replace).await;
            }
            Err(error) => {
                launch.log.error(format!("A host error has occurred during startup operation: {error}"));
                script.end(Order::Replace).await;
            }
        }
    }
    script.end(Order::Stop).await;
}

fn probe(mode: Mode, config: &HostConfig, handler: &Handler) -> Probe {
    Probe {
        port: handler.port,
        follow_redirects: mode != Mode::Forward,
        patience: config.function_timeout.map(|limit| limit + Duration::from_secs(60)),
        log: handler.log.clone(),
    }
}

/// Proxying wins over forwarding; without either only payload mode is left.
fn mode(options: &Options, config: &HostConfig) -> Mode {
    let configured = [(config.proxying, Mode::Proxy), (config.forwarding, Mode::Forward)];
    let first = configured.into_iter().find_map(|(on, mode)| on.then_some(mode));
    options.mode.or(first).unwrap_or(Mode::Payload)
}
