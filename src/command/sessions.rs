//! `cloakroom sessions end` and `list` (contract 16.4).

use std::process::ExitCode;

use super::{HELP, UNAVAILABLE, USAGE, eprint, fail, invalid_configuration, rfc3339, runtime};
use crate::clock;
use crate::config::{Config, Keys, Vars};
use crate::keyring::SourceUnavailable;
use crate::keyring::revocations::{Addition, Target};
use crate::telemetry::print;

/// Longest `--user`, in bytes: a `sub` has at most 255 characters (OpenID Connect Core 2).
const LONGEST_ID: usize = 255;

const WITHOUT_STORE: &str = "with CLOAKROOM_STORE=cookie a session is stored in its browser only, so that sessions cannot \
                             be listed or ended one by one; run `cloakroom sessions end --user USER` or `--all`";
const WITHOUT_LIST: &str = "with CLOAKROOM_ENC_KEY there is no revocation list, so that sessions cannot be ended; set \
                            CLOAKROOM_KEY_VAULT_URL or CLOAKROOM_KEY_FILE, or change the key, which ends all sessions";

pub(super) fn run(arguments: &[&str], vars: &Vars) -> ExitCode {
    let target = match arguments {
        ["end", "--all"] => Target::All,
        ["end", "--user", id] => match parse_id(id) {
            Ok(id) => Target::User(id),
            Err(problem) => return fail(USAGE, problem),
        },
        ["end", "--id", _]
        | ["list", "--user", _]
        | ["list", "--user", _, "--json"]
        | ["list", "--json", "--user", _] => {
            return fail(USAGE, WITHOUT_STORE);
        }
        _ => return fail(USAGE, HELP),
    };
    let keys = match Config::keys_from_vars(vars) {
        Ok(keys) => keys,
        Err(errors) => return invalid_configuration(&errors),
    };
    if !keys.source.has_revocations() {
        return fail(USAGE, WITHOUT_LIST);
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(end(&keys, &target)) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(SourceUnavailable(problem)) => fail(UNAVAILABLE, &problem),
    }
}

fn parse_id(id: &str) -> Result<String, &'static str> {
    if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) {
        return Err("USER must be the claim oid or sub of the user, at most 255 bytes");
    }
    if id.contains('@') {
        eprint("warning: an address is rarely the claim oid or sub; if it is not, no session was ended");
    }
    Ok(id.to_owned())
}

async fn end(keys: &Keys, target: &Target) -> Result<String, SourceUnavailable> {
    let now = clock::now();
    let addition = Addition::new(target, now, keys.parameters.retention.as_secs(), keys.clock_skew);
    keys.source.add_revocations(&addition).await?;
    let whose = match target {
        Target::All => "all sessions".to_owned(),
        Target::User(id) => format!("the sessions of {id}"),
    };
    let everywhere = rfc3339(clock::now().saturating_add(keys.refresh.as_secs()));
    Ok(format!("ended {whose} that began before {}; no instance accepts them from {everywhere} on", rfc3339(now)))
}
