use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::web::lock;

/// The vault's clock, which tests set forward and back, and stop.
#[derive(Debug, Default)]
pub(super) struct Clock {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Seconds ahead of the real time.
    ahead: i64,
    stopped_at: Option<u64>,
}

impl Clock {
    /// Unix seconds.
    pub(super) fn now(&self) -> u64 {
        let state = *lock(&self.state);
        state.stopped_at.unwrap_or_else(real).saturating_add_signed(state.ahead)
    }

    pub(super) fn advance(&self, by: Duration) {
        lock(&self.state).ahead += whole(by);
    }

    pub(super) fn set_back(&self, by: Duration) {
        lock(&self.state).ahead -= whole(by);
    }

    pub(super) fn stop(&self, stopped: bool) {
        lock(&self.state).stopped_at = stopped.then(real);
    }
}

fn real() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn whole(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
