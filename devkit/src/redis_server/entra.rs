//! Redis as Azure offers it: over TLS, with the object id of an identity as user and its access token as password.
//! Connections whose token has expired are closed.
//!
//! A proxy in front of a real server: it checks the token and replaces user and password by those of a user of that
//! server, so that the replies are the server's own and stay in order.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::{Authority, Options, RedisServer};
use crate::identity::Identity;
use crate::web::{ANY_PORT, from_base64url, lock};

/// The resource of Redis's tokens.
const RESOURCE: &str = "https://redis.azure.com";
/// The user of the server behind the proxy.
const USER: &str = "gateway";
/// Its password, and that of the default user, which tests use.
const PASSWORD: &str = "known-to-the-proxy-only";

/// A server that authenticates an identity's tokens. It ends when it is dropped.
#[derive(Debug)]
pub struct EntraRedis {
    pub server: RedisServer,
    addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    identity: Identity,
    target: SocketAddr,
    /// Connection and outcome of each `AUTH`.
    logins: Mutex<Vec<(usize, bool)>>,
}

impl EntraRedis {
    /// Listens with a certificate for these names.
    ///
    /// # Errors
    /// The server does not start.
    pub async fn start(identity: &Identity, authority: &Authority, names: &[&str]) -> io::Result<Self> {
        let options = Options::default().password(PASSWORD).line(format!("user {USER} on >{PASSWORD} ~* +@all"));
        let server = RedisServer::start(&options)?;
        let acceptor = authority.0.acceptor(names.iter().map(|name| (*name).to_owned()).collect())?;
        let listener = TcpListener::bind(ANY_PORT).await?;
        let (addr, target) = (listener.local_addr()?, server.addr());
        let shared = Arc::new(Shared { identity: identity.clone(), target, logins: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(run(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { server, addr, shared, _tasks: tasks })
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.addr.port()
    }

    /// For each `AUTH` so far its connection, counted from 0, and whether the token was good.
    #[must_use]
    pub fn logins(&self) -> Vec<(usize, bool)> {
        lock(&self.shared.logins).clone()
    }
}

async fn run(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else { return };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // An error means that one side has ended.
            let _ = connection(client, acceptor, number, &shared).await;
        });
    }
}

async fn connection(client: TcpStream, tls: TlsAcceptor, number: usize, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from_client, mut to_client) = tokio::io::split(tls.accept(client).await?);
    let server = TcpStream::connect(shared.target).await?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_server) = server.into_split();
    let replies = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut from_client = BufReader::new(from_client);
    let mut expires = Instant::now() + Duration::from_secs(60);
    loop {
        let words = tokio::select! {
            words = read_command(&mut from_client) => words?,
            () = sleep_until(expires) => break,
        };
        let is_auth = words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"AUTH"));
        let words = if is_auth { shared.login(&words, number, &mut expires) } else { words };
        to_server.write_all(&written(&words)).await?;
    }
    replies.abort();
    Ok(())
}

impl Shared {
    /// The command for the server, with which only a good token authenticates.
    fn login(&self, words: &[Vec<u8>], number: usize, expires: &mut Instant) -> Vec<Vec<u8>> {
        let text = |at: usize| words.get(at).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
        let (user, token) = (text(1), text(2));
        let claims = token.split('.').nth(1).and_then(from_base64url).unwrap_or_default();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        let is_good = self.identity.check(token, RESOURCE).is_ok() && claims["oid"].as_str() == Some(user);
        lock(&self.logins).push((number, is_good));
        if is_good {
            let left = claims["exp"].as_u64().unwrap_or(0).saturating_sub(self.identity.now());
            *expires = Instant::now() + Duration::from_secs(left);
        }
        let password = if is_good { PASSWORD } else { "wrong" };
        ["AUTH", USER, password].map(|word| word.as_bytes().to_vec()).to_vec()
    }
}

async fn read_command(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    for _ in 0..read_length(from).await? {
        let mut word = vec![0; read_length(from).await? + 2];
        from.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Ok(words)
}

/// The number after `*` or `$`.
async fn read_length(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<usize> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    line.trim_end().get(1..).and_then(|number| number.parse().ok()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn written(words: &[Vec<u8>]) -> Vec<u8> {
    let word = |word: &Vec<u8>| [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat();
    let words: Vec<u8> =
        [format!("*{}\r\n", words.len()).into_bytes()].into_iter().chain(words.iter().map(word)).flatten().collect();
    words
}
