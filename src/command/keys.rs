//! `cloakroom keys list`, `rotate` and `revoke` (contract 6.25 to 6.28).

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{HELP, UNAVAILABLE, USAGE, fail, invalid_configuration, rfc3339, runtime, unavailable};
use crate::clock;
use crate::config::{Config, Keys, Vars};
use crate::keyring::KeyId;
use crate::keyring::rotate::{self, RevokeError, VersionState};
use crate::keyring::states::State;
use crate::secret::Key32;
use crate::telemetry::print;

/// The output of a command, as text and with `--json`.
struct Report {
    text: String,
    json: Value,
}

enum Command {
    List,
    Rotate,
    Revoke(KeyId),
}

pub(super) fn run(arguments: &[&str], vars: &Vars) -> ExitCode {
    let (flags, words): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|argument| argument.starts_with("--"));
    let as_json = match flags.as_slice() {
        [] => false,
        ["--json"] => true,
        _ => return fail(USAGE, HELP),
    };
    let command = match words.as_slice() {
        ["list"] => Command::List,
        ["rotate"] => Command::Rotate,
        ["revoke", kid] => match KeyId::parse(kid) {
            Some(kid) => Command::Revoke(kid),
            None => return fail(USAGE, "KID must be 16 hex digits; `cloakroom keys list` prints them"),
        },
        _ => return fail(USAGE, HELP),
    };
    let keys = match Config::keys_from_vars(vars) {
        Ok(keys) => keys,
        Err(errors) => return invalid_configuration(&errors),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let report = runtime.block_on(async {
        match command {
            Command::List => list(&keys).await,
            Command::Rotate => rotate(&keys).await,
            Command::Revoke(kid) => revoke(&keys, kid).await,
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

async fn list(keys: &Keys) -> Result<Report, String> {
    let versions = rotate::list(keys.source.as_ref(), clock::now(), &keys.parameters).await.map_err(unavailable)?;
    let line = |VersionState { version, state, activation }: &VersionState| {
        format!(
            "{}  {:<9}  created {}  seals from {}  expires {}",
            version.kid,
            state_name(*state),
            rfc3339(version.created),
            rfc3339(*activation),
            version.expires.map_or_else(|| "never".to_owned(), rfc3339)
        )
    };
    let object = |VersionState { version, state, activation }: &VersionState| {
        json!({
            "kid": version.kid.to_string(), "state": state_name(*state), "created": version.created,
            "activation": activation, "expires": version.expires,
        })
    };
    let lines: Vec<String> = versions.iter().map(line).collect();
    let text = if lines.is_empty() {
        "the key ring is empty; `cloakroom keys rotate` creates the first key".to_owned()
    } else {
        lines.join("\n")
    };
    Ok(Report { text, json: json!({"keys": versions.iter().map(object).collect::<Vec<_>>()}) })
}

async fn rotate(keys: &Keys) -> Result<Report, String> {
    let step = rotate::rotate(keys.source.as_ref(), &Key32::random(), clock::now(), &keys.parameters).await;
    let outcome = step.map_err(unavailable)?;
    let published = outcome.published.map(|kid| kid.to_string());
    let disabled: Vec<String> = outcome.disabled.iter().map(ToString::to_string).collect();
    let mut lines = Vec::new();
    if let Some(kid) = &published {
        let delay = humantime::format_duration(keys.parameters.propagation);
        lines.push(format!("published {kid}; it seals in {delay}, or at once if it is the first key"));
    }
    lines.extend(disabled.iter().map(|kid| format!("disabled {kid}; no session uses it any more")));
    let text = if lines.is_empty() { "nothing to do".to_owned() } else { lines.join("\n") };
    Ok(Report { text, json: json!({"published": published, "disabled": disabled}) })
}

async fn revoke(keys: &Keys, kid: KeyId) -> Result<Report, String> {
    let revocation = rotate::revoke(keys.source.as_ref(), kid, &Key32::random(), &clock::now, &keys.parameters).await;
    let revocation = revocation.map_err(|error| match error {
        RevokeError::UnknownKey => format!("the key ring has no key {kid}; `cloakroom keys list` prints its keys"),
        RevokeError::Unavailable(problem) => unavailable(problem),
    })?;
    let successor = revocation.successor.map(|kid| kid.to_string());
    let delay = humantime::format_duration(keys.refresh);
    let new_key = successor.as_ref().map(|kid| format!("{kid} seals from now on\n")).unwrap_or_default();
    let text = format!(
        "{new_key}revoked {kid}; every instance rejects it within {delay}\n\
         sessions that are still sealed under {kid} end then; those re-sealed under another key continue"
    );
    let json = json!({
        "revoked": kid.to_string(), "successor": successor, "effective_within_seconds": keys.refresh.as_secs(),
    });
    Ok(Report { text, json })
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Invalid => "invalid",
        State::Published => "published",
        State::Retired => "retired",
        State::Retiring | State::Lapsed => "retiring",
        State::Revoked => "revoked",
    }
}
