//! `cloakroom sessions list` and `end` (contract 16.4).

mod stored;

use std::process::ExitCode;

use super::{HELP, UNAVAILABLE, USAGE, eprint, fail, invalid_configuration, rfc3339, runtime};
use crate::clock;
use crate::clock::UnixSeconds;
use crate::config::{Config, Keys, Vars};
use crate::keyring::SourceUnavailable;
use crate::keyring::revocations::{Addition, Target};
use crate::session::companion::{SessionHash, hash_from_text};
use crate::telemetry::print;

/// Longest `--user`, in bytes: a `sub` has at most 255 characters (OpenID Connect Core 2).
const LONGEST_ID: usize = 255;

const WITHOUT_STORE: &str = "with CLOAKROOM_STORE=cookie a session is stored in its browser only, so that sessions cannot \
                             be listed or ended one by one; run `cloakroom sessions end --user USER` or `--all`";
const WITHOUT_LIST: &str = "with CLOAKROOM_ENC_KEY there is no revocation list, so that sessions cannot be ended; set \
                            CLOAKROOM_KEY_VAULT_URL or CLOAKROOM_KEY_FILE, or change the key, which ends all sessions";

/// What to do, as far as the command line says.
#[derive(Debug)]
enum Command<'a> {
    List { user: &'a str, as_json: bool },
    End(Target),
    EndOne { id: &'a str },
}

pub(super) fn run(arguments: &[&str], vars: &Vars) -> ExitCode {
    let command = match arguments {
        ["end", "--all"] => Command::End(Target::All),
        ["end", "--user", id] => Command::End(Target::User((*id).to_owned())),
        ["end", "--id", id] => Command::EndOne { id },
        ["list", "--user", user] => Command::List { user, as_json: false },
        ["list", "--user", user, "--json"] | ["list", "--json", "--user", user] => {
            Command::List { user, as_json: true }
        }
        _ => return fail(USAGE, HELP),
    };
    if Config::names_store(vars) { run_with_store(command, vars) } else { run_without_store(command, vars) }
}

fn run_without_store(command: Command<'_>, vars: &Vars) -> ExitCode {
    let Command::End(target) = command else { return fail(USAGE, WITHOUT_STORE) };
    if let Err(problem) = check_target(&target) {
        return fail(USAGE, problem);
    }
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
    match runtime.block_on(revoke(&keys, &target)) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(SourceUnavailable(problem)) => fail(UNAVAILABLE, &problem),
    }
}

fn run_with_store(command: Command<'_>, vars: &Vars) -> ExitCode {
    let checked = match &command {
        Command::List { user, .. } => check_user(user),
        Command::End(target) => check_target(target),
        Command::EndOne { .. } => Ok(()),
    };
    if let Err(problem) = checked {
        return fail(USAGE, problem);
    }
    match command {
        Command::List { user, as_json } => stored::list(user, as_json, vars),
        Command::End(target) => stored::end(&target, vars),
        Command::EndOne { id } => match parse_id(id) {
            Ok(hash) => stored::end_one(hash, vars),
            Err(problem) => fail(USAGE, problem),
        },
    }
}

fn check_target(target: &Target) -> Result<(), &'static str> {
    if let Target::User(user) = target { check_user(user) } else { Ok(()) }
}

fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.len() > LONGEST_ID || user.chars().any(char::is_control) {
        return Err("USER must be the claim oid or sub of the user, at most 255 bytes");
    }
    if user.contains('@') {
        eprint("warning: an address is rarely the claim oid or sub; if it is not, no session is found");
    }
    Ok(())
}

fn parse_id(id: &str) -> Result<SessionHash, &'static str> {
    hash_from_text(id.as_bytes()).ok_or("ID must be the 43 characters that `cloakroom sessions list` prints")
}

/// Ends sessions by their sign-in time. The text says which, and from when on.
async fn revoke(keys: &Keys, target: &Target) -> Result<String, SourceUnavailable> {
    let now = clock::now();
    add_revocations(keys, target, now).await?;
    let whose = match target {
        Target::All => "all sessions".to_owned(),
        Target::User(id) => format!("the sessions of {id}"),
    };
    let everywhere = rfc3339(clock::now().saturating_add(keys.refresh.as_secs()));
    Ok(format!("ended {whose} that began before {}; no instance accepts them from {everywhere} on", rfc3339(now)))
}

async fn add_revocations(keys: &Keys, target: &Target, now: UnixSeconds) -> Result<(), SourceUnavailable> {
    let addition = Addition::new(target, now, keys.parameters.retention.as_secs(), keys.clock_skew);
    keys.source.add_revocations(&addition).await
}
