//! The connection to one server: opened when it is needed, by one attempt at a time that all callers share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
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
    /// The last attempt to connect; `None` before the first.
    attempt: Mutex<Option<Attempt>>,
}

/// An attempt to connect: `None` while it runs, whether its callers wait for it or not.
type Attempt = watch::Receiver<Option<Outcome>>;

#[derive(Debug, Clone)]
enum Outcome {
    Connected(Arc<Connection>),
    Failed(Failure, Instant),
}

impl Link {
    pub(super) fn new(server: Address, config: Arc<Config>, net: Arc<OutboundClients>) -> Arc<Self> {
        Arc::new(Self { server: Arc::new(server), config, net, attempt: Mutex::default() })
    }

    /// A connection that is open, as far as is known.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let mut attempt = self.attempt();
        // An error means that the runtime shuts down.
        let outcome = attempt.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        match outcome {
            Some(Outcome::Connected(connection)) => Ok(connection),
            Some(Outcome::Failed(failure, _)) => Err(failure),
            None => Err(Failure::Closed),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        let attempt = self.lock();
        attempt.as_ref().is_some_and(
            |attempt| matches!(&*attempt.borrow(), Some(Outcome::Connected(connection)) if !connection.is_closed()),
        )
    }

    /// The last attempt, or a new one if that is of no use any more.
    fn attempt(&self) -> Attempt {
        let mut attempt = self.lock();
        match &mut *attempt {
            Some(last) if !is_over(last) => last.clone(),
            last => last.insert(self.begin()).clone(),
        }
    }

    fn begin(&self) -> Attempt {
        let (sender, attempt) = watch::channel(None);
        let (server, config, net) = (Arc::clone(&self.server), Arc::clone(&self.config), Arc::clone(&self.net));
        tokio::spawn(async move {
            let outcome = match Connection::open(server, &config, &net).await {
                Ok(connection) => Outcome::Connected(Arc::new(connection)),
                Err(failure) => Outcome::Failed(failure, Instant::now()),
            };
            sender.send_replace(Some(outcome));
        });
        attempt
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_over(attempt: &Attempt) -> bool {
    match &*attempt.borrow() {
        // Without an outcome and a sender it panicked.
        None => attempt.has_changed().is_err(),
        Some(Outcome::Connected(connection)) => connection.is_closed(),
        Some(Outcome::Failed(_, at)) => at.elapsed() >= PAUSE,
    }
}
