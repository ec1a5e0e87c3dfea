//! The commands other than serving: `check`, `health`, `keys list`, `keys rotate`, `keys revoke`, `sessions list` and
//! `sessions end`. They print no secret.

mod health;
mod keys;
mod online;
mod sessions;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};

use crate::clock::UnixSeconds;
use crate::config::{Config, ConfigErrors, Vars};
use crate::keyring::SourceUnavailable;
use crate::telemetry::{self, eprint, print};

/// Exit code: the command line or the configuration is invalid (`EX_USAGE` of `sysexits.h`).
pub const USAGE: u8 = 64;
/// Exit code: key source, provider or session store is unavailable, or only part was done (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Exit code: the operating system does not provide what the process needs (`EX_OSERR`).
pub const OS_ERROR: u8 = 71;

const HELP: &str = "usage: cloakroom                                     serve, at CLOAKROOM_LISTEN or for the Functions host
       cloakroom check                               report all invalid settings
       cloakroom check --online                      also contact the key source, the provider and the session store
       cloakroom health [--ready]                    ask the running gateway whether it is live, or ready; exit code 0 or 1
       cloakroom sessions list --user USER [--json]  list a user's sessions in the session store
       cloakroom sessions end --user USER            end a user's sessions, by the claim oid or sub
       cloakroom sessions end --id ID                end one session in the session store
       cloakroom sessions end --all                  end all sessions
       cloakroom keys list [--json]                  list the versions of the key ring with their states
       cloakroom keys rotate [--json]                publish a key if one is due, disable expired ones
       cloakroom keys revoke KID [--json]            disable a key, which ends its sessions";

/// Runs a command by its arguments.
#[must_use]
pub fn run(arguments: &[OsString], vars: &Vars) -> ExitCode {
    let Some(arguments) = arguments.iter().map(|argument| argument.to_str()).collect::<Option<Vec<&str>>>() else {
        return fail(USAGE, "an argument is not Unicode; write it in UTF-8");
    };
    match arguments.as_slice() {
        ["check"] => check(vars, false),
        ["check", "--online"] => check(vars, true),
        ["health", rest @ ..] => health::run(rest, vars),
        ["keys", rest @ ..] => keys::run(rest, vars),
        ["sessions", rest @ ..] => sessions::run(rest, vars),
        _ => fail(USAGE, HELP),
    }
}

/// Prints all configuration errors.
#[must_use]
pub fn invalid_configuration(errors: &ConfigErrors) -> ExitCode {
    fail(USAGE, &errors.to_string())
}

fn fail(code: u8, text: &str) -> ExitCode {
    eprint(text);
    ExitCode::from(code)
}

fn check(vars: &Vars, online: bool) -> ExitCode {
    let config = match Config::from_vars(vars) {
        Ok(config) => config,
        Err(errors) => return invalid_configuration(&errors),
    };
    let warnings: String = config.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    print(&format!("{warnings}the configuration is valid"));
    if online { check_online(config) } else { ExitCode::SUCCESS }
}

fn check_online(config: Config) -> ExitCode {
    // Key source and provider log the reason of a failure.
    let log = telemetry::start(telemetry::Config {
        level: tracing::Level::WARN,
        json: Some(false),
        user: telemetry::LogUser::None,
    });
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let findings = runtime.block_on(online::findings(config));
    // The reasons come before the findings.
    drop(log);
    for (part, finding) in &findings {
        match finding {
            Ok(text) => print(&format!("{part}: {text}")),
            Err(problem) => eprint(&format!("{part}: {problem}")),
        }
    }
    if findings.iter().all(|(_, finding)| finding.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
}

/// The async runtime of the current thread.
///
/// # Errors
/// The exit code; the reason was printed.
pub fn runtime() -> Result<Runtime, ExitCode> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| fail(OS_ERROR, &format!("cannot create the async runtime: {error}")))
}

fn unavailable(SourceUnavailable(problem): SourceUnavailable) -> String {
    format!("the key source is unavailable: {problem}")
}

/// A time in UTC; after the year 9999, which RFC 3339 cannot express, as seconds.
fn rfc3339(seconds: UnixSeconds) -> String {
    const YEAR_10000: UnixSeconds = 253_402_300_800;
    if seconds >= YEAR_10000 {
        return seconds.to_string();
    }
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_rfc_3339_cannot_express_is_printed_in_seconds() {
        assert_eq!(rfc3339(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(253_402_300_800), "253402300800");
        assert_eq!(rfc3339(u64::MAX), u64::MAX.to_string());
    }
}
