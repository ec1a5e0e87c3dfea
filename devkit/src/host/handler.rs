//! The life of the handler process: started, asked whether it listens, restarted, killed.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        watch,
    },
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    command,
    host_json::Description,
    log::{Level, Log, Source, stderr_level},
    readiness::Probe,
    restarts::{Errors, Verdict},
    settings::Settings,
    uuid,
};

/// How long the host waits for a process that it has killed, and for the rest of its output.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// Whether requests can be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Starting,
    Initialized,
    /// Ended on order: a changed file brings another, unless it is in error.
    Stopped,
    /// The host has shut down.
    Down,
}

/// What others may ask of the supervisor.
#[derive(Debug)]
pub(super) enum Order {
    /// Kill and restart the process of this generation, since an invocation took too long.
    Recycle(u64),
    /// A changed file brings another handler: the host kills this one, whatever the platform would do.
    Replace,
    Stop,
}

/// What all others see of the handler.
pub(super) struct Handler {
    pub(super) port: u16,
    pub(super) log: Log,
    phase: watch::Sender<Phase>,
    orders: UnboundedSender<Order>,
    /// 0 while there is no process.
    pid: AtomicU32,
    /// Counts the starts.
    generation: AtomicU64,
    restarts: AtomicU32,
}

/// What the supervisor needs to know.
pub(super) struct Plan {
    pub(super) root: PathBuf,
    /// `None` when the handler runs elsewhere and is only asked whether it listens.
    pub(super) description: Option<Description>,
    pub(super) settings: Settings,
    pub(super) initialization_timeout: Duration,
    pub(super) probe: Probe,
    pub(super) cold_start: Option<Duration>,
    pub(super) platform_sigterm: Option<Duration>,
}

impl Handler {
    pub(super) fn new(port: u16, log: Log, orders: UnboundedSender<Order>) -> Self {
        Self {
            port,
            log,
            phase: watch::Sender::new(Phase::Starting),
            orders,
            pid: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            restarts: AtomicU32::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) async fn reaches(&self, wanted: impl Fn(Phase) -> bool) -> Phase {
        // The sender lives as long as this does, so that waiting cannot fail.
        self.phase.subscribe().wait_for(|phase| wanted(*phase)).await.map_or(Phase::Down, |phase| *phase)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Acquire)
    }

    /// Ends the host, as it does itself when it sees no way on.
    pub(super) fn shut_down(&self, message: &str) {
        if self.phase() != Phase::Down {
            self.log.error(message);
            self.phase.send_replace(Phase::Down);
        }
        self.order(Order::Stop);
    }

    pub(super) fn order(&self, order: Order) {
        // Without a supervisor there is nothing left to order.
        let _ = self.orders.send(order);
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let changed = *current != Phase::Down && *current != phase;
            if changed {
                *current = phase;
            }
            changed
        });
    }
}

/// Runs the handler until the host stops or gives up.
pub(super) async fn supervise(plan: Plan, handler: Arc<Handler>, mut orders: UnboundedReceiver<Order>) {
    let mut errors = Errors::default();
    let mut going_on = delayed(plan.cold_start, &mut orders).await;
    while going_on {
        let end = live(&plan, &handler, &mut errors, &mut orders).await;
        handler.pid.store(0, Ordering::Release);
        going_on = end == Some(Verdict::Restart);
        if going_on {
            // Whoever sees the restart counted must not find the state of the process before.
            handler.enter(Phase::Starting);
            handler.restarts.fetch_add(1, Ordering::AcqRel);
        } else if end.is_some() {
            handler.shut_down("Exceeded http worker restart retry count. Shutting down Functions Host");
        }
    }
    handler.enter(Phase::Stopped);
}

/// `false` when the host is stopped during the delay.
async fn delayed(delay: Option<Duration>, orders: &mut UnboundedReceiver<Order>) -> bool {
    let Some(delay) = delay else { return true };
    tokio::select! {
        () = sleep(delay) => true,
        _ = orders.recv() => false,
    }
}

/// One process from start to end. `None` when the host was stopped.
async fn live(
    plan: &Plan,
    handler: &Handler,
    errors: &mut Errors,
    orders: &mut UnboundedReceiver<Order>,
) -> Option<Verdict> {
    let generation = handler.generation.fetch_add(1, Ordering::AcqRel) + 1;
    let mut process = match Process::start(plan, handler) {
        Ok(process) => process,
        Err(error) => {
            handler.log.error(format!("Failed to start the handler: {error}"));
            return Some(errors.failed(Instant::now()));
        }
    };
    let mut readiness = std::pin::pin!(plan.probe.until_ready(plan.initialization_timeout));
    let (mut asking, mut running) = (true, true);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Recycle(meant)) if meant != generation => {}
                Some(Order::Recycle(_)) => {
                    process.kill().await;
                    return Some(Verdict::Restart);
                }
                Some(Order::Replace) => {
                    process.kill().await;
                    return None;
                }
                Some(Order::Stop) | None => {
                    process.stop(plan.platform_sigterm).await;
                    return None;
                }
            },
            code = process.exited(&handler.log), if running => match errors.exited(code, Instant::now()) {
                Verdict::Ignore => running = false,
                verdict => return Some(verdict),
            },
            ready = &mut readiness, if asking => {
                asking = false;
                if ready {
                    handler.log.information("Worker process started and initialized.");
                    handler.enter(Phase::Initialized);
                } else {
                    handler.log.error("The handler did not listen within the initialization timeout.");
                    process.kill().await;
                    return Some(errors.failed(Instant::now()));
                }
            },
        }
    }
}

/// A running process and the tasks that read its output.
struct Process {
    /// `None` for a handler that was started elsewhere.
    child: Option<Child>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    fn start(plan: &Plan, handler: &Handler) -> std::io::Result<Self> {
        let Some(description) = &plan.description else {
            return Ok(Self { child: None, readers: Vec::new() });
        };
        let environment = environment(plan, handler.port);
        let line = command::resolve(description, &plan.root, &environment);
        let mut child = Command::new(&line.program)
            .args(&line.arguments)
            .current_dir(&line.directory)
            .env_clear()
            .envs(&environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", line.program.display())))?;
        handler.pid.store(child.id().unwrap_or_default(), Ordering::Release);
        let errors_only = description.stderr_for_errors_only;
        let stdout =
            child.stdout.take().map(|pipe| read(pipe, handler.log.clone(), Source::Stdout, |_| Level::Information));
        let stderr = child
            .stderr
            .take()
            .map(|pipe| read(pipe, handler.log.clone(), Source::Stderr, move |line| stderr_level(line, errors_only)));
        Ok(Self { child: Some(child), readers: stdout.into_iter().chain(stderr).collect() })
    }

    /// The exit code, or `None` after a signal. Never ends for a handler that was started elsewhere.
    async fn exited(&mut self, log: &Log) -> Option<i32> {
        let Some(child) = &mut self.child else {
            return std::future::pending().await;
        };
        let status = child.wait().await;
        self.finish_reading().await;
        match status {
            Ok(status) => {
                log.information(format!("The handler process ended: {status}"));
                status.code()
            }
            Err(error) => {
                log.error(format!("The handler process cannot be waited for: {error}"));
                None
            }
        }
    }

    /// What the platform does when it takes an instance away, or, without it, the host's own way: SIGKILL.
    async fn stop(mut self, sigterm: Option<Duration>) {
        if let (Some(child), Some(patience)) = (&mut self.child, sigterm) {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            // A process that has just ended needs no signal.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let _ = timeout(patience, child.wait()).await;
        }
        self.kill().await;
    }

    async fn kill(mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
            let _ = timeout(KILL_PATIENCE, child.wait()).await;
        }
        self.finish_reading().await;
    }

    /// Waits for the last lines, but not for a grandchild that keeps the pipes open.
    async fn finish_reading(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = timeout(KILL_PATIENCE, reader).await;
        }
    }
}

/// The host's own environment and the five variables that it adds.
fn environment(plan: &Plan, port: u16) -> Settings {
    let (port, id) = (port.to_string(), uuid());
    let mut environment = plan.settings.clone();
    for (name, value) in [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
        ("FUNCTIONS_HTTPWORKER_PORT", &port),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id),
        ("FUNCTIONS_HTTPWORKER_ID", &id),
        ("FUNCTIONS_APP_ROOT_PATH", &plan.root.to_string_lossy()),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

fn read(
    pipe: impl AsyncRead + Send + Unpin + 'static,
    log: Log,
    source: Source,
    level: impl Fn(&str) -> Level + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            log.write(level(text), source, text.to_owned());
            line.clear();
        }
    })
}
