//! Logs: one line per event, JSON for the host, text on a terminal. Every line of a request has its trace id.
//!
//! The host reports lines on stderr as errors or warnings and lines on stdout as information, so each line goes where
//! its level belongs. Never logged: tokens, codes, cookies, keys, secrets, query strings, bodies.

#[cfg(test)]
pub(crate) mod captured_log;
mod json;
mod request;
mod text;
mod trace;
mod writer;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::OnceLock;

use tokio::task::JoinHandle;
use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

pub(crate) use request::current;
pub use request::{InRequest, RequestContext, in_current_request, in_request};
pub use trace::{TRACEPARENT, TraceContext};
pub use writer::{LogGuard, report_dropped_lines};

/// `LOG_USER`: what audit events say of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogUser {
    /// A hash, which distinguishes users.
    #[default]
    Hash,
    /// The user's identifier.
    Id,
    None,
}

/// As the process was started with it.
static LOG_USER: OnceLock<LogUser> = OnceLock::new();

/// What audit events say of a user.
#[must_use]
pub fn log_user() -> LogUser {
    LOG_USER.get().copied().unwrap_or_default()
}

/// `LOG` and `LOG_USER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The least severe level that is written.
    pub level: Level,
    /// JSON or text; `None` means text on a terminal, otherwise JSON.
    pub json: Option<bool>,
    pub user: LogUser,
}

impl Config {
    /// Reads level and format of a `LOG` such as `info`, `debug,json` or `warn,text`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<(Level, Option<bool>), &'static str> {
        let (mut level, mut json) = (Level::INFO, None);
        for word in text.split(',').map(str::trim) {
            match word {
                "error" => level = Level::ERROR,
                "warn" => level = Level::WARN,
                "info" => level = Level::INFO,
                "debug" => level = Level::DEBUG,
                "json" => json = Some(true),
                "text" => json = Some(false),
                _ => {
                    return Err(
                        "must be a level (error, warn, info, debug), a format (json, text), or both with a comma",
                    );
                }
            }
        }
        Ok((level, json))
    }
}

/// Starts logging. A second call changes nothing.
///
/// Of other crates only warnings and errors are logged. Their further lines come from tasks that serve many requests,
/// such as those of pooled connections, so that they have no trace id.
pub fn start(config: Config) -> LogGuard {
    let (writer, guard) = writer::start();
    let is_json = config.json.unwrap_or_else(|| !stdout().is_terminal());
    let levels = Targets::new().with_default(config.level.min(Level::WARN)).with_target("cloakroom", config.level);
    // Only tests start it twice, and the first settings serve them as well.
    let _ = LOG_USER.set(config.user);
    let _ = if is_json {
        set_global_default(json::subscriber(config.level, writer).with(levels)).is_ok()
    } else {
        set_global_default(text::subscriber(config.level, writer).with(levels)).is_ok()
    };
    guard
}

/// Runs blocking work on tokio's thread pool, as a part of the current request.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let mut request = current();
    tokio::task::spawn_blocking(move || in_request(&mut request, work))
}

/// Logs a panic by its location alone: its text may contain anything.
pub fn log_panics_without_their_text() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "internal error (panic); please report it");
    }));
}

/// Reduces an error code of another system to what may be logged: at most 64 ASCII letters, digits and underscores.
///
/// Such a code may echo a request, secrets included, or contain line breaks.
#[must_use]
pub fn loggable_code(code: &str) -> String {
    code.chars().filter(|one| one.is_ascii_alphanumeric() || *one == '_').take(64).collect()
}

/// Writes a command's output.
pub fn print(text: &str) {
    // A closed pipe is no reason to fail.
    let _ = writeln!(stdout(), "{text}");
}

/// Writes a command's error message.
pub fn eprint(text: &str) {
    // A closed pipe is no reason to fail.
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_and_format_are_read() {
        assert_eq!(Config::parse("warn,json"), Ok((Level::WARN, Some(true))));
        assert_eq!(Config::parse("text"), Ok((Level::INFO, Some(false))));
        assert!(Config::parse("verbose").is_err());
    }
}
