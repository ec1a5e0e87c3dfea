//! What the host and its handler say.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{SecondsFormat, Utc};

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
            let _ = writeln!(
                std::io::stdout().lock(),
                "[{}] {text}",
                Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
            );
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
}
