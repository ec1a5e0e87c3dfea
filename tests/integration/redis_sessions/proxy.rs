//! A connection to a server that loses a reply, or holds a request back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::app::PATIENCE;

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    loses: Mutex<bool>,
    /// Requests with all of these texts are held back.
    held: watch::Sender<Vec<&'static str>>,
    holds: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { loses: Mutex::default(), held: watch::Sender::default(), holds: watch::Sender::default() };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    /// Loses the next reply: the connection ends instead.
    pub fn lose(&self) {
        *self.state.loses.lock().unwrap() = true;
    }

    /// Whether the reply of [`Self::lose`] was lost.
    pub fn has_lost(&self) -> bool {
        !*self.state.loses.lock().unwrap()
    }

    /// Holds the next requests back that have all of these texts, until [`Self::release`].
    pub fn hold(&self, texts: Vec<&'static str>) {
        self.state.held.send_replace(texts);
    }

    pub async fn holds(&self) {
        let mut holds = self.state.holds.subscribe();
        timeout(PATIENCE, holds.wait_for(|holds| *holds)).await.expect("a request is held back").unwrap();
    }

    pub fn release(&self) {
        self.state.held.send_replace(Vec::new());
    }
}

async fn pass(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = requests(from_client, to_server, &state) => {}
        () = replies(from_server, to_client, &state) => {}
    }
}

async fn requests(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &State) {
    let mut buffer = vec![0; 1_000_000];
    while let Ok(mut length @ 1..) = from.read(&mut buffer).await {
        // What follows at once belongs to the same command.
        while let Ok(Ok(more @ 1..)) = timeout(Duration::from_millis(5), from.read(&mut buffer[length..])).await {
            length += more;
        }
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut held = state.held.subscribe();
        let is_held = |texts: &Vec<&str>| !texts.is_empty() && texts.iter().all(|part| text.contains(part));
        if is_held(&held.borrow()) {
            state.holds.send_replace(true);
        }
        held.wait_for(|texts| !is_held(texts)).await.unwrap();
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn replies(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &State) {
    let mut buffer = vec![0; 1_000_000];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let loses = std::mem::take(&mut *state.loses.lock().unwrap());
        if loses || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
