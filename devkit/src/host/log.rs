//! The lines that the host and its handler write.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};

use chrono::{SecondsFormat, Utc};

use crate::web::lock;

/// Older lines are dropped, so that a long soak run does not fill the memory.
const MAX_LINES: usize = 200_000;

/// In the host's own words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    Information,
    Warning,
    Error,
}

/// One line, without its line end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// Collects lines, and prints them if `print` is set.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    print: bool,
}

impl Log {
    pub(crate) fn new(print: bool) -> Self {
        Self { lines: Arc::default(), print }
    }

    pub(crate) fn information(&self, text: impl Into<String>) {
        self.write(Level::Information, text);
    }

    pub(crate) fn warning(&self, text: impl Into<String>) {
        self.write(Level::Warning, text);
    }

    pub(crate) fn error(&self, text: impl Into<String>) {
        self.write(Level::Error, text);
    }

    pub(crate) fn write(&self, level: Level, text: impl Into<String>) {
        let text = text.into();
        if self.print {
            let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            // A closed terminal is no reason to stop serving.
            let _ = writeln!(std::io::stdout().lock(), "[{time}] {text}");
        }
        let mut lines = lock(&self.lines);
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { level, text });
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        lock(&self.lines).iter().cloned().collect()
    }
}

/// The level that the host gives to a line of the handler's standard error.
pub(crate) fn stderr_level(line: &str, errors_only: bool) -> Level {
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
    fn words_of_standard_error_decide_its_level() {
        for (line, errors_only, level) in [
            ("a WARNing", true, Level::Warning),
            ("anything", true, Level::Error),
            ("anything", false, Level::Information),
            ("it FAILED", false, Level::Error),
            ("a warning about an error", false, Level::Warning),
        ] {
            assert_eq!(stderr_level(line, errors_only), level, "{line}");
        }
    }
}
