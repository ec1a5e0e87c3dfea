//! `cargo dev test`: format, lints, documentation and all tests; on Windows, those tests that need no other program.

use std::process::Command;
use std::time::Instant;

use super::setup::{self, Missing};
use super::{cargo, root, usage};
use crate::os;

/// The modules of tests that also run with gateways outside Azure Functions (contract 17.2).
const JOURNEYS: [&str; 21] = [
    "callback::",
    "cookies::",
    "framing::",
    "headers::",
    "journey::",
    "login::",
    "logout::",
    "other_origins::",
    "paths::",
    "protections::",
    "proxying::",
    "refresh::",
    "rejections::",
    "replaced::",
    "responses::",
    "server::",
    "several_apis::",
    "site::",
    "step_up::",
    "streams::",
    "uploads::",
];

/// Returns the exit code: 0 only if everything that ran passed, and, with `--all`, if everything could run.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    let all = match arguments {
        [] => false,
        ["--all"] => true,
        _ => return usage("usage: cargo dev test [--all]"),
    };
    let begun = Instant::now();
    let missing = setup::prepare();
    let parts = steps(&missing).into_iter().map(|(name, command)| (name, step(name, command))).collect::<Vec<_>>();
    for Missing { part, remedy, .. } in &missing {
        println!("LEFT OUT: {part}. To run them: {remedy}");
    }
    summary(begun, &parts).max(u8::from(all && !missing.is_empty()))
}

fn steps(missing: &[Missing]) -> Vec<(&'static str, Command)> {
    let cargo_with = |arguments: &[&str]| {
        let mut command = cargo();
        command.args(arguments);
        command
    };
    let mut documentation = cargo_with(&["doc", "--workspace", "--no-deps"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let mut tests = cargo_with(&["test", "--workspace", "--no-fail-fast"]);
    if !os::RUNS_ALL_TESTS {
        tests.args(["--lib", "--bins"]);
    }
    tests.arg("--");
    for Missing { skip, .. } in missing {
        tests.args(skip.iter().flat_map(|name| ["--skip", name]));
    }
    let mut steps = vec![
        ("format", cargo_with(&["fmt", "--all", "--check"])),
        ("lints", cargo_with(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        ("documentation", documentation),
        ("tests", tests),
    ];
    if os::RUNS_ALL_TESTS {
        steps.push(("journeys outside Azure Functions", journeys(missing)));
    }
    if missing.iter().all(|missing| missing.part != setup::COUNTS.part) {
        let bench = ["run", "--quiet", "--bin", "devkit", "--", "bench", "--counts"];
        steps.push(("the counts of a proxied call", cargo_with(&bench)));
    }
    let peers = [
        (setup::OIDC_PROVIDER, "oidc-provider", "the oidc-provider peer's own test", ["npm", "test", "--silent"]),
        (setup::KEY_VAULT_PEER, "key-vault", "the key-vault peer's own test", ["go", "test", "./..."]),
    ];
    for (tests, folder, name, [program, arguments @ ..]) in peers {
        if missing.iter().all(|missing| !missing.skip.contains(&tests)) {
            let mut peer = Command::new(program);
            peer.args(arguments).current_dir(root().join("tests/peers").join(folder));
            steps.push((name, peer));
        }
    }
    steps
}

/// The tests of what a user sees, with gateways that run outside Azure Functions.
fn journeys(missing: &[Missing]) -> Command {
    let mut tests = cargo();
    tests.args(["test", "--package", "cloakroom", "--test", "integration", "--no-fail-fast", "--"]).args(JOURNEYS);
    // Of these the journeys above are enough.
    tests.args(["--skip", "browser::", "--skip", "oidc_provider::"]);
    for Missing { skip, .. } in missing {
        tests.args(skip.iter().flat_map(|name| ["--skip", name]));
    }
    tests.env("TEST_STANDALONE", "1");
    tests
}

/// Runs one program as a named part.
pub(super) fn step(name: &str, mut command: Command) -> bool {
    part(name, || match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cannot be started: {error}");
            false
        }
    })
}

/// Runs a named part and prints its outcome.
pub(super) fn part(name: &str, run: impl FnOnce() -> bool) -> bool {
    println!("\n== {name}");
    let begun = Instant::now();
    let passed = run();
    println!("== {name}: {} in {} s", if passed { "passed" } else { "FAILED" }, begun.elapsed().as_secs());
    passed
}

/// Prints which parts failed, and returns the exit code.
pub(super) fn summary(begun: Instant, parts: &[(&str, bool)]) -> u8 {
    println!("\n{} s in total", begun.elapsed().as_secs());
    let failed = parts.iter().filter(|(_, passed)| !passed);
    u8::from(failed.map(|(name, _)| println!("FAILED: {name}")).count() > 0)
}
