//! The client of Redis: commands and scripts on shared connections to primaries, of one server or of a cluster
//! (contract 15.12 to 15.16).
//!
//! Imports point down this list: client, servers, link, connection, login, stream, slots, outages, evictions, failure,
//! address.

mod address;
mod connection;
mod evictions;
mod failure;
mod link;
mod login;
mod outages;
mod servers;
mod slots;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, Value};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::time::{Instant, sleep, timeout};

use crate::credential::Credential;
use crate::net::OutboundClients;
use crate::secret::SecretString;
use crate::session::store::StoreUnavailable;
use evictions::Evictions;
use failure::{Failed, Failure};
use outages::Outages;
use servers::{Reply, Servers};
use slots::slot;

pub use outages::Health;

/// The commands that the ACL user of the gateway needs, for the log; `docs/store.md` has them too.
pub const ACL_COMMANDS: &str = "+ping +select +cluster|slots +asking +evalsha +eval +exists +get +set +del +pexpire \
                                +hget +hmget +hset +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +info +scan";
/// Deadline of a call with its retry, its redirections and the connections that it waits for. Longer than that of a
/// token, so that a credential without one is named.
const CALL: Duration = Duration::from_secs(6);
/// Pause between two contacts while the store does not respond.
const CONTACT_WHILE_DOWN: Duration = Duration::from_secs(1);
/// Pause between two contacts while it responds.
const CONTACT_WHILE_UP: Duration = Duration::from_secs(5);

/// The server and how to authenticate.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host name in ASCII, or IP address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// The number of the database. A cluster has only 0.
    pub database: u16,
    pub auth: Auth,
    /// Begins every key.
    pub prefix: String,
}

/// How to authenticate (contract 15.16).
#[derive(Debug, Clone)]
pub enum Auth {
    None,
    /// Without a user: as the default user.
    Password {
        user: Option<String>,
        password: SecretString,
    },
    /// With tokens of the gateway's Azure credential for this scope.
    Entra {
        scope: String,
        credential: Arc<Credential>,
    },
}

/// A Lua script whose keys lie in one slot. It must be idempotent, because it may run twice.
pub struct Script {
    /// For the log.
    name: &'static str,
    source: &'static str,
    hash: OnceLock<String>,
}

/// Commands and scripts on shared connections. No call gets the reply to another one, or that of a replica.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    servers: Servers,
    outages: Arc<Outages>,
    evictions: Evictions,
}

impl Script {
    #[must_use]
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, hash: OnceLock::new() }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// SHA-1 in hex, by which Redis finds the script.
    fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.source.as_bytes());
            hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }

    fn command(&self, how: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(how);
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects at the first call.
    #[must_use]
    pub fn new(config: Config, net: Arc<OutboundClients>) -> Arc<Self> {
        let config = Arc::new(config);
        let outages = Arc::new(Outages::new(&config.prefix));
        let servers = Servers::new(Arc::clone(&config), net, Arc::clone(&outages));
        Arc::new(Self { config, servers, outages, evictions: Evictions::default() })
    }

    /// Sends a command whose keys lie in the slot of `key`. It must be idempotent: if its reply is lost, it is sent
    /// once more on a new connection.
    ///
    /// # Errors
    /// No reply, or an error reply; the reason is logged once per outage.
    pub async fn call(&self, key: &str, command: &Cmd) -> Result<Value, StoreUnavailable> {
        let name = name_of(command);
        let sent = self.send(key, command).await;
        self.recorded(&name, sent)
    }

    /// The same for a command that reads a key of one type: `None` if the key has another type, since no fault of the
    /// server is the reason.
    ///
    /// # Errors
    /// Those of [`Self::call`].
    pub async fn read(&self, key: &str, command: &Cmd) -> Result<Option<Value>, StoreUnavailable> {
        let (name, sent) = (name_of(command), self.send(key, command).await);
        match sent {
            Err(Failed { server, failure }) if failure.is_wrong_type() => {
                self.outages.succeeded(&name, &server, Instant::now());
                Ok(None)
            }
            sent => self.recorded(&name, sent).map(Some),
        }
    }

    /// Runs a script whose keys lie in one slot. If the reply is lost, it runs once more on a new connection.
    ///
    /// # Errors
    /// No reply, or an error reply; the reason is logged once per outage.
    pub async fn run(&self, script: &Script, keys: &[&str], arguments: &[&[u8]]) -> Result<Value, StoreUnavailable> {
        let sent = self.send_script(script, keys, arguments).await;
        self.recorded(script.name, sent)
    }

    /// The keys that match a pattern, one by one on all servers. For commands of operators: it takes long.
    ///
    /// # Errors
    /// One of the servers does not reply, or replies with an error; the reason is logged once per outage.
    pub async fn scan(&self, pattern: &str) -> Result<Vec<Vec<u8>>, StoreUnavailable> {
        match self.servers.scan(pattern).await {
            Ok(keys) => Ok(keys),
            Err(failed) => {
                self.outages.failed("SCAN", &failed, Instant::now());
                Err(StoreUnavailable)
            }
        }
    }

    /// Logs a reply that is not one to its command or script.
    pub fn unexpected_reply(&self, operation: &str) -> StoreUnavailable {
        let failed = Failed { server: Arc::clone(self.servers.first()), failure: Failure::Malformed };
        self.outages.failed(operation, &failed, Instant::now());
        StoreUnavailable
    }

    /// What is known from the last calls.
    pub fn health(&self) -> Health {
        self.outages.health(Instant::now())
    }

    /// Contacts the store and writes a key that expires at once.
    ///
    /// # Errors
    /// What is wrong and what to do, without secrets.
    pub async fn check(&self) -> Result<(), String> {
        static WRITE: Script = Script::new("check", "return redis.call('SET', KEYS[1], '', 'PX', 1)");
        self.send(&self.config.prefix, &redis::cmd("PING")).await.map_err(|failed| self.described(&failed))?;
        let key = format!("{}:check", self.config.prefix);
        self.send_script(&WRITE, &[&key], &[]).await.map_err(|failed| self.described(&failed))?;
        Ok(())
    }

    fn described(&self, Failed { server, failure }: &Failed) -> String {
        let rule = failure.acl_rule(&self.config.prefix);
        let rule = rule.map_or_else(String::new, |rule| format!("; the ACL rule that is needed: {rule}"));
        format!("{server}: {failure}{rule}")
    }

    /// Contacts the store again and again, so that the first reply, an outage and its end are noticed without calls.
    pub async fn keep_contact(&self) {
        loop {
            let contacted = self.call(&self.config.prefix, &redis::cmd("PING")).await;
            if contacted.is_ok() {
                self.look_for_evictions().await;
            }
            sleep(if contacted.is_ok() { CONTACT_WHILE_UP } else { CONTACT_WHILE_DOWN }).await;
        }
    }

    /// A server that does not respond, or does not permit it, is passed over.
    async fn look_for_evictions(&self) {
        for Reply { server, value } in self.servers.ask_all(redis::cmd("INFO").arg("stats")).await {
            self.evictions.look(&server, &value);
        }
    }

    async fn send_script(&self, script: &Script, keys: &[&str], arguments: &[&[u8]]) -> Result<Reply, Failed> {
        let key = keys.first().copied().unwrap_or(&self.config.prefix);
        let sent = self.send(key, &script.command("EVALSHA", script.hash(), keys, arguments)).await;
        if sent.as_ref().is_err_and(|failed| failed.failure.is_unknown_script()) {
            return self.send(key, &script.command("EVAL", script.source, keys, arguments)).await;
        }
        sent
    }

    async fn send(&self, key: &str, command: &Cmd) -> Result<Reply, Failed> {
        let sent = timeout(CALL, self.servers.send(slot(key.as_bytes()), command)).await;
        let server = || Arc::clone(self.servers.first());
        sent.unwrap_or_else(|_| Err(Failed { server: server(), failure: Failure::Timeout }))
    }

    fn recorded(&self, operation: &str, sent: Result<Reply, Failed>) -> Result<Value, StoreUnavailable> {
        let now = Instant::now();
        match sent {
            Ok(Reply { server, value }) => {
                self.outages.succeeded(operation, &server, now);
                Ok(value)
            }
            Err(failed) => {
                self.outages.failed(operation, &failed, now);
                Err(StoreUnavailable)
            }
        }
    }
}

/// The command without its arguments.
fn name_of(command: &Cmd) -> Cow<'_, str> {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name),
        _ => Cow::Borrowed(""),
    }
}
