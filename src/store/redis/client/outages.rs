//! What of the store fails now. From it follow the health, and that each error class is logged once per outage.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::address::Address;
use super::failure::Failed;

/// How long a failure counts that neither recurs nor is followed by a success of its kind.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What is known of the store from the last calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has never responded.
    NotContacted,
    Up,
    Down,
}

#[derive(Debug)]
pub(super) struct Outages {
    /// Begins every key, for the ACL rules.
    prefix: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contacted: bool,
    /// When each failure was seen last.
    failing: BTreeMap<Failing, Instant>,
}

/// Error class and what it concerns.
type Failing = (String, Concern);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Concern {
    Server(Address),
    Operation(String),
}

impl Outages {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), state: Mutex::default() }
    }

    /// Logs the class of a failure unless it was logged in this outage.
    pub(super) fn failed(&self, operation: &str, Failed { server, failure }: &Failed, now: Instant) {
        let concern = if failure.concerns_server() {
            Concern::Server(Address::clone(server))
        } else {
            Concern::Operation(operation.to_owned())
        };
        let class = failure.class();
        let mut state = self.lock();
        state.forget(now);
        let is_new = !state.failing.keys().any(|(known, _)| known == class);
        state.failing.insert((class.to_owned(), concern), now);
        drop(state);
        if is_new {
            let acl_rule = failure.acl_rule(&self.prefix);
            tracing::error!(
                error_class = class, operation, %server, acl_rule, problem = %failure,
                "the session store is unavailable"
            );
        }
    }

    pub(super) fn succeeded(&self, operation: &str, server: &Address, now: Instant) {
        let mut state = self.lock();
        state.contacted = true;
        if state.failing.is_empty() {
            return;
        }
        state.forget(now);
        state.failing.retain(|(_, concern), _| match concern {
            Concern::Server(failing) => failing != server,
            Concern::Operation(failing) => failing != operation,
        });
        let is_over = state.failing.is_empty();
        drop(state);
        if is_over {
            tracing::info!("the session store responds again");
        }
    }

    pub(super) fn health(&self, now: Instant) -> Health {
        let mut state = self.lock();
        state.forget(now);
        match (state.contacted, state.failing.is_empty()) {
            (false, _) => Health::NotContacted,
            (true, true) => Health::Up,
            (true, false) => Health::Down,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        self.failing.retain(|_, seen| now.saturating_duration_since(*seen) < REMEMBERED);
    }
}
