//! A TCP proxy in front of a server, whose connections a test delays, stalls, cuts or refuses, and which loses a reply
//! or holds a request back.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::web::{ANY_PORT, lock};

/// Longer than a request whose texts are looked for.
const BUFFER: usize = 1_000_000;
/// What follows within this time belongs to the same request.
const SAME_REQUEST: Duration = Duration::from_millis(5);

/// What the proxy does with connections, those that are open included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Passes on what the server sends so much later.
    Delay(Duration),
    /// Accepts connections and keeps them open, but passes on nothing.
    Stall,
    /// Closes all connections and refuses new ones. The port stays taken.
    Refuse,
}

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Chaos {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    listening: watch::Sender<bool>,
    /// Each value closes the connections that are open then.
    cuts: watch::Sender<u64>,
    /// From each value on, nothing is passed on over the connections that are open then.
    freezes: watch::Sender<u64>,
    accepted: AtomicUsize,
    /// The reply to the next request with all of these texts is lost.
    loses: Mutex<Option<Vec<&'static str>>>,
    /// Whether that request is held back when it is repeated.
    holds_repeated: AtomicBool,
    /// Requests with all of these texts are held back.
    held: watch::Sender<Vec<&'static str>>,
    holds: watch::Sender<bool>,
}

impl Chaos {
    /// Listens on a free port of 127.0.0.1 for a server.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(ANY_PORT).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::Pass),
            listening: watch::Sender::new(true),
            cuts: watch::Sender::new(0),
            freezes: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            loses: Mutex::default(),
            holds_repeated: AtomicBool::new(false),
            held: watch::Sender::default(),
            holds: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(run(listener, addr, Arc::clone(&shared)));
        Ok(Self { addr, shared, _tasks: tasks })
    }

    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Returns once the mode is in effect.
    pub async fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        // The listener closes and opens in a task of its own.
        let mut listening = self.shared.listening.subscribe();
        let _ = listening.wait_for(|listening| *listening == (mode != Mode::Refuse)).await;
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Closes all connections; new ones are not affected.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Passes on nothing any more over the connections that are open, and keeps them open; new ones are not affected.
    pub fn freeze(&self) {
        self.shared.freezes.send_modify(|freezes| *freezes += 1);
    }

    /// New connections go to another server.
    pub fn retarget(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Loses the reply to the next request that has all of these texts: the connection ends instead.
    pub fn lose(&self, texts: &[&'static str]) {
        *lock(&self.shared.loses) = Some(texts.to_vec());
    }

    /// The same, and holds the repetition of the request back, until [`Self::release`].
    pub fn lose_and_hold(&self, texts: &[&'static str]) {
        self.shared.holds.send_replace(false);
        self.shared.holds_repeated.store(true, Ordering::Relaxed);
        self.lose(texts);
    }

    /// Whether there was the request of [`Self::lose`].
    #[must_use]
    pub fn has_lost(&self) -> bool {
        lock(&self.shared.loses).is_none()
    }

    /// Holds the next requests back that have all of these texts, until [`Self::release`].
    pub fn hold(&self, texts: Vec<&'static str>) {
        self.shared.holds.send_replace(false);
        self.shared.held.send_replace(texts);
    }

    /// Waits until a request is held back.
    pub async fn holds(&self) {
        let mut holds = self.shared.holds.subscribe();
        let _ = holds.wait_for(|holds| *holds).await;
    }

    /// Passes on what is held back.
    pub fn release(&self) {
        self.shared.held.send_replace(Vec::new());
    }
}

async fn run(mut listener: TcpListener, addr: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut mode = shared.mode.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(client, Arc::clone(&shared)));
            }
            () = until(&mut mode, |mode| mode == Mode::Refuse) => {
                drop(listener);
                let Ok(taken) = bound(addr) else { return };
                shared.listening.send_replace(false);
                until(&mut mode, |mode| mode != Mode::Refuse).await;
                let Ok(listening) = taken.listen(128) else { return };
                shared.listening.send_replace(true);
                listener = listening;
            }
        }
    }
}

async fn until(mode: &mut watch::Receiver<Mode>, condition: impl Fn(Mode) -> bool) {
    // An error means that the proxy has ended, and this task with it.
    let _ = mode.wait_for(|mode| condition(*mode)).await;
}

/// A socket that takes the port without listening: connections are refused.
fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Passes on both directions until one ends or the connection is cut.
async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let (mut cuts, mut freezes) = (shared.cuts.subscribe(), shared.freezes.subscribe());
    let target = *lock(&shared.target);
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let is_lost = AtomicBool::new(false);
    tokio::select! {
        () = requests(&mut from_client, &mut to_server, &shared, &is_lost) => {}
        () = replies(&mut from_server, &mut to_client, &shared, &is_lost) => {}
        _ = cuts.changed() => {}
        _ = freezes.changed() => {
            let _ = cuts.changed().await;
        }
    }
}

async fn requests(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, shared: &Shared, is_lost: &AtomicBool) {
    let (mut mode, mut held) = (shared.mode.subscribe(), shared.held.subscribe());
    let mut buffer = vec![0; BUFFER];
    while let Ok(mut length @ 1..) = from.read(&mut buffer).await {
        if !held.borrow().is_empty() || lock(&shared.loses).is_some() {
            while let Ok(Ok(more @ 1..)) = timeout(SAME_REQUEST, from.read(&mut buffer[length..])).await {
                length += more;
            }
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        let has_all = |texts: &Vec<&str>| texts.iter().all(|part| text.contains(part));
        let is_held = |texts: &Vec<&str>| !texts.is_empty() && has_all(texts);
        if is_held(&held.borrow()) {
            shared.holds.send_replace(true);
        }
        let _ = held.wait_for(|texts| !is_held(texts)).await;
        until(&mut mode, |mode| mode != Mode::Stall).await;
        let lost = lock(&shared.loses).take_if(|texts| has_all(texts));
        if let Some(texts) = lost {
            is_lost.store(true, Ordering::Relaxed);
            if shared.holds_repeated.swap(false, Ordering::Relaxed) {
                shared.held.send_replace(texts);
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn replies(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, shared: &Shared, is_lost: &AtomicBool) {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let current = *mode.borrow();
        if let Mode::Delay(time) = current {
            sleep(time).await;
        }
        until(&mut mode, |mode| mode != Mode::Stall).await;
        if is_lost.load(Ordering::Relaxed) || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
