//! Real Redis servers for tests, `cargo dev up` and `cargo dev bench`: the machine's `redis-server`, each on a free
//! port of 127.0.0.1 with a folder of its own.

mod cluster;
mod entra;
mod protocol;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::os::{self, Signal};
use crate::web::{CertificateAuthority, free_port, lock};

pub use cluster::Cluster;
pub use entra::EntraRedis;
pub use protocol::{Connection, Reply};

/// How to get `redis-server`.
pub const GET_REDIS: &str = "apt-get install redis-server, brew install redis, or see redis.io";

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(20);
/// The configuration of every server; lines of a test come after these and replace them.
const LINES: [&str; 6] =
    ["bind 127.0.0.1", "protected-mode no", "save \"\"", "appendonly no", "logfile redis.log", "daemonize no"];

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further lines of `redis.conf`.
    pub lines: Vec<String>,
    /// Whether it also has a port with TLS.
    pub tls: Option<Tls>,
    /// The password of the default user, with which [`RedisServer::command`] authenticates.
    pub password: Option<String>,
}

impl Options {
    /// Adds a line of `redis.conf`, such as `maxmemory 1mb` or `user ada on >secret ~* +@all`.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Requires a password of the default user.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.line(format!("requirepass {password}"))
    }

    /// Adds a port with TLS, whose certificate is for these names and addresses.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.tls = Some(Tls { authority: authority.clone(), names });
        self
    }

    /// Replicates another server.
    #[must_use]
    pub fn replica_of(self, primary: &RedisServer) -> Self {
        self.line(format!("replicaof 127.0.0.1 {}", primary.port()))
    }
}

/// The certificate of a server.
#[derive(Clone, Debug)]
pub struct Tls {
    authority: Authority,
    names: Vec<String>,
}

/// A certificate authority for servers with TLS.
#[derive(Clone)]
pub struct Authority(Arc<CertificateAuthority>);

impl Authority {
    /// # Errors
    /// No key could be made.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(CertificateAuthority::new("Redis")?)))
    }

    /// Its certificate, for `SSL_CERT_FILE`.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0.pem
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A server; it ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    tls_port: u16,
    password: Option<String>,
    folder: TempDir,
    process: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts a server and waits until it replies.
    ///
    /// # Errors
    /// It is not installed, or does not reply.
    pub fn start(options: &Options) -> io::Result<Self> {
        let server = Self {
            port: free_port()?,
            tls_port: free_port()?,
            password: options.password.clone(),
            folder: tempfile::tempdir()?,
            process: Mutex::default(),
        };
        let mut lines: Vec<String> = LINES.iter().map(|line| (*line).to_owned()).collect();
        lines.push(format!("port {}\ndir {}", server.port, server.folder.path().display()));
        if let Some(Tls { authority, names }) = &options.tls {
            lines.push(server.tls_lines(authority, names)?);
        }
        lines.extend(options.lines.iter().cloned());
        std::fs::write(server.folder.path().join("redis.conf"), lines.join("\n") + "\n")?;
        server.start_again()?;
        Ok(server)
    }

    fn tls_lines(&self, authority: &Authority, names: &[String]) -> io::Result<String> {
        let (certificate, key) = authority.0.leaf(names.to_vec())?;
        for (name, text) in [("leaf.pem", certificate.as_str()), ("key.pem", &key), ("ca.pem", authority.pem())] {
            std::fs::write(self.folder.path().join(name), text)?;
        }
        let port = self.tls_port;
        Ok(format!(
            "tls-port {port}\ntls-cert-file leaf.pem\ntls-key-file key.pem\ntls-ca-cert-file ca.pem\n\
             tls-auth-clients no"
        ))
    }

    /// Starts it after it has ended, on the same ports and with the data that it saved.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&self) -> io::Result<()> {
        self.start_without_waiting()?;
        let started = Instant::now();
        while self.command(&["PING"]).is_err() {
            if started.elapsed() > PATIENCE || self.has_ended() {
                return Err(io::Error::other(format!("redis-server does not reply:\n{}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts it after it has ended.
    ///
    /// # Errors
    /// It is not installed.
    pub fn start_without_waiting(&self) -> io::Result<()> {
        let mut command = Command::new("redis-server");
        command.arg("redis.conf").current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *lock(&self.process) = Some(command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other(format!("redis-server is not installed: {GET_REDIS}")),
            _ => error,
        })?);
        Ok(())
    }

    fn has_ended(&self) -> bool {
        lock(&self.process).as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)))
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `None` while it does not run.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        lock(&self.process).as_ref().map(Child::id)
    }

    /// The port with TLS, if it was started with that.
    #[must_use]
    pub const fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Its URL without TLS and without a user.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("redis.log")).unwrap_or_default()
    }

    /// A connection as the default user.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn connect(&self) -> io::Result<Connection> {
        let mut connection = Connection::open(self.addr())?;
        if let Some(password) = &self.password {
            connection.command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    /// Sends a command as the default user.
    ///
    /// # Errors
    /// No reply within some seconds. An error reply is a [`Reply`].
    pub fn command(&self, words: &[&str]) -> io::Result<Reply> {
        self.connect()?.command(words)
    }

    /// Ends it with SIGKILL, as a crash does.
    pub fn kill(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends it with SIGTERM: it saves if it is configured to, and closes its connections.
    pub fn stop(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            if os::signal(process.id(), Signal::Terminate).is_err() {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
    }

    /// Stops it from running, without closing anything.
    pub fn pause(&self) {
        self.signal(Signal::Pause);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::Resume);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = lock(&self.process).as_ref() {
            // A process that has just ended needs no signal.
            let _ = os::signal(process.id(), signal);
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
