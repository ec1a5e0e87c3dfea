//! The connection to one server: opened when it is needed, by one attempt at a time that all callers share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Config;
use super::address::Address;
use super::connection::Connection;
use super::failure::Failure;
use crate::net::OutboundClients;

/// How long calls fail at once after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Link {
    pub(super) server: Arc<Address>,
    config: Arc<Config>,
    net: Arc<OutboundClients>,
    attempt: Mutex<Arc<Attempt>>,
}

/// An attempt to connect, and what became of it. If its caller is dropped, the next one that waits repeats it.
type Attempt = OnceCell<Result<Arc<Connection>, (Failure, Instant)>>;

impl Link {
    pub(super) fn new(server: Address, config: Arc<Config>, net: Arc<OutboundClients>) -> Arc<Self> {
        Arc::new(Self { server: Arc::new(server), config, net, attempt: Mutex::default() })
    }

    /// A connection that is open, as far as is known.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let attempt = self.attempt();
        let outcome = attempt.get_or_init(|| async {
            let opened = Connection::open(Arc::clone(&self.server), &self.config, &self.net).await;
            opened.map(Arc::new).map_err(|failure| (failure, Instant::now()))
        });
        outcome.await.clone().map_err(|(failure, _)| failure)
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.lock().get(), Some(Ok(connection)) if !connection.is_closed())
    }

    /// The last attempt, or a new one if that is of no use any more.
    fn attempt(&self) -> Arc<Attempt> {
        let mut attempt = self.lock();
        let is_over = match attempt.get() {
            None => false,
            Some(Ok(connection)) => connection.is_closed(),
            Some(Err((_, at))) => at.elapsed() >= PAUSE,
        };
        if is_over {
            *attempt = Arc::default();
        }
        Arc::clone(&attempt)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
