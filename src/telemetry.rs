//! Logs: one line per event, JSON for the host, text on a terminal.
//!
//! The host makes stderr lines errors or warnings and stdout lines information, so lines go where they belong.
//! Never logged: tokens, codes, cookies, keys, secrets, query strings, bodies.

use std::io::{IsTerminal, Write, stderr, stdout};

use tracing::Level;
use tracing_subscriber::fmt::writer::MakeWriterExt;

/// `LOG`: level and format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The least severe level that is written.
    pub level: Level,
    /// JSON or text; unset means text on a terminal.
    pub json: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Level::INFO, json: None }
    }
}

impl Config {
    /// Reads `info`, `debug,json`, `warn,text` and the like.
    ///
    /// # Errors
    /// A sentence on what is allowed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut config = Self::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "error" => config.level = Level::ERROR,
                "warn" => config.level = Level::WARN,
                "info" => config.level = Level::INFO,
                "debug" => config.level = Level::DEBUG,
                "json" => config.json = Some(true),
                "text" => config.json = Some(false),
                _ => {
                    return Err(
                        "must be a level (error, warn, info, debug), a format (json, text), or both with a comma",
                    );
                }
            }
        }
        Ok(config)
    }
}

/// Starts writing logs. A second call changes nothing.
pub fn start(config: Config) {
    let writer = stderr.with_max_level(Level::WARN).or_else(stdout);
    let builder = tracing_subscriber::fmt().with_max_level(config.level).with_target(false).with_writer(writer);
    // Starting twice happens in tests only, and the first subscriber is as good.
    let _ = if config.json.unwrap_or_else(|| !stdout().is_terminal()) {
        builder.json().flatten_event(true).try_init().is_ok()
    } else {
        builder.with_ansi(stdout().is_terminal()).try_init().is_ok()
    };
}

/// Reports a panic by its place alone: its text may hold anything.
pub fn report_panics_without_their_text() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic; please report it");
    }));
}

/// An error code of another system in the form that may be logged: at most 64 ASCII letters, digits and underscores.
///
/// Such a code may echo a request, secrets included, or contain line breaks.
#[must_use]
pub fn loggable_code(code: &str) -> String {
    code.chars().filter(|one| one.is_ascii_alphanumeric() || *one == '_').take(64).collect()
}

/// What a command answers.
pub fn print(text: &str) {
    // Nobody listening is no reason to fail.
    let _ = writeln!(stdout(), "{text}");
}

/// What a command complains of.
pub fn eprint(text: &str) {
    // Nobody listening is no reason to fail.
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_and_format_are_read() {
        assert_eq!(Config::parse("warn,json"), Ok(Config { level: Level::WARN, json: Some(true) }));
        assert_eq!(Config::parse("text"), Ok(Config { level: Level::INFO, json: Some(false) }));
        assert!(Config::parse("verbose").is_err());
    }
}
