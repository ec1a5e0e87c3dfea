//! Starts the handler, and decides what follows when it ends.

use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::command_line;
use super::crashes::{Crashes, Outcome};
use super::handler::{Handler, Order, Phase};
use super::probe::Probe;
use crate::host::config::{HostConfig, Settings};
use crate::host::log::{CONSOLE, Level, Log, stderr_level};
use crate::host::options::Options;
use crate::os::{self, Signal};
use crate::web::guid;

/// How long the host waits for a process that it has killed, and for the rest of its output.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) probe: Probe,
    /// The handler runs elsewhere and is only probed.
    pub(crate) attached: bool,
}

/// Runs the handler until the host stops or gives up.
pub(crate) async fn supervise(plan: Plan, handler: Arc<Handler>, mut orders: UnboundedReceiver<Order>) {
    let mut crashes = Crashes::default();
    if let Some(delay) = plan.options.cold_start
        && timeout(delay, orders.recv()).await.is_ok()
    {
        return handler.enter(Phase::Stopped);
    }
    loop {
        let outcome = run(&plan, &handler, &mut crashes, &mut orders).await;
        handler.update(|state| state.pid = None);
        if outcome == Outcome::ShutDown {
            handler.shut_down("Exceeded http worker restart retry count. Shutting down Functions Host");
        }
        if outcome != Outcome::Restart {
            break;
        }
        handler.enter(Phase::Starting);
        handler.update(|state| state.restarts += 1);
    }
    handler.enter(Phase::Stopped);
}

/// Runs one process from start to end.
async fn run(plan: &Plan, handler: &Handler, crashes: &mut Crashes, orders: &mut UnboundedReceiver<Order>) -> Outcome {
    handler.update(|state| state.starts += 1);
    let start = handler.state().starts;
    let mut process = match Process::start(plan, handler) {
        Ok(process) => process,
        Err(error) => {
            handler.log.error(format!("Failed to start the handler: {error}"));
            return crashes.add(Instant::now());
        }
    };
    let mut readiness = pin!(plan.probe.until_ready(plan.config.initialization_timeout));
    let (mut probing, mut running) = (true, true);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Recycle(other)) if other != start => {}
                Some(Order::Recycle(_)) => {
                    process.kill().await;
                    return Outcome::Restart;
                }
                Some(Order::Replace) => {
                    process.kill().await;
                    return Outcome::Stop;
                }
                Some(Order::Stop) | None => {
                    process.terminate(plan.options.platform_sigterm).await;
                    return Outcome::Stop;
                }
            },
            code = process.exited(&handler.log), if running => match crashes.exited(code, Instant::now()) {
                Outcome::Ignore => running = false,
                outcome => return outcome,
            },
            ready = &mut readiness, if probing => {
                probing = false;
                if ready {
                    handler.log.information("Worker process started and initialized.");
                    handler.enter(Phase::Initialized);
                } else {
                    handler.log.error("The handler did not listen within the initialization timeout.");
                    process.kill().await;
                    return crashes.add(Instant::now());
                }
            },
        }
    }
}

/// A running process and the tasks that read its output.
#[derive(Default)]
struct Process {
    /// `None` for a handler that runs elsewhere.
    child: Option<Child>,
    readers: JoinSet<()>,
}

impl Process {
    fn start(plan: &Plan, handler: &Handler) -> io::Result<Self> {
        if plan.attached {
            return Ok(Self::default());
        }
        let description = &plan.config.description;
        let environment = environment(plan, handler.port);
        let line = command_line::resolve(description, &plan.options.root, &environment);
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
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", line.program.display())))?;
        handler.update(|state| state.pid = child.id());
        let errors_only = description.stderr_for_errors_only;
        let mut readers = JoinSet::new();
        if let Some(pipe) = child.stdout.take() {
            readers.spawn(copy_lines(pipe, handler.log.clone(), |_| Level::Information));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.spawn(copy_lines(pipe, handler.log.clone(), move |line| stderr_level(line, errors_only)));
        }
        Ok(Self { child: Some(child), readers })
    }

    /// The exit code, or `None` after a signal. Never ends for a handler that runs elsewhere.
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
                log.error(format!("Cannot wait for the handler process: {error}"));
                None
            }
        }
    }

    /// SIGTERM first, where the platform does that when it removes an instance; the host itself sends SIGKILL only.
    async fn terminate(mut self, sigterm: Option<Duration>) {
        if let (Some(child), Some(patience)) = (&mut self.child, sigterm) {
            // A process that has just ended needs no signal, and on Windows there are none.
            if child.id().is_some_and(|process| os::signal(process, Signal::Terminate).is_ok()) {
                let _ = timeout(patience, child.wait()).await;
            }
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
        let _ = timeout(KILL_PATIENCE, async { while self.readers.join_next().await.is_some() {} }).await;
    }
}

/// The host's own environment and the five variables that it adds.
fn environment(plan: &Plan, port: u16) -> Settings {
    let (port, id) = (port.to_string(), guid(rand::random()));
    let own = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.as_str()),
        ("FUNCTIONS_HTTPWORKER_PORT", &port),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id),
        ("FUNCTIONS_HTTPWORKER_ID", &id),
        ("FUNCTIONS_APP_ROOT_PATH", &plan.options.root.to_string_lossy()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    plan.settings.clone().into_iter().chain(own).collect()
}

async fn copy_lines(pipe: impl AsyncRead + Unpin, log: Log, level: impl Fn(&str) -> Level) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        log.write(CONSOLE, level(text), text);
        line.clear();
    }
}
