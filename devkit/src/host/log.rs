//! What the host and its handler say.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Older lines are forgotten, so that a long soak run does not eat the memory.
const KEPT_LINES: usize = 200_000;

/// How grave a line is, in the host's own words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Every line of the handler's standard output has this level.
    Information,
    /// A line of standard error that contains "warn".
    Warning,
    /// Every other line of standard error.
    Error,
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The stand-in itself.
    Host,
    /// The handler, on its standard output.
    Stdout,
    /// The handler, on its standard error.
    Stderr,
}

/// One line, without its line end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// How grave it is.
    pub level: Level,
    /// Who wrote it.
    pub source: Source,
    /// What it says.
    pub text: String,
}

/// Collects lines, and prints them when asked to.
#[derive(Clone)]
pub(super) struct Log {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    print: bool,
}

impl Log {
    pub(super) fn new(print: bool) -> Self {
        Self { lines: Arc::default(), print }
    }

    pub(super) fn information(&self, text: impl Into<String>) {
        self.write(Level::Information, Source::Host, text.into());
    }

    pub(super) fn warning(&self, text: impl Into<String>) {
        self.write(Level::Warning, Source::Host, text.into());
    }

    pub(super) fn error(&self, text: impl Into<String>) {
        self.write(Level::Error, Source::Host, text.into());
    }

    pub(super) fn write(&self, level: Level, source: Source, text: String) {
        if self.print {
            // A closed terminal is no reason to stop serving.
            let _ = writeln!(std::io::stdout().lock(), "[{}] {text}", utc(SystemTime::now()));
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { level, source, text });
    }

    pub(super) fn lines(&self) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

/// The level that the host gives to a line of the handler's standard error.
pub(super) fn stderr_level(line: &str, errors_only: bool) -> Level {
    let line = line.to_ascii_lowercase();
    if line.contains("warn") {
        Level::Warning
    } else if errors_only || ["error", "fail", "severe", "unhandled exception"].iter().any(|word| line.contains(word)) {
        Level::Error
    } else {
        Level::Information
    }
}

/// The time as `2026-08-20T12:34:56.789Z`.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a number of days since 1970, by Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_is_judged_by_its_words() {
        assert_eq!(stderr_level("a WARNing", true), Level::Warning);
        assert_eq!(stderr_level("anything", true), Level::Error);
        assert_eq!(stderr_level("anything", false), Level::Information);
        assert_eq!(stderr_level("it FAILED", false), Level::Error);
        assert_eq!(stderr_level("a warning about an error", false), Level::Warning);
    }

    #[test]
    fn times_are_written_in_utc() {
        let at = |seconds: u64| utc(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.007Z");
    }
}
