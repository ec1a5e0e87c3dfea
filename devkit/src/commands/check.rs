//! `cargo dev test`: format, lints, documentation and every test, in one command.

use std::process::Command;
use std::time::Instant;

use super::setup::{self, Missing};
use super::{cargo, root};

const USAGE: &str = "usage: cargo dev test [--all]";

/// Runs everything. Gives the exit code: 0 only if all that ran passed, and, with `--all`, if nothing was left out.
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let all = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--all"] => true,
        _ => {
            eprintln!("{USAGE}");
            return 2;
        }
    };
    let begun = Instant::now();
    let missing = setup::prepare();
    let failed: Vec<&str> = steps(&missing)
        .into_iter()
        .filter_map(|(name, command)| if step(name, command) { None } else { Some(name) })
        .collect();
    for Missing { part, remedy, .. } in &missing {
        println!("LEFT OUT: {part}. To run them: {remedy}");
    }
    summary(begun, &failed).max(u8::from(all && !missing.is_empty()))
}

fn steps(missing: &[Missing]) -> Vec<(&'static str, Command)> {
    let mut format = cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut lints = cargo();
    lints.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut documentation = cargo();
    documentation.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--"]);
    for Missing { skip, .. } in missing {
        tests.args(["--skip", skip]);
    }
    let mut steps = vec![("format", format), ("lints", lints), ("documentation", documentation), ("tests", tests)];
    let peers = [
        (setup::OIDC_PROVIDER, "oidc-provider", "the oidc-provider peer's own test", ["npm", "test", "--silent"]),
        (setup::KEY_VAULT_PEER, "key-vault", "the key-vault peer's own test", ["go", "test", "./..."]),
    ];
    for (tests, folder, name, [program, arguments @ ..]) in peers {
        if missing.iter().all(|missing| missing.skip != tests) {
            let mut peer = Command::new(program);
            peer.args(arguments).current_dir(root().join("tests/peers").join(folder));
            steps.push((name, peer));
        }
    }
    steps
}

/// Runs one program as a named part.
pub(super) fn step(name: &str, mut command: Command) -> bool {
    part(name, || match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("it cannot be started: {error}");
            false
        }
    })
}

/// Runs a named part and tells how it went.
pub(super) fn part(name: &str, run: impl FnOnce() -> bool) -> bool {
    println!("\n== {name}");
    let begun = Instant::now();
    let passed = run();
    println!("== {name}: {} in {} s", if passed { "passed" } else { "FAILED" }, begun.elapsed().as_secs());
    passed
}

/// Tells what failed, and gives the exit code.
pub(super) fn summary(begun: Instant, failed: &[&str]) -> u8 {
    println!("\n{} s in all", begun.elapsed().as_secs());
    for name in failed {
        println!("FAILED: {name}");
    }
    u8::from(!failed.is_empty())
}
