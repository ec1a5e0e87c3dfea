//! The commands beside serving: `check`, and `keys list`, `keys rotate`, `keys revoke`.
//!
//! None of them prints a value that is secret: key ids and times are not.

mod online;

use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::clock;
use crate::config::{Config, ConfigErrors, Keys, Vars};
use crate::keyring::rotate::{self, RevokeError, VersionState};
use crate::keyring::states::State;
use crate::keyring::{KeyId, SourceUnavailable};
use crate::secret::Key32;
use crate::telemetry::{self, eprint, print};

/// The command line or the configuration is wrong (`sysexits.h`).
pub const USAGE: u8 = 64;
/// The source of the keys is down.
const UNAVAILABLE: u8 = 69;
/// The system does not give what the process needs.
pub const OS_ERROR: u8 = 71;
const NO_RUNTIME: &str = "cannot create the async runtime";

const HELP: &str = "usage: cloakroom                             serves; the Functions host starts it so
       cloakroom check                       tells everything that is wrong with the settings
       cloakroom check --online              asks the source of the keys and the provider, too
       cloakroom keys list [--json]          the versions of the key ring with their states
       cloakroom keys rotate [--json]        publishes a key when it is time, disables what is over
       cloakroom keys revoke KID [--json]    disables a key; its sessions end";

/// What a keys command has to say: for people and for programs.
struct Report {
    text: String,
    json: Value,
}

/// Runs a command by its arguments.
#[must_use]
pub fn run(arguments: &[&str], vars: &Vars) -> ExitCode {
    match arguments {
        ["check"] => check(vars, false),
        ["check", "--online"] => check(vars, true),
        ["keys", rest @ ..] => keys(rest, vars),
        _ => fail(USAGE, HELP),
    }
}

/// Complains of every fault at once.
#[must_use]
pub fn refuse(faults: &ConfigErrors) -> ExitCode {
    fail(USAGE, &faults.to_string())
}

fn fail(code: u8, text: &str) -> ExitCode {
    eprint(text);
    ExitCode::from(code)
}

fn check(vars: &Vars, online: bool) -> ExitCode {
    let config = match Config::from_vars(vars) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults),
    };
    let warnings: String = config.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    print(&format!("{warnings}the configuration is valid"));
    if online { ask(config) } else { ExitCode::SUCCESS }
}

/// What the configuration names is asked. The log's own lines tell the reasons.
fn ask(config: Config) -> ExitCode {
    telemetry::start(telemetry::Config { level: tracing::Level::WARN, json: Some(false) });
    let Some(runtime) = runtime() else { return fail(OS_ERROR, NO_RUNTIME) };
    let findings = runtime.block_on(online::findings(config));
    for (what, finding) in &findings {
        match finding {
            Ok(there) => print(&format!("{what}: {there}")),
            Err(missing) => eprint(&format!("{what}: {missing}")),
        }
    }
    if findings.iter().all(|(_, finding)| finding.is_ok()) { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
}

fn runtime() -> Option<Runtime> {
    Builder::new_current_thread().enable_all().build().ok()
}

fn keys(arguments: &[&str], vars: &Vars) -> ExitCode {
    let (flags, words): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    let as_json = flags == ["--json"];
    if !as_json && !flags.is_empty() {
        return fail(USAGE, HELP);
    }
    let kid = match words.as_slice() {
        ["list" | "rotate"] => None,
        ["revoke", kid] => match KeyId::parse(kid) {
            Some(kid) => Some(kid),
            None => return fail(USAGE, "a kid is 16 hex digits; cloakroom keys list tells them"),
        },
        _ => return fail(USAGE, HELP),
    };
    let keys = match Config::keys_from_vars(vars) {
        Ok(keys) => keys,
        Err(faults) => return refuse(&faults),
    };
    let Some(runtime) = runtime() else { return fail(OS_ERROR, NO_RUNTIME) };
    let report = runtime.block_on(async {
        match (words.first(), kid) {
            (Some(&"rotate"), _) => rotate_keys(&keys).await,
            (_, Some(kid)) => revoke_key(&keys, kid).await,
            _ => list_keys(&keys).await,
        }
    });
    match report {
        Ok(report) => {
            print(&if as_json { report.json.to_string() } else { report.text });
            ExitCode::SUCCESS
        }
        Err(problem) => fail(UNAVAILABLE, &problem),
    }
}

async fn list_keys(keys: &Keys) -> Result<Report, String> {
    let listed = rotate::list(keys.source.as_ref(), clock::now(), &keys.parameters).await.map_err(down)?;
    let line = |listed: &VersionState| {
        let VersionState { version, state, activation } = listed;
        format!(
            "{}  {:<9}  created {}  seals from {}  expires {}\n",
            version.kid,
            name(*state),
            time(version.created),
            time(*activation),
            version.expires.map_or_else(|| "never".to_owned(), time)
        )
    };
    let object = |listed: &VersionState| {
        let VersionState { version, state, activation } = listed;
        json!({
            "kid": version.kid.to_string(), "state": name(*state), "created": version.created,
            "activation": activation, "expires": version.expires,
        })
    };
    let text: String = listed.iter().map(line).collect();
    let text =
        if text.is_empty() { "the ring is empty; cloakroom keys rotate makes the first key".to_owned() } else { text };
    Ok(Report {
        text: text.trim_end().to_owned(),
        json: json!({"keys": listed.iter().map(object).collect::<Vec<_>>()}),
    })
}

async fn rotate_keys(keys: &Keys) -> Result<Report, String> {
    let outcome =
        rotate::rotate(keys.source.as_ref(), &Key32::random(), clock::now(), &keys.parameters).await.map_err(down)?;
    let published = outcome.published.map(|kid| kid.to_string());
    let disabled: Vec<String> = outcome.disabled.iter().map(ToString::to_string).collect();
    let mut lines = Vec::new();
    if let Some(kid) = &published {
        let delay = humantime::format_duration(keys.parameters.propagation);
        lines.push(format!("published {kid}; it seals in {delay}, the first key of a ring at once"));
    }
    lines.extend(disabled.iter().map(|kid| format!("disabled {kid}; no session needs it")));
    let text = if lines.is_empty() { "nothing to do".to_owned() } else { lines.join("\n") };
    Ok(Report { text, json: json!({"published": published, "disabled": disabled}) })
}

async fn revoke_key(keys: &Keys, kid: KeyId) -> Result<Report, String> {
    let revocation = rotate::revoke(keys.source.as_ref(), kid, &Key32::random(), &clock::now, &keys.parameters).await;
    let successor = match revocation {
        Ok(revocation) => revocation.successor.map(|kid| kid.to_string()),
        Err(RevokeError::UnknownKey) => {
            return Err(format!("the ring has no key {kid}; cloakroom keys list tells them"));
        }
        Err(RevokeError::Unavailable(problem)) => return Err(down(problem)),
    };
    let heard = humantime::format_duration(keys.refresh);
    let taken_over = successor.as_ref().map(|kid| format!("{kid} seals now\n")).unwrap_or_default();
    let text = format!(
        "{taken_over}revoked {kid}; within {heard} every instance has heard of it\n\
         sessions still sealed under {kid} end then; those that were active since another key seals go on"
    );
    let json =
        json!({"revoked": kid.to_string(), "successor": successor, "heard_within_seconds": keys.refresh.as_secs()});
    Ok(Report { text, json })
}

fn down(SourceUnavailable(problem): SourceUnavailable) -> String {
    format!("the source of the keys is down: {problem}")
}

const fn name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Invalid => "invalid",
        State::Published => "published",
        State::Retired => "retired",
        State::Retiring => "retiring",
        State::Revoked => "revoked",
    }
}

/// A time for people: RFC 3339 in UTC.
fn time(seconds: clock::UnixSeconds) -> String {
    let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    at.map_or_else(|| seconds.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}
