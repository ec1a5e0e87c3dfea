//! A TCP proxy in front of a server, whose connections a test delays, stalls, cuts or refuses.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::web::{ANY_PORT, lock};

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
    tasks: JoinSet<()>,
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
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(run(listener, addr, Arc::clone(&shared)));
        Ok(Self { addr, shared, tasks })
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

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.tasks.is_empty()
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
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, &shared, false) => {}
        () = pump(&mut from_server, &mut to_client, &shared, true) => {}
        _ = cuts.changed() => {}
        _ = freezes.changed() => {
            let _ = cuts.changed().await;
        }
    }
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, shared: &Shared, is_reply: bool) {
    let mut mode = shared.mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let current = *mode.borrow();
        if let (Mode::Delay(time), true) = (current, is_reply) {
            tokio::time::sleep(time).await;
        }
        until(&mut mode, |mode| mode != Mode::Stall).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
