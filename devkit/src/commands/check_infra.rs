//! `cargo dev check-infra`: checks package, image, templates, workflows, functions and the commands in the docs, all
//! without Azure.
//!
//! The checks of formats that others define are in Python, with the programs that know these (`tests/peers/azure`).

mod environments;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use environments::Environments;

use super::check::{part, step, summary};
use super::elf::Processor;
use super::{image, package, root, setup, usage};
use crate::host;

const USAGE: &str = "usage: cargo dev check-infra [--require-bicep | --update-snapshots]

  --require-bicep     fails if there is no Bicep compiler, by bicep or az bicep
  --update-snapshots  writes the snapshots of deployments, with the Bicep compiler, instead of comparing them";

/// The folder of the checks in Python.
const CHECKS: &str = "tests/peers/azure";
/// The part that needs the Bicep compiler.
const COMPILER: &str = "Bicep: the compiler";
/// How to get the compiler.
const REMEDY: &str = "To run it: .github/scripts/install-bicep.sh FOLDER, and FOLDER on the path; or az bicep install";

/// Returns the exit code: 0 only if all checks could run and passed. Only the Bicep compiler may be missing, which is
/// printed.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    let compiler_options = match arguments {
        [] => [].as_slice(),
        ["--require-bicep"] => ["--require"].as_slice(),
        ["--update-snapshots"] => ["--require", "--update-snapshots"].as_slice(),
        _ => return usage(USAGE),
    };
    let begun = Instant::now();
    let package = || package::run(&["--verify"]) == 0;
    // For the processor of the package, whose binary it has; the other one takes minutes to build.
    let image = || image::check(Processor::X86_64) == 0;
    let mut parts = vec![
        ("functions and host.json", part("functions and host.json", || are_functions_valid(&root()))),
        ("the package and its journey", part("the package and its journey", package)),
        ("the image and its journey", part("the image and its journey", image)),
    ];
    match Environments::prepare() {
        Ok(environments) => {
            let has_compiler = setup::succeeds(script(&environments, "check_compiler.py").arg("--find"));
            let left_out = |name| name == COMPILER && compiler_options.is_empty() && !has_compiler;
            let steps = steps(&environments, compiler_options).into_iter().filter(|(name, _)| !left_out(*name));
            parts.extend(steps.map(|(name, command)| (name, step(name, command))));
            if !has_compiler {
                println!("LEFT OUT: {COMPILER}, so that the templates were only checked in part. {REMEDY}");
            }
        }
        Err(reason) => {
            println!("{reason}");
            parts.push(("every check in Python", false));
        }
    }
    summary(begun, &parts)
}

fn steps(environments: &Environments, compiler_options: &[&str]) -> Vec<(&'static str, Command)> {
    let Environments { checkov, azure_cli, actionlint, kustomize, cargo_deny, cache, .. } = environments;
    let (types, home, work) = (cache.join("types"), cache.join("azure-cli-home"), cache.join("compiler"));
    let check = |name: &str, options: &[(&str, &Path)]| {
        let mut command = script(environments, name);
        for (option, value) in options {
            command.arg(option).arg(value);
        }
        command
    };
    let mut compiler = check("check_compiler.py", &[("--work", &work)]);
    compiler.args(compiler_options);
    let mut planted = environments::python(&environments.tools);
    planted.args(["-m", "unittest", "discover", "--start-directory"]).arg(root().join(CHECKS));
    planted.env("CHECKS_CACHE", &types).env("CHECKS_HOME", &home);
    planted.env("CHECKS_CHECKOV", checkov).env("CHECKS_AZURE_CLI", azure_cli);
    planted.env("CHECKS_ACTIONLINT", actionlint).env("CHECKS_CARGO_DENY", cargo_deny);
    planted.env("CHECKS_KUSTOMIZE", kustomize);
    vec![
        ("Bicep: symbols and types", check("check_bicep.py", &[("--cache", &types)])),
        ("Bicep: names, outputs and deployments", check("check_templates.py", &[])),
        ("Bicep: policies", check("check_policy.py", &[("--checkov", checkov)])),
        (COMPILER, compiler),
        ("Kubernetes", check("check_kubernetes.py", &[("--kustomize", kustomize), ("--checkov", checkov)])),
        ("a server: systemd and nginx", check("check_server.py", &[])),
        ("workflows", check("check_workflows.py", &[("--actionlint", actionlint)])),
        ("scripts", check("check_scripts.py", &[])),
        ("the Dockerfile", check("check_dockerfile.py", &[])),
        ("az, azd and func commands", check("check_commands.py", &[("--azure-cli", azure_cli), ("--home", &home)])),
        ("the checks find planted faults", planted),
    ]
}

/// A check, by the Python that has its libraries.
fn script(environments: &Environments, name: &str) -> Command {
    let mut command = environments::python(&environments.tools);
    command.arg(root().join(CHECKS).join(name));
    command
}

/// By the rules of the stand-in for the Functions host.
fn are_functions_valid(root: &Path) -> bool {
    let host::Inspection { functions, faults } = host::inspect(root);
    functions.iter().for_each(|function| println!("{function}"));
    faults.iter().for_each(|fault| println!("{fault}"));
    faults.is_empty()
}
