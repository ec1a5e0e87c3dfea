use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::lock;

/// How a connection is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// As it should be.
    Open,
    /// Refused, as when nothing listens. The port stays taken all the same.
    Refused,
    /// Accepted, but nobody says a word: the TLS handshake never begins.
    Silent,
}

/// Takes TLS off and hands the rest to the HTTP server behind it. Dropped, it ends with all connections.
#[derive(Debug)]
pub(crate) struct Front {
    addr: SocketAddr,
    orders: mpsc::Sender<Order>,
    task: Mutex<Option<JoinHandle<()>>>,
}

type Order = (Door, oneshot::Sender<io::Result<()>>);

impl Front {
    pub(crate) fn start(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let (orders, received) = mpsc::channel(1);
        let task = tokio::spawn(keep(Place::Listening(listener), received, acceptor, behind));
        Ok(Self { addr, orders, task: Mutex::new(Some(task)) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends all connections; new ones meet the door as it is when this returns.
    pub(crate) async fn set_door(&self, door: Door) -> io::Result<()> {
        let (done, when) = oneshot::channel();
        self.orders.send((door, done)).await.map_err(io::Error::other)?;
        when.await.map_err(io::Error::other)?
    }

    pub(crate) async fn stop(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // It was told to end just now: how it ended is no news.
            let _ended = task.await;
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

async fn keep(mut place: Place, mut orders: mpsc::Receiver<Order>, acceptor: TlsAcceptor, behind: SocketAddr) {
    let Some(addr) = place.addr() else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some((door, done)) = order else { return };
                connections.shutdown().await;
                // The port must be free before it is taken anew.
                drop(std::mem::replace(&mut place, Place::Nowhere));
                let taken = Place::retake(addr, door).await.map(|taken| place = taken);
                // Who gave the order may have stopped to wait for it.
                let _told = done.send(taken);
            }
            stream = place.accept() => {
                let silent = matches!(place, Place::Silent(_));
                connections.spawn(carry(stream, silent, acceptor.clone(), behind));
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// What the port is used for.
enum Place {
    Listening(TcpListener),
    Silent(TcpListener),
    /// Bound but not listening: connections are refused, and the system gives the port to nobody else.
    Held(TcpSocket),
    Nowhere,
}

impl Place {
    fn take(addr: SocketAddr, door: Door) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(match door {
            Door::Open => Self::Listening(socket.listen(1024)?),
            Door::Silent => Self::Silent(socket.listen(1024)?),
            Door::Refused => Self::Held(socket),
        })
    }

    /// Takes the port that was just given up. A process forked at that moment holds it until it runs its own program.
    async fn retake(addr: SocketAddr, door: Door) -> io::Result<Self> {
        for _ in 0..100 {
            match Self::take(addr, door) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(Duration::from_millis(10)).await,
                outcome => return outcome,
            }
        }
        Self::take(addr, door)
    }

    fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Listening(listener) | Self::Silent(listener) => listener.local_addr().ok(),
            Self::Held(socket) => socket.local_addr().ok(),
            Self::Nowhere => None,
        }
    }

    async fn accept(&self) -> TcpStream {
        let (Self::Listening(listener) | Self::Silent(listener)) = self else {
            return pending().await;
        };
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                return stream;
            }
        }
    }
}

async fn carry(mut stream: TcpStream, silent: bool, acceptor: TlsAcceptor, behind: SocketAddr) {
    if silent {
        // Until the client gives up, or the door is set anew.
        let mut unread = tokio::io::sink();
        let _gone = tokio::io::copy(&mut stream, &mut unread).await;
        return;
    }
    let (Ok(()), Ok(mut plain)) = (stream.set_nodelay(true), TcpStream::connect(behind).await) else { return };
    let (Ok(()), Ok(mut tls)) = (plain.set_nodelay(true), acceptor.accept(stream).await) else { return };
    // A client that goes away is the client's business.
    let _ended = copy_bidirectional(&mut tls, &mut plain).await;
}
