//! What the tests need of other people's programs: installed where that is allowed, else named.

use std::path::Path;
use std::process::{Command, Stdio};

use super::root;

/// The tests against npm `oidc-provider`.
pub const OIDC_PROVIDER: &str = "oidc_provider::";
/// The tests of Microsoft's Graph client in a browser.
pub const GRAPH_CLIENT: &str = "browser::graph_client::";
/// The tests against Microsoft's fake Key Vault.
pub const KEY_VAULT_PEER: &str = "key_vault_peer::";

/// A part of the tests that needs a program which Rust does not bring.
#[derive(Debug, Clone)]
pub struct Missing {
    /// What cannot run.
    pub part: &'static str,
    /// The command that brings what it needs.
    pub remedy: &'static str,
    /// The tests to leave out.
    pub skip: &'static str,
}

/// Installs what may be installed and tells what is still missing.
#[must_use]
pub fn prepare() -> Vec<Missing> {
    let mut missing = Vec::new();
    if !chromium() {
        missing.push(Missing {
            part: "browser tests (Chromium with its WebDriver)",
            remedy: "apt-get install chromium chromium-driver",
            skip: "browser::",
        });
    }
    if !npm_packages("oidc-provider") {
        missing.push(Missing {
            part: "tests against npm oidc-provider (Node.js 20 or newer with npm)",
            remedy: "apt-get install nodejs npm, or see nodejs.org",
            skip: OIDC_PROVIDER,
        });
    }
    if !npm_packages("graph-client") {
        missing.push(Missing {
            part: "tests of Microsoft's Graph client (Node.js 20 or newer with npm)",
            remedy: "apt-get install nodejs npm, or see nodejs.org",
            skip: GRAPH_CLIENT,
        });
    }
    if !runs("go", &["version"]) {
        missing.push(Missing {
            part: "tests against Microsoft's fake Key Vault (Go)",
            remedy: "apt-get install golang-go",
            skip: KEY_VAULT_PEER,
        });
    }
    missing
}

fn chromium() -> bool {
    let there = || runs("chromedriver", &["--version"]) && runs("chromium", &["--version"]);
    installed(there, &["chromium", "chromium-driver"])
}

/// Whether the load of `cargo dev bench` has its programs.
#[must_use]
pub fn nginx_and_wrk() -> bool {
    // wrk tells its version and fails.
    let wrk = || Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let there = || runs("nginx", &["-v"]) && runs("taskset", &["--version"]) && wrk();
    installed(there, &["nginx-light", "util-linux", "wrk"])
}

/// Whether programs are there, after Debian's packages were installed where that is needed and allowed.
pub(super) fn installed(there: impl Fn() -> bool, packages: &[&str]) -> bool {
    if !there() && is_root() && runs("apt-get", &["--version"]) {
        println!("installing {} …", packages.join(", "));
        succeeds(Command::new("apt-get").args(["update", "-qq"]));
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        succeeds(Command::new("apt-get").args(install).args(packages).env("DEBIAN_FRONTEND", "noninteractive"));
    }
    there()
}

fn npm_packages(peer: &str) -> bool {
    let folder = root().join("tests/peers").join(peer);
    runs("node", &["--version"]) && runs("npm", &["--version"]) && locked_packages(&folder)
}

/// The packages of a lockfile, installed once for each state of it.
fn locked_packages(folder: &Path) -> bool {
    let lockfile = std::fs::read(folder.join("package-lock.json")).unwrap_or_default();
    let stamp = folder.join("node_modules/.installed-from");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lockfile) {
        return true;
    }
    println!("installing the packages of {} …", folder.display());
    let installed = succeeds(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder));
    installed && std::fs::write(stamp, lockfile).is_ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program runs and ends well.
pub(super) fn runs(program: &str, arguments: &[&str]) -> bool {
    succeeds(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Whether a command that asks nothing ends well.
pub(super) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
