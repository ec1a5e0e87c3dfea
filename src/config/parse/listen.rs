//! Address, threads and numbers of the process that serves (contract 17.1, 17.4 to 17.6).

use std::num::NonZeroUsize;
use std::time::Duration;

use super::{ConfigParser, Parsed};
use crate::config::PREFIX;
use crate::config::settings::{DRAIN_DELAY, KEY_ROTATE, LISTEN, MAX_IN_FLIGHT, Setting, THREADS};
use crate::listen::{Address, Config, default_in_flight, default_threads};
use crate::places::Limits;

/// Orchestrators usually kill a process after 30 s, of which requests in flight need 8 s (contract 17.6).
const LONG_DRAIN: Duration = Duration::from_secs(20);
/// The variable by which the host names the port.
const HOST_PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The range of `MAX_IN_FLIGHT`: below it a share of the places would have none.
const IN_FLIGHT: std::ops::RangeInclusive<usize> = 10..=100_000;
/// The range of `THREADS`.
const THREAD_COUNT: std::ops::RangeInclusive<usize> = 1..=256;

impl ConfigParser<'_> {
    pub(super) fn listen(&mut self) -> Parsed<Config> {
        let (address, drain_delay) = (self.address(), self.duration_from(&DRAIN_DELAY, 0));
        let is_standalone = matches!(address, Ok(Some(Address::Standalone(_))));
        if is_standalone && drain_delay.as_ref().is_ok_and(|delay| *delay > LONG_DRAIN) {
            self.warnings.push(format!(
                "{PREFIX}DRAIN_DELAY: what stops the process must wait for as long and 8 s more; 30 s are usual"
            ));
        }
        for setting in [DRAIN_DELAY, KEY_ROTATE] {
            if matches!(address, Ok(Some(Address::Functions(_)))) && self.set_value(&setting).is_some() {
                self.warnings.push(format!("{PREFIX}{}: has no effect under the Functions host", setting.name));
            }
        }
        let threads = self.number(&THREADS, THREAD_COUNT);
        let in_flight = self.number(&MAX_IN_FLIGHT, IN_FLIGHT);
        let threads = threads?.and_then(NonZeroUsize::new);
        Ok(Config {
            address: address?,
            threads: threads.unwrap_or_else(|| default_threads(is_standalone)),
            limits: Limits::of(in_flight?.unwrap_or_else(|| default_in_flight(is_standalone))),
            drain_delay: drain_delay?,
        })
    }

    pub(super) fn address(&mut self) -> Parsed<Option<Address>> {
        match (self.set_value(&LISTEN), self.vars.get(HOST_PORT)) {
            (Some(_), Some(_)) => {
                let problem =
                    format!("conflicts with {HOST_PORT}: the Functions host names the port; remove one of them");
                Err(self.record(&LISTEN, problem))
            }
            (Some(listen), None) => self.or_record(&LISTEN, Address::standalone(listen)).map(Some),
            (None, Some(port)) => match port.parse() {
                Ok(port) => Ok(Some(Address::Functions(port))),
                Err(_) => Err(self.record_variable(HOST_PORT, "must be a port number")),
            },
            (None, None) if self.serves => {
                let problem = format!(
                    "is required outside Azure Functions, for example 0.0.0.0:8080; the Functions host sets {HOST_PORT}"
                );
                Err(self.record(&LISTEN, problem))
            }
            (None, None) => Ok(None),
        }
    }

    fn number(&mut self, setting: &Setting, range: std::ops::RangeInclusive<usize>) -> Parsed<Option<usize>> {
        let Some(text) = self.set_value(setting) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let problem = || format!("must be a whole number from {} to {}", range.start(), range.end());
        self.or_record(setting, number.ok_or_else(problem)).map(Some)
    }
}
