//! The commands of `cargo dev`.

pub mod bench;
pub mod check;
pub mod check_dependencies;
pub mod check_infra;
pub mod elf;
pub mod image;
pub mod package;
pub mod profile;
pub mod release;
pub mod ring;
pub mod setup;
pub mod soak;
pub mod stack;
pub mod up;

use std::path::{Path, PathBuf};

use crate::os;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The file name of this program in a release, without a suffix.
pub const PROGRAM: &str = "cloakroom-dev";

/// The folder of an unpacked release, if this program is in one: it has the gateway and the files of the project beside
/// it.
#[must_use]
pub fn release_folder() -> Option<PathBuf> {
    let program = os::resolved(&std::env::current_exe().ok()?).ok()?;
    let folder = program.parent()?;
    let is_there = |name: &str| folder.join(name).is_file();
    (is_there("host.json") && is_there(&os::executable("cloakroom"))).then(|| folder.to_owned())
}

/// The project's root, or the folder of the release.
#[must_use]
pub fn root() -> PathBuf {
    let checkout = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    release_folder().unwrap_or_else(checkout)
}

/// The target folder.
#[must_use]
pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").filter(|_| release_folder().is_none());
    named.map_or_else(|| root().join("target"), PathBuf::from)
}

/// The gateway for trials: that of the release, or one that is built now.
///
/// # Errors
/// It does not build.
pub fn gateway() -> Result<PathBuf> {
    let name = os::executable("cloakroom");
    if let Some(folder) = release_folder() {
        return Ok(folder.join(name));
    }
    println!("Building the gateway …");
    require_make()?;
    if !cargo().args(["build", "--bin", "cloakroom"]).status()?.success() {
        return Err("the gateway does not build".into());
    }
    Ok(target().join("debug").join(name))
}

/// The cargo that runs this program, or the one on the path.
#[must_use]
pub fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Variables that cargo sets for this program would make build scripts that watch them (such as ring's) run again,
    // and everything that depends on these would be built again.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
    command
}

/// Builds the gateway for release and returns the binary. With a target triple it is linked statically, as it is
/// shipped, since the C library of the machine that runs it is unknown.
///
/// # Errors
/// It does not build.
pub fn build_release(triple: Option<&str>) -> Result<PathBuf> {
    build_release_with(triple, &[], &[])
}

/// As [`build_release`], with further flags for the compiler (only with a target) and variables for cargo.
fn build_release_with(triple: Option<&str>, flags: &[String], variables: &[(String, String)]) -> Result<PathBuf> {
    println!("Building the release binary …");
    let mut build = release("build", triple, flags)?;
    build.envs(variables.iter().map(|(name, value)| (name, value)));
    if build.status()?.success() { Ok(release_binary(triple)) } else { Err("the gateway does not build".into()) }
}

/// Builds what is shipped for a target, with the names of its functions: only the last step differs. Returns a copy in
/// a folder, since other builds write to the same file.
///
/// # Errors
/// It does not build, or cannot be copied.
pub fn build_with_symbols(triple: &str, folder: &Path) -> Result<PathBuf> {
    println!("Building the release binary with the names of its functions …");
    let mut build = release("rustc", Some(triple), &[])?;
    if !build.args(["--", "-Cstrip=none"]).status()?.success() {
        return Err("the gateway does not build".into());
    }
    let copy = folder.join(os::executable("cloakroom"));
    std::fs::copy(release_binary(Some(triple)), &copy)?;
    Ok(copy)
}

/// A command of cargo that builds the gateway for release.
fn release(command: &str, triple: Option<&str>, flags: &[String]) -> Result<std::process::Command> {
    require_make()?;
    let mut build = cargo();
    // Without the package, features that only the devkit needs would get into shared dependencies.
    build.args([command, "--release", "--package", "cloakroom", "--bin", "cloakroom"]);
    if let Some(triple) = triple {
        // Only with a named target do flags not apply to macros and build scripts, which cannot be static. This
        // variable takes precedence over RUSTFLAGS, and allows spaces in paths.
        let flags = [static_flags(triple), flags.to_vec()].concat();
        build.args(["--target", triple]).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    Ok(build)
}

fn release_binary(triple: Option<&str>) -> PathBuf {
    target().join(triple.unwrap_or_default()).join("release").join(os::executable("cloakroom"))
}

/// The allocator on Linux is built by make, which comes with most C compilers, but not with Rust.
fn require_make() -> Result<()> {
    let is_missing = || !setup::installed(|| setup::runs("make", &["--version"]), &["make"]);
    if std::env::consts::OS == "linux" && is_missing() {
        return Err("the allocator of the gateway is built by make: apt-get install make".into());
    }
    Ok(())
}

/// The compiler's flags for a binary that is shipped: static, and without the paths of the machine that builds it, so
/// that the same sources make the same binary in every folder.
fn static_flags(triple: &str) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let remap = |folder: &Path, name: &str| format!("--remap-path-prefix={}={name}", folder.display());
    let mut flags =
        vec!["-Ctarget-feature=+crt-static".to_owned(), remap(&cargo_home, "/cargo"), remap(&target(), "/target")];
    if triple == package::TARGET {
        // 0.4 MB less. glibc reads it from 2.36 on; cross linkers for arm64 ignore it.
        flags.push("-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned());
    }
    flags
}

/// Prints how a command is used, and returns its exit code.
fn usage(text: &str) -> u8 {
    eprintln!("{}", if release_folder().is_some() { text.replace("cargo dev", PROGRAM) } else { text.to_owned() });
    2
}

/// Prints the error of a command, and returns its exit code.
fn exit_code(outcome: Result<()>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}
