//! The lines that the host and its handler write.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex};

use chrono::{SecondsFormat, Utc};

use crate::web::lock;

/// Older lines are dropped, so that a long soak run does not fill the memory.
const MAX_LINES: usize = 200_000;

/// The category of what the handler prints.
pub(crate) const CONSOLE: &str = "Host.Function.Console";

/// The category of the host's other lines. The real host has several for them.
const HOST: &str = "Host.Startup";

/// In the host's own words.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    Information,
    Warning,
    Error,
}

/// One line, without its line end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    pub category: String,
    pub level: Level,
    pub text: String,
}

/// `logging.logLevel` of `host.json`: the lowest level of a category that is written, or `None` for none. The names are
/// in lower case and are beginnings of categories, except `default`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels(BTreeMap<String, Option<Level>>);

impl Levels {
    /// From names in lower case and their values; `Err` is a value that is no level.
    pub(crate) fn parse<'a>(rules: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, &'a str> {
        let level = |text: &str| match text.to_ascii_lowercase().as_str() {
            "trace" | "debug" | "information" => Some(Some(Level::Information)),
            "warning" => Some(Some(Level::Warning)),
            "error" => Some(Some(Level::Error)),
            // Nothing here is critical.
            "critical" | "none" => Some(None),
            _ => None,
        };
        rules.map(|(name, text)| Ok((name.to_owned(), level(text).ok_or(text)?))).collect::<Result<_, _>>().map(Self)
    }

    fn admit(&self, category: &str, level: Level) -> bool {
        let category = category.to_lowercase();
        let longest = self.0.iter().filter(|(name, _)| category.starts_with(*name)).max_by_key(|(name, _)| name.len());
        let lowest = longest.map(|(_, level)| level).or_else(|| self.0.get("default"));
        lowest.is_none_or(|lowest| lowest.is_some_and(|lowest| level >= lowest))
    }
}

/// Collects lines, and prints them if `print` is set.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
    print: bool,
    levels: Arc<Levels>,
}

impl Log {
    /// A log that admits every line.
    pub(crate) fn new(print: bool) -> Self {
        Self { lines: Arc::default(), print, levels: Arc::default() }
    }

    /// The same log for lines of these levels.
    pub(crate) fn filtered(&self, levels: Levels) -> Self {
        Self { levels: Arc::new(levels), ..self.clone() }
    }

    pub(crate) fn information(&self, text: impl Into<String>) {
        self.write(HOST, Level::Information, text);
    }

    pub(crate) fn warning(&self, text: impl Into<String>) {
        self.write(HOST, Level::Warning, text);
    }

    pub(crate) fn error(&self, text: impl Into<String>) {
        self.write(HOST, Level::Error, text);
    }

    pub(crate) fn write(&self, category: &str, level: Level, text: impl Into<String>) {
        if !self.levels.admit(category, level) {
            return;
        }
        let (category, text) = (category.to_owned(), text.into());
        if self.print {
            let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            // A closed terminal is no reason to stop serving.
            let _ = writeln!(std::io::stdout().lock(), "[{time}] {text}");
        }
        let mut lines = lock(&self.lines);
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { category, level, text });
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

    /// As .NET does it: the longest beginning of a category decides.
    #[test]
    fn the_longest_name_decides_which_lines_of_a_category_are_written() {
        let rules =
            [("default", "Warning"), ("host", "None"), ("host.function", "information"), ("function.a", "Error")];
        let levels = Levels::parse(rules.into_iter()).unwrap();
        for (category, lowest) in [
            ("Host.Function.Console", Some(Level::Information)),
            ("HOST.Startup", None),
            ("Function.b", Some(Level::Warning)),
            ("Function.abc.User", Some(Level::Error)),
        ] {
            for level in [Level::Information, Level::Warning, Level::Error] {
                let expected = lowest.is_some_and(|lowest| level >= lowest);
                assert_eq!(levels.admit(category, level), expected, "{category} {level:?}");
            }
        }
        assert!(Levels::default().admit("Function.a", Level::Information), "the default is Information");
        assert_eq!(Levels::parse([("default", "Loud")].into_iter()).unwrap_err(), "Loud");
    }

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
