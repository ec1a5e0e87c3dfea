//! Timer functions: called when they are due, one call after the other.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{
    invocation::{Invocation, initialized},
    log::Log,
    payload,
    schedule::{Schedule, Time},
    server::App,
    settings::Settings,
};

/// How many occurrences the host prints.
const PRINTED: usize = 5;

/// A function with a timer trigger.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) name: String,
    /// The trigger's name, under which the handler finds what it tells.
    binding: String,
    schedule: Schedule,
    run_on_startup: bool,
    /// `None` when the schedule is not monitored.
    status: Option<Mutex<Status>>,
}

/// What the real host keeps in its storage account; here, a restart forgets it.
#[derive(Clone, Copy, Debug, Default)]
struct Status {
    last: Option<Time>,
    next: Option<Time>,
    updated: Option<Time>,
}

impl Timer {
    /// Reads a trigger.
    pub(super) fn parse(name: &str, trigger: &Value, settings: &Settings) -> Result<Self, String> {
        let text = |key: &str| trigger.get(key).and_then(Value::as_str);
        let flag = |key: &str| trigger.get(key).and_then(Value::as_bool);
        let schedule = Schedule::parse(text("schedule").ok_or("The timer trigger has no schedule.")?, settings)?;
        let soon = schedule.next(2, Utc::now());
        // The host does not monitor what is due more often than once a minute.
        let often = matches!(soon.as_slice(), [first, second] if *second - *first < TimeDelta::minutes(1));
        let monitored = flag("useMonitor").unwrap_or(true) && !often;
        let status = Status { next: soon.first().copied(), ..Status::default() };
        Ok(Self {
            name: name.to_owned(),
            binding: text("name").filter(|name| !name.is_empty()).ok_or("The timer trigger has no name.")?.to_owned(),
            schedule,
            run_on_startup: flag("runOnStartup").unwrap_or(false),
            status: monitored.then(|| Mutex::new(status)),
        })
    }

    /// Prints when it will be due.
    pub(super) fn announce(&self, log: &Log) {
        log.information(format!(
            "The next {PRINTED} occurrences of the '{}' schedule ({}) will be:",
            self.name, self.schedule
        ));
        for time in self.schedule.next(PRINTED, Utc::now()) {
            log.information(time.format("%m/%d/%Y %H:%M:%SZ").to_string());
        }
    }

    /// Calls the function whenever it is due, for ever. What becomes due during a call is left out.
    pub(super) async fn keep(self: Arc<Self>, app: Arc<App>) {
        if self.run_on_startup {
            self.call(&app, "Timer fired at startup").await;
        }
        let mut past = Utc::now();
        while let Some(due) = self.schedule.after(past) {
            sleep((due - Utc::now()).to_std().unwrap_or_default()).await;
            self.call(&app, &format!("Timer fired at {}", written(due))).await;
            // A clock that was a little slow must not make the same occurrence due again.
            past = Utc::now().max(due);
            self.note(due, past);
        }
    }

    /// Calls the function now.
    pub(super) async fn call(&self, app: &App, reason: &str) {
        let invocation = Invocation::new(&self.name);
        app.handler
            .log
            .information(format!("Executing 'Functions.{}' (Reason='{reason}', Id={})", self.name, invocation.id));
        if initialized(app).await {
            let data = Map::from_iter([(self.binding.clone(), self.info())]);
            // Whether it worked is in the log, as there is nobody else to tell.
            let _ = payload::exchange(app, &invocation, data).await;
        }
    }

    /// What .NET makes of its `TimerInfo`.
    fn info(&self) -> Value {
        let status = self.status.as_ref().map(|status| *status.lock().unwrap_or_else(PoisonError::into_inner));
        // A moment that has not been is the first that .NET knows, and has no offset.
        let told = |time: Option<Time>| time.map_or("0001-01-01T00:00:00".to_owned(), written);
        json!({
            "Schedule": {"AdjustForDST": self.schedule.adjusts_for_dst()},
            "ScheduleStatus": status.map(|status| json!({
                "Last": told(status.last),
                "Next": told(status.next),
                "LastUpdated": told(status.updated),
            })),
            "IsPastDue": false,
        })
    }

    fn note(&self, due: Time, now: Time) {
        if let Some(status) = &self.status {
            let next = self.schedule.after(now);
            *status.lock().unwrap_or_else(PoisonError::into_inner) =
                Status { last: Some(due), next, updated: Some(now) };
        }
    }
}

/// A moment as .NET writes one of a known zone.
pub(super) fn written(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, false)
}
