//! `cargo dev check-infra`: templates, workflows, functions and the commands in our pages, checked without Azure.
//!
//! The checks of files that are not ours to define are in Python, beside the programs that know them
//! (`tests/peers/azure`).

mod environments;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use environments::Environments;

use super::check::{part, step, summary};
use super::root;
use crate::host;

const USAGE: &str = "usage: cargo dev check-infra";

/// Runs every check. Gives the exit code: 0 only if all could run and passed.
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    if !arguments.is_empty() {
        eprintln!("{USAGE}");
        return 2;
    }
    let begun = Instant::now();
    let mut parts = vec![("functions and host.json", part("functions and host.json", || functions_hold(&root())))];
    match Environments::prepare() {
        Ok(environments) => {
            parts.extend(steps(&environments).into_iter().map(|(name, command)| (name, step(name, command))));
        }
        Err(reason) => {
            println!("{reason}");
            parts.push(("every check in Python", false));
        }
    }
    let failed: Vec<&str> = parts.into_iter().filter_map(|(name, passed)| (!passed).then_some(name)).collect();
    summary(begun, &failed)
}

fn steps(environments: &Environments) -> Vec<(&'static str, Command)> {
    let Environments { tools, checkov, azure_cli, cache } = environments;
    let check = |script: &str, options: [(&str, PathBuf); 2]| {
        let mut command = environments::python(tools);
        command.arg(root().join("tests/peers/azure").join(script));
        for (option, value) in options.into_iter().filter(|(option, _)| !option.is_empty()) {
            command.arg(option).arg(value);
        }
        command
    };
    let none = || ("", PathBuf::new());
    let types = || ("--cache", cache.join("types"));
    let policies = || ("--checkov", checkov.clone());
    let cli = || ("--azure-cli", azure_cli.clone());
    let home = || ("--home", cache.join("azure-cli-home"));
    let mut planted = check("test_checks.py", [none(), none()]);
    for (name, value) in [("CACHE", types()), ("CHECKOV", policies()), ("AZURE_CLI", cli()), ("HOME", home())] {
        planted.env(format!("CHECKS_{name}"), value.1);
    }
    vec![
        ("Bicep: symbols and types", check("check_bicep.py", [types(), none()])),
        ("Bicep: policies", check("check_policy.py", [policies(), none()])),
        ("workflows", check("check_workflows.py", [none(), none()])),
        ("az, azd and func commands", check("check_commands.py", [cli(), home()])),
        ("the checks find planted faults", planted),
    ]
}

/// Whether the Functions host would take everything as it is meant, by the rules of its stand-in.
fn functions_hold(root: &Path) -> bool {
    let host::Inspection { functions, faults } = host::inspect(root);
    functions.iter().for_each(|function| println!("{function}"));
    faults.iter().for_each(|fault| println!("{fault}"));
    faults.is_empty()
}
