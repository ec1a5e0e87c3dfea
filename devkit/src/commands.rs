//! The commands behind `cargo dev`.

pub mod bench;
pub mod check;
pub mod check_infra;
pub mod cloud;
pub mod package;
pub mod ring;
pub mod setup;
pub mod soak;
pub mod stage;
pub mod up;

use std::path::{Path, PathBuf};

/// The project's root: the folder above this crate's.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder of built things, where the environment does not name another.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this, or the one on the path.
#[must_use]
pub fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo tells of this crate to its program would look like a change to build scripts that ask for it (ring's
    // does), and all that depends on them would be built anew.
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
    command
}

/// Builds the gateway as it is shipped, and gives the binary.
///
/// # Errors
/// It does not build.
pub fn build_release() -> std::io::Result<PathBuf> {
    println!("Building the release binary …");
    let built = cargo().args(["build", "--release", "--package", "cloakroom", "--bin", "cloakroom"]).status()?;
    let binary = target().join("release/cloakroom");
    if built.success() { Ok(binary) } else { Err(std::io::Error::other("the gateway does not build")) }
}
