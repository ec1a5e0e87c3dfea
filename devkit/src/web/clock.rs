use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lock;

/// The clock of a stand-in, which tests set forward and back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: Mutex<i64>,
}

impl Clock {
    /// Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        real.saturating_add_signed(*lock(&self.offset_seconds))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *lock(&self.offset_seconds) += whole_seconds(by);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        *lock(&self.offset_seconds) -= whole_seconds(by);
    }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
