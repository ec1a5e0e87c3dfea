//! The Python environments of the checks, in the target folder, from lockfiles with hashes; and the other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::setup::{cargo_deny, go_tool, install_once, installed, runs, succeeds};
use super::super::{root, target};

/// Whether this Python can create environments and is at least as new as the one of the lockfiles.
const SUITABLE: &str = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";

/// Paths of programs.
pub(super) struct Environments {
    /// The Python of most checks.
    pub(super) tools: PathBuf,
    /// checkov needs an older pycep than the other checks.
    pub(super) checkov: PathBuf,
    /// The Python of azure-cli, an environment of 730 MB.
    pub(super) azure_cli: PathBuf,
    pub(super) actionlint: PathBuf,
    pub(super) kustomize: PathBuf,
    pub(super) cargo_deny: PathBuf,
    pub(super) cache: PathBuf,
}

impl Environments {
    /// Creates the environments whose lockfile has changed since the last run.
    pub(super) fn prepare() -> Result<Self, String> {
        let suitable = || runs("python3", &["-c", SUITABLE]);
        if !installed(suitable, &["python3", "python3-venv"]) {
            return Err("Python 3.11 or newer with venv is needed: apt-get install python3 python3-venv".to_owned());
        }
        // The check of the files for a server reports what is missing.
        let server =
            || runs("nginx", &["-v"]) && runs("openssl", &["version"]) && runs("systemd-analyze", &["--version"]);
        installed(server, &["nginx-light", "openssl", "systemd"]);
        let folder = target().join("check-infra");
        let create = |name: &str| environment(&folder.join(name), name);
        Ok(Self {
            tools: create("tools")?.join("python"),
            checkov: create("policy")?.join("checkov"),
            azure_cli: create("azure-cli")?.join("python"),
            actionlint: built_by_go("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")?,
            kustomize: built_by_go("kustomize", "sigs.k8s.io/kustomize/kustomize/v5")?,
            cargo_deny: cargo_deny().ok_or("cargo-deny cannot be built")?,
            cache: folder.join("cache"),
        })
    }
}

fn built_by_go(name: &str, package: &str) -> Result<PathBuf, String> {
    go_tool(name, package).ok_or_else(|| format!("{name} cannot be built: apt-get install golang-go, or see go.dev"))
}

/// The folder of an environment's programs.
fn environment(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let lockfile = root().join("tests/peers/azure/requirements").join(name).with_extension("txt");
    let programs = folder.join("bin");
    let install = || {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
        let packages = ["--require-hashes", "--no-deps", "--requirement"];
        succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))
            && succeeds(python(programs.join("python")).args(pip).args(packages).arg(&lockfile))
    };
    let installed = install_once(&lockfile, &folder.join("installed-from"), install);
    let failed = || format!("the packages of {} cannot be installed", lockfile.display());
    installed.then_some(programs.clone()).ok_or_else(failed)
}

/// A Python that writes no files beside the sources.
pub(super) fn python(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(root());
    command
}
