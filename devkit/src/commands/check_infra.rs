//! `cargo dev check-infra`: checks package, templates, workflows, functions and the commands in the docs, all without
//! Azure.
//!
//! The checks of formats that others define are in Python, with the programs that know these (`tests/peers/azure`).

mod environments;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use environments::Environments;

use super::check::{part, step, summary};
use super::{package, root, usage};
use crate::host;

/// Returns the exit code: 0 only if all checks could run and passed.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    if !arguments.is_empty() {
        return usage("usage: cargo dev check-infra");
    }
    let begun = Instant::now();
    let package = || package::run(&["--verify"]) == 0;
    let mut parts = vec![
        ("functions and host.json", part("functions and host.json", || are_functions_valid(&root()))),
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
    summary(begun, &parts)
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

/// By the rules of the stand-in for the Functions host.
fn are_functions_valid(root: &Path) -> bool {
    let host::Inspection { functions, faults } = host::inspect(root);
    functions.iter().for_each(|function| println!("{function}"));
    faults.iter().for_each(|fault| println!("{fault}"));
    faults.is_empty()
}
