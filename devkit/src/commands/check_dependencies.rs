//! `cargo dev check-dependencies`: licences, sources and bans of all dependencies, by `deny.toml`; with `--advisories`
//! instead their known vulnerabilities, which need the network.

use std::process::Command;
use std::time::Instant;

use super::check::{step, summary};
use super::{root, setup, usage};

/// Returns the exit code: 0 only if the checks could run and passed.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    let (name, checks) = match arguments {
        [] => ("dependencies: bans, licences, sources", ["bans", "licenses", "sources"].as_slice()),
        ["--advisories"] => ("dependencies: advisories", ["advisories"].as_slice()),
        _ => return usage("usage: cargo dev check-dependencies [--advisories]"),
    };
    let begun = Instant::now();
    if arguments.is_empty() {
        println!(
            "LEFT OUT: advisories, which need the network; the workflow audit checks them. To run it: --advisories"
        );
    }
    let Some(program) = setup::cargo_deny() else {
        println!("cargo-deny cannot be built");
        return summary(begun, &[(name, false)]);
    };
    let mut deny = Command::new(program);
    deny.args(["--workspace", "--locked", "check"]).args(checks).current_dir(root());
    summary(begun, &[(name, step(name, deny))])
}
