//! One connection to a primary, shared by all callers (contract 15.13, 15.14).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisResult, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Config;
use super::address::Address;
use super::failure::Failure;
use super::login::Login;
use super::stream;
use crate::net::{CONNECT, OutboundClients};

/// Deadline of one command.
const OPERATION: Duration = Duration::from_secs(1);
/// How often a connection in use is checked.
const CHECK: Duration = Duration::from_secs(1);
/// Pause after an attempt to authenticate again that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    commands: Commands,
    state: Arc<State>,
    /// What sends and receives, and what checks the connection; both end with it.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Whether new commands need another connection.
    closed: AtomicBool,
    /// Whether it was used since the last check.
    used: AtomicBool,
}

/// Sends commands to one server.
#[derive(Clone)]
struct Commands {
    multiplexed: MultiplexedConnection,
    server: Arc<Address>,
}

/// What the reply of `HELLO` says of a server.
#[derive(Debug, PartialEq, Eq)]
struct Hello {
    is_primary: bool,
    in_cluster: bool,
}

impl Connection {
    /// Connects, authenticates and checks that the server is a primary, or one of a cluster: those redirect.
    pub(super) async fn open(
        server: Arc<Address>,
        config: &Arc<Config>,
        net: &Arc<OutboundClients>,
    ) -> Result<Self, Failure> {
        let login = Login::of(&config.auth).await?;
        let opened = timeout(CONNECT, Self::open_with(server, config, net, login)).await;
        opened.unwrap_or(Err(Failure::ConnectTimeout))
    }

    async fn open_with(
        server: Arc<Address>,
        config: &Arc<Config>,
        net: &Arc<OutboundClients>,
        login: Option<Login>,
    ) -> Result<Self, Failure> {
        let stream = stream::open(&server, config, net).await?;
        // No command is sent here: the errors of this library do not say which command failed.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let settings = AsyncConnectionConfig::new().set_response_timeout(None);
        let multiplexed = MultiplexedConnection::new_with_config(&info, stream, settings).await;
        let (multiplexed, driver) = multiplexed.map_err(|error| Failure::of_connection(&error))?;
        let (commands, state) = (Commands { multiplexed, server }, Arc::<State>::default());
        let mut tasks = JoinSet::new();
        let driven = Arc::clone(&state);
        tasks.spawn(async move {
            driver.await;
            driven.closed.store(true, Ordering::Relaxed);
        });
        commands.greet(config, login.as_ref()).await?;
        let renew_in = login.and_then(|login| login.renew_in);
        tasks.spawn(keep(commands.clone(), Arc::clone(&state), Arc::clone(config), renew_in));
        Ok(Self { commands, state, _tasks: tasks })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Relaxed)
    }

    /// Sends a command; with `asking` as one that a redirection with `ASK` sends.
    pub(super) async fn send(&self, command: &Cmd, asking: bool) -> Result<Value, Failure> {
        self.state.used.store(true, Ordering::Relaxed);
        let sent = if asking { self.commands.send_asking(command).await } else { self.commands.send(command).await };
        if sent.as_ref().is_err_and(Failure::ends_connection) {
            self.state.closed.store(true, Ordering::Relaxed);
        }
        sent
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.commands.server).finish_non_exhaustive()
    }
}

impl Commands {
    async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut multiplexed = self.multiplexed.clone();
        self.received(timeout(OPERATION, multiplexed.send_packed_command(command)).await)
    }

    /// On a connection that others use, `ASKING` and the command must be sent at once.
    async fn send_asking(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut multiplexed = self.multiplexed.clone();
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let replies = timeout(OPERATION, multiplexed.send_packed_commands(&both, 0, 2)).await;
        let last = |replies: Vec<Value>| replies.into_iter().next_back().unwrap_or(Value::Nil);
        self.received(replies.map(|replies| replies.map(last)))
    }

    fn received<E>(&self, sent: Result<RedisResult<Value>, E>) -> Result<Value, Failure> {
        let reply = sent.map_err(|_| Failure::Timeout)?.map_err(|error| Failure::of_connection(&error))?;
        reply.extract_error().map_err(|error| Failure::of_reply(&error, &self.server))
    }

    async fn greet(&self, config: &Config, login: Option<&Login>) -> Result<(), Failure> {
        if let Some(login) = login {
            self.send(&login.command()).await?;
        }
        let hello = self.hello().await?;
        match config.database {
            0 => {}
            _ if hello.in_cluster => return Err(Failure::DatabaseOfCluster),
            number => drop(self.send(redis::cmd("SELECT").arg(number)).await?),
        }
        if hello.is_usable() { Ok(()) } else { Err(Failure::Replica) }
    }

    /// Authenticates with a new token; returns when to do so again.
    async fn renew(&self, config: &Config) -> Result<Duration, Failure> {
        let Some(login) = Login::of(&config.auth).await? else { return Ok(RENEWAL_PAUSE) };
        self.send(&login.command()).await?;
        Ok(login.renew_in.unwrap_or(RENEWAL_PAUSE))
    }

    async fn hello(&self) -> Result<Hello, Failure> {
        Hello::read(&self.send(redis::cmd("HELLO").arg(2)).await?).ok_or(Failure::Malformed)
    }
}

impl Hello {
    /// Reads an array of names and values.
    fn read(reply: &Value) -> Option<Self> {
        let Value::Array(members) = reply else { return None };
        let text = |name: &str| {
            let pair = members.chunks_exact(2).find(|pair| is_text(pair.first(), name));
            pair.and_then(|pair| pair.last())
        };
        let role = text("role")?;
        Some(Self { is_primary: is_text(Some(role), "master"), in_cluster: is_text(text("mode"), "cluster") })
    }

    /// A replica of a cluster redirects to its primary.
    fn is_usable(&self) -> bool {
        self.is_primary || self.in_cluster
    }
}

fn is_text(value: Option<&Value>, text: &str) -> bool {
    match value {
        Some(Value::BulkString(bytes)) => bytes == text.as_bytes(),
        Some(Value::SimpleString(found)) => found == text,
        _ => false,
    }
}

/// When a connection authenticates again.
struct Renewal {
    at: Instant,
    /// Whether the last attempt failed, which is logged once.
    failed: bool,
}

/// Checks a connection in use each second, so that a stalled one is replaced and a primary that became a replica is
/// not read; and authenticates again before a token expires.
async fn keep(commands: Commands, state: Arc<State>, config: Arc<Config>, renew_in: Option<Duration>) {
    let mut renewal = renew_in.map(|pause| Renewal { at: Instant::now() + pause, failed: false });
    while !state.closed.load(Ordering::Relaxed) {
        sleep(CHECK).await;
        if let Some(renewal) = renewal.as_mut().filter(|renewal| Instant::now() >= renewal.at) {
            renewal.attempt(&commands, &config).await;
        }
        let used = state.used.swap(false, Ordering::Relaxed);
        if used && !commands.hello().await.is_ok_and(|hello| hello.is_usable()) {
            state.closed.store(true, Ordering::Relaxed);
        }
    }
}

impl Renewal {
    /// The connection stays authenticated, and its calls continue, whatever the outcome.
    async fn attempt(&mut self, commands: &Commands, config: &Config) {
        let pause = match commands.renew(config).await {
            Ok(pause) => {
                self.failed = false;
                pause
            }
            Err(failure) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(
                        error_class = failure.class(), server = %commands.server, problem = %failure,
                        "a connection to the session store could not authenticate again; it ends with its token"
                    );
                }
                RENEWAL_PAUSE
            }
        };
        self.at = Instant::now() + pause;
    }
}
