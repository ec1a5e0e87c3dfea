//! Programs that the tests need: installed where that is possible, otherwise reported.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{cargo, root, target};
use crate::os;
use crate::redis_server::GET_REDIS;

/// The tests against npm `oidc-provider`.
pub const OIDC_PROVIDER: &str = "oidc_provider::";
/// The tests against Microsoft's fake Key Vault.
pub const KEY_VAULT_PEER: &str = "key_vault_peer::";

/// The tests in a network of their own.
pub const NETWORK_NAMESPACE: &str = "identities::virtual_machine::";

/// The tests with a Redis server.
pub const REDIS: [&str; 12] = [
    "browser::frontchannel_logout::",
    "browser::own_sessions::",
    "dev_up::with_a_store_",
    "oidc_provider::logout::",
    "own_sessions::",
    "persist::a_session_that_moves_into_the_store_",
    "persist::cookies_of_stored_sessions_",
    "provider_logout::journeys::",
    "redis_server::",
    "redis_sessions::",
    "session_stores::the_redis_store_",
    "soak::store::",
];

/// The version of cargo-deny, whose packages are on crates.io only.
const CARGO_DENY: &str = "0.20.2";
/// The version of cargo-cyclonedx, likewise.
const CARGO_CYCLONEDX: &str = "0.5.9";

/// A part of the tests that cannot run.
#[derive(Debug, Clone)]
pub struct Missing {
    pub part: &'static str,
    /// The command that installs what it needs.
    pub remedy: &'static str,
    /// What the names of the tests contain, and no others.
    pub skip: &'static [&'static str],
}

/// What is left out on Windows.
const INTEGRATION: Missing = Missing {
    part: "integration tests (they use signals, modes of files and shell scripts)",
    remedy: "cargo dev test on Linux, on macOS, or in the Windows Subsystem for Linux",
    skip: &["redis_server::", OIDC_PROVIDER, KEY_VAULT_PEER],
};

/// What `cargo dev bench --counts` needs.
pub const COUNTS: Missing = Missing {
    part: "the counts of a proxied call (callgrind and strace, on Linux with x86_64)",
    remedy: "apt-get install nginx-light strace util-linux valgrind",
    skip: &[],
};

/// Installs what can be installed, and returns what is still missing.
#[must_use]
pub fn prepare() -> Vec<Missing> {
    if !os::RUNS_ALL_TESTS {
        return vec![INTEGRATION, COUNTS];
    }
    const NODE: &str = "apt-get install nodejs npm, or see nodejs.org";
    let part = |available: bool, part, remedy, skip| (!available).then_some(Missing { part, remedy, skip });
    let parts = [
        part(
            chromium(),
            "browser tests (Chromium with its WebDriver)",
            "apt-get install chromium chromium-driver",
            &["browser::"],
        ),
        part(redis_server(), "tests with a Redis server", GET_REDIS, &REDIS),
        part(
            npm_packages("oidc-provider"),
            "tests against npm oidc-provider (Node.js 20 or newer with npm)",
            NODE,
            &[OIDC_PROVIDER],
        ),
        part(
            npm_packages("graph-client"),
            "tests of Microsoft's Graph client (Node.js 20 or newer with npm)",
            NODE,
            &["browser::graph_client::"],
        ),
        part(
            runs("go", &["version"]),
            "tests against Microsoft's fake Key Vault (Go)",
            "apt-get install golang-go",
            &[KEY_VAULT_PEER],
        ),
        part(
            runs("unshare", &["--map-root-user", "--net", "ip", "link", "set", "lo", "up"]),
            "tests in a network namespace (Linux, where every user may create one)",
            "apt-get install util-linux iproute2; Ubuntu also needs sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            &[NETWORK_NAMESPACE],
        ),
        (!are_counts_comparable() || !counting_programs()).then_some(COUNTS),
    ];
    parts.into_iter().flatten().collect()
}

fn chromium() -> bool {
    let available = || runs("chromedriver", &["--version"]) && runs("chromium", &["--version"]);
    installed(available, &["chromium", "chromium-driver"])
}

#[must_use]
pub fn redis_server() -> bool {
    installed(|| runs("redis-server", &["--version"]), &["redis-server"])
}

/// The programs of the load benchmark.
#[must_use]
pub fn nginx_and_wrk() -> bool {
    // wrk exits with a failure after printing its version.
    let wrk = || Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let available = || runs("nginx", &["-v"]) && runs("taskset", &["--version"]) && wrk();
    installed(available, &["nginx-light", "util-linux", "wrk"])
}

/// Whether counts of this machine compare with the limits: other processors have other instructions.
#[must_use]
pub fn are_counts_comparable() -> bool {
    (OS, ARCH) == ("linux", "x86_64")
}

/// The programs of the counts. That to control callgrind is in the package of valgrind.
#[must_use]
pub fn counting_programs() -> bool {
    let programs = [("nginx", "-v"), ("strace", "-V"), ("taskset", "-V"), ("valgrind", "--version")];
    let available = || programs.iter().all(|(program, option)| runs(program, &[option]));
    installed(available, &["nginx-light", "strace", "util-linux", "valgrind"])
}

/// The program of cargo-deny.
#[must_use]
pub fn cargo_deny() -> Option<PathBuf> {
    cargo_tool("cargo-deny", CARGO_DENY, &[])
}

/// The program of cargo-cyclonedx.
#[must_use]
pub fn cargo_cyclonedx() -> Option<PathBuf> {
    cargo_tool("cargo-cyclonedx", CARGO_CYCLONEDX, &["cyclonedx"])
}

/// A program of crates.io, built once into the target folder. Not optimized: building takes longer than running. The
/// version is printed after these arguments.
fn cargo_tool(name: &str, version: &str, arguments: &[&str]) -> Option<PathBuf> {
    let folder = target().join("tools");
    let program = folder.join("bin").join(name);
    let printed = Command::new(&program).args(arguments).arg("--version").output();
    let current = printed.is_ok_and(|output| output.stdout.trim_ascii().ends_with(format!(" {version}").as_bytes()));
    if !current {
        println!("building {name} {version}, which takes minutes …");
        let install = ["install", "--debug", "--locked", "--force", name, "--version", version, "--root"];
        if !succeeds(cargo().args(install).arg(&folder)) {
            return None;
        }
    }
    Some(program)
}

/// A program that Go builds from the locked modules of a peer.
pub(super) fn go_tool(peer: &str, package: &str) -> Option<PathBuf> {
    let program = target().join("tools/bin").join(peer);
    let folder = root().join("tests/peers").join(peer);
    let build = ["build", "-mod=readonly", "-o"];
    let go = || runs("go", &["version"]);
    let built = installed(go, &["golang-go"])
        && succeeds(Command::new("go").args(build).arg(&program).arg(package).current_dir(folder));
    built.then_some(program)
}

/// Whether programs are available, if need be after installing Debian's packages, which takes root.
pub(super) fn installed(available: impl Fn() -> bool, packages: &[&str]) -> bool {
    if !available() && os::is_root() && runs("apt-get", &["--version"]) {
        println!("installing {} …", packages.join(", "));
        succeeds(Command::new("apt-get").args(["update", "-qq"]));
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        succeeds(Command::new("apt-get").args(install).args(packages).env("DEBIAN_FRONTEND", "noninteractive"));
    }
    available()
}

fn npm_packages(peer: &str) -> bool {
    let folder = root().join("tests/peers").join(peer);
    let install = || succeeds(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder));
    runs("node", &["--version"])
        && runs("npm", &["--version"])
        && install_once(&folder.join("package-lock.json"), &folder.join("node_modules/.installed-from"), install)
}

/// Installs the packages of a lockfile, unless the stamp is a copy of it.
pub(super) fn install_once(lockfile: &Path, stamp: &Path, install: impl FnOnce() -> bool) -> bool {
    let Ok(wanted) = std::fs::read(lockfile) else { return false };
    if std::fs::read(stamp).is_ok_and(|installed| installed == wanted) {
        return true;
    }
    println!("installing the packages of {} …", lockfile.display());
    install() && std::fs::write(stamp, wanted).is_ok()
}

pub(super) fn runs(program: &str, arguments: &[&str]) -> bool {
    succeeds(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()))
}

pub(super) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
