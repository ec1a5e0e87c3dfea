//! Timer functions: invoked when they are due, one invocation after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{TimeDelta, Utc};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::config::{Time, TimerFunction, dotnet_time};
use super::http::{Invocation, Worker, call};
use super::log::Log;
use crate::web::lock;

/// How many occurrences the host prints.
const PRINTED: usize = 5;

pub(super) struct Timer {
    function: Arc<TimerFunction>,
    worker: Arc<Worker>,
    /// The moments of `ScheduleStatus` by their names; `None` when the schedule is not monitored. The real host keeps
    /// them in its storage account; here a restart resets them.
    status: Option<Mutex<BTreeMap<&'static str, Time>>>,
}

impl Timer {
    pub(super) fn new(function: &Arc<TimerFunction>, worker: &Arc<Worker>) -> Self {
        let next: Vec<_> = function.schedule.occurrences_after(Utc::now()).take(2).collect();
        // The host does not monitor what is due more often than once a minute.
        let often = matches!(next.as_slice(), [first, second] if *second - *first < TimeDelta::minutes(1));
        let status = || Mutex::new(next.first().map(|time| ("Next", *time)).into_iter().collect());
        Self {
            function: Arc::clone(function),
            worker: Arc::clone(worker),
            status: (function.use_monitor && !often).then(status),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.function.name
    }

    /// Invokes the function whenever it is due, without end. What becomes due during an invocation is left out.
    pub(super) async fn run(self: Arc<Self>) {
        if self.function.run_on_startup {
            self.invoke("Timer fired at startup").await;
        }
        let schedule = &self.function.schedule;
        let mut past = Utc::now();
        while let Some(due) = schedule.after(past) {
            sleep((due - Utc::now()).to_std().unwrap_or_default()).await;
            self.invoke(&format!("Timer fired at {}", dotnet_time(due))).await;
            // A clock that was a little slow must not make the same occurrence due again.
            past = Utc::now().max(due);
            if let Some(status) = &self.status {
                let next = schedule.after(past).map(|time| ("Next", time));
                *lock(status) = [("Last", due), ("LastUpdated", past)].into_iter().chain(next).collect();
            }
        }
    }

    /// Invokes the function now.
    pub(super) async fn invoke(&self, reason: &str) {
        let mut invocation = Invocation::new(&self.worker, self.name());
        invocation.executing(reason);
        if invocation.initialized().await {
            let data = Map::from_iter([(self.function.trigger.clone(), self.info())]);
            // The log says how it ended.
            let _ = call(&invocation, data).await;
        }
    }

    /// .NET's `TimerInfo` as JSON.
    fn info(&self) -> Value {
        let status = self.status.as_ref().map(|status| lock(status).clone());
        // A moment that has not been is the first one of .NET, and has no offset.
        let time = |status: &BTreeMap<_, Time>, name| {
            status.get(name).map_or("0001-01-01T00:00:00".to_owned(), |time| dotnet_time(*time))
        };
        json!({
            "Schedule": {"AdjustForDST": self.function.schedule.adjusts_for_dst()},
            "ScheduleStatus": status.map(|status| {
                Map::from_iter(["Last", "Next", "LastUpdated"].map(|name| (name.to_owned(), time(&status, name).into())))
            }),
            "IsPastDue": false,
        })
    }
}

/// Prints when a function will be due.
pub(super) fn announce(function: &TimerFunction, log: &Log) {
    log.information(format!("{}: timerTrigger", function.name));
    let (name, schedule) = (&function.name, &function.schedule);
    log.information(format!("The next {PRINTED} occurrences of the '{name}' schedule ({schedule}) will be:"));
    for time in schedule.occurrences_after(Utc::now()).take(PRINTED) {
        log.information(time.format("%m/%d/%Y %H:%M:%SZ").to_string());
    }
}
