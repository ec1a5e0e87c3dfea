//! `cargo dev check-infra`: the package, templates, workflows, functions and the commands in our pages, checked without
//! Azure.
//!
//! The checks of files that are not ours to define are in Python, beside the programs that know them
//! (`tests/peers/azure`).

mod environments;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use environments::Environments;

use super::check::{part, step, summary};
use super::{package, root};
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
    let package = || package::run(&["--verify".to_owned()]) == 0;
    let mut parts = vec![
        ("functions and host.json", part("functions and host.json", || functions_hold(&root()))),
        ("the package and its journey", part("the package and its journey", package)),
    ];
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
    let (types, home) = (cache.join("types"), cache.join("azure-cli-home"));
    let check = |script: &str, options: &[(&str, &Path)]| {
        let mut command = environments::python(tools);
        command.arg(root().join("tests/peers/azure").join(script));
        for (option, value) in options {
            command.arg(option).arg(value);
        }
        command
    };
    let mut planted = check("test_checks.py", &[]);
    planted.env("CHECKS_CACHE", &types).env("CHECKS_HOME", &home);
    planted.env("CHECKS_CHECKOV", checkov).env("CHECKS_AZURE_CLI", azure_cli);
    vec![
        ("Bicep: symbols and types", check("check_bicep.py", &[("--cache", &types)])),
        ("Bicep: policies", check("check_policy.py", &[("--checkov", checkov)])),
        ("workflows", check("check_workflows.py", &[])),
        ("az, azd and func commands", check("check_commands.py", &[("--azure-cli", azure_cli), ("--home", &home)])),
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
