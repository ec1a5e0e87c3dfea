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

    /// Forgets the failures of servers that are not used any more.
    pub(super) fn forget_servers(&self, is_used: impl Fn(&Address) -> bool) {
        self.lock().failing.retain(|(_, concern), _| match concern {
            Concern::Server(server) => is_used(server),
            Concern::Operation(_) => true,
        });
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use redis::Value;

    use super::super::failure::Failure;
    use super::*;
    use crate::telemetry::captured_log::Capture;

    fn server(number: u16) -> Arc<Address> {
        Arc::new(Address { host: "redis.example".to_owned(), port: number })
    }

    fn failed(number: u16, failure: Failure) -> Failed {
        Failed { server: server(number), failure }
    }

    fn refused() -> Failure {
        Failure::Unreachable(io::ErrorKind::ConnectionRefused)
    }

    /// The failure of an error reply as a server sends it.
    fn reply(line: &str) -> Failure {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error);
        Failure::of_reply(&reply.unwrap_err(), &server(1))
    }

    /// Contract 15.12.
    #[test]
    fn each_class_is_logged_once_per_outage() {
        let (log, outages, now) = (Capture::start(), Outages::new("cloakroom"), Instant::now());
        assert_eq!(outages.health(now), Health::NotContacted);
        for _ in 0..3 {
            outages.failed("GET", &failed(1, refused()), now);
            outages.failed("SET", &failed(2, refused()), now);
            outages.failed("SET", &failed(1, reply("LOADING Redis is loading")), now);
        }
        assert_eq!(outages.health(now), Health::NotContacted);
        outages.succeeded("GET", &server(1), now);
        assert_eq!(outages.health(now), Health::Down, "the other server still fails");
        outages.succeeded("GET", &server(2), now);
        assert_eq!(outages.health(now), Health::Up);
        outages.succeeded("GET", &server(2), now);
        let text = log.text();
        assert_eq!(text.matches("unavailable").count(), 2, "{text}");
        assert!(text.contains("error_class=\"unreachable\"") && text.contains("error_class=\"LOADING\""), "{text}");
        assert!(text.contains("server=redis.example:1") && text.contains("operation=\"GET\""), "{text}");
        assert_eq!(text.matches("responds").count(), 1, "{text}");
        outages.failed("GET", &failed(1, refused()), now);
        assert_eq!(log.text().matches("unavailable").count(), 3, "the next outage");
    }

    #[test]
    fn a_read_does_not_end_an_outage_of_writes() {
        let (log, outages, now) = (Capture::start(), Outages::new("cloakroom"), Instant::now());
        for _ in 0..3 {
            outages.failed("create", &failed(1, reply("OOM command not allowed")), now);
            outages.succeeded("load", &server(1), now);
            assert_eq!(outages.health(now), Health::Down);
        }
        assert_eq!(log.text().matches("unavailable").count(), 1, "{}", log.text());
        outages.succeeded("create", &server(1), now);
        assert_eq!(outages.health(now), Health::Up);
    }

    #[test]
    fn a_failure_that_does_not_recur_is_forgotten() {
        let (outages, now) = (Outages::new("cloakroom"), Instant::now());
        outages.succeeded("load", &server(1), now);
        outages.failed("create", &failed(1, reply("OOM command not allowed")), now);
        assert_eq!(outages.health(now + REMEMBERED - Duration::from_millis(1)), Health::Down);
        assert_eq!(outages.health(now + REMEMBERED), Health::Up);
    }

    /// Contract 15.12.
    #[test]
    fn a_missing_permission_is_logged_with_its_rule() {
        let now = Instant::now();
        for (line, rule) in [
            ("NOPERM User ada has no permissions to run the 'get' command", "acl_rule=\"+get\""),
            ("NOPERM this user has no permissions to run the 'cluster|slots' command", "acl_rule=\"+cluster|slots\""),
            ("NOPERM No permissions to access a key", "acl_rule=\"~app:*\""),
            ("NOPERM this user has no permissions to access one of the keys used as arguments", "acl_rule=\"~app:*\""),
            ("NOPERM The user executing the script can't run this command or subcommand", "acl_rule=\"~app:* +"),
            (
                "NOPERM ACL failure in script: User ada has no permissions to run the 'zadd' command",
                "acl_rule=\"+zadd\"",
            ),
            ("NOPERM to run the 'a b' command", "acl_rule=\"~app:* +"),
        ] {
            let (log, outages) = (Capture::start(), Outages::new("app"));
            outages.failed("x", &failed(1, reply(line)), now);
            let text = log.text();
            assert!(text.contains(rule) && text.contains("error_class=\"NOPERM\""), "{line}: {text}");
        }
        let (log, outages) = (Capture::start(), Outages::new("app"));
        outages.failed("x", &failed(1, reply("OOM command not allowed")), now);
        assert!(!log.text().contains("acl_rule"), "{}", log.text());
    }

    #[test]
    fn nothing_of_an_error_reply_is_logged_but_its_code() {
        let (log, outages, now) = (Capture::start(), Outages::new("app"), Instant::now());
        for line in ["CANARY-1 x", "canary", "ERR CANARY", "", "NOPERM CANARY", "A\u{1b}[31mCANARY x"] {
            outages.failed("x", &failed(1, reply(line)), now);
        }
        let text = log.text();
        assert!(!text.to_ascii_uppercase().contains("CANARY"), "{text}");
        assert!(text.contains("error_class=\"other\"") && text.contains("error_class=\"ERR\""), "{text}");
    }
}
