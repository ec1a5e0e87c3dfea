//! Profiles: how often each part of the gateway runs. `cargo dev profile` records one, and with `--profile-use` the
//! compiler decides by it what to inline and what to keep small.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

/// The end of a file's name.
const SUFFIX: &str = ".profdata";
/// What precedes the version of the compiler in the name.
const COMPILER: &str = "-rustc-";

/// A profile in a file whose name says for which target and compiler it is:
/// `cloakroom-0.1.0-x86_64-unknown-linux-gnu-rustc-1.95.0.profdata`.
#[derive(Debug, Clone)]
pub struct Profile {
    file: PathBuf,
    name: String,
}

impl Profile {
    /// # Errors
    /// There is no such file, or it is for another compiler than this one.
    pub fn open(path: &Path) -> Result<Self> {
        Self::for_compiler(path, &compiler()?)
    }

    fn for_compiler(path: &Path, compiler: &str) -> Result<Self> {
        let file = std::path::absolute(path)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(wanted) = name.strip_suffix(SUFFIX).and_then(|name| Some(name.rsplit_once(COMPILER)?.1)) else {
            return Err(format!(
                "{}: the name must say for which target and compiler the profile is, as that of `cargo dev profile` does: \
                 cloakroom-…-TARGET{COMPILER}VERSION{SUFFIX}",
                path.display()
            )
            .into());
        };
        if wanted != compiler {
            return Err(format!(
                "{name} is for Rust {wanted}, and this is Rust {compiler}, which gives functions other names. Install that \
                 version (rustup toolchain install {wanted}) and use it (cargo +{wanted} dev …), or make a profile for this \
                 one (cargo dev profile)"
            )
            .into());
        }
        if !file.is_file() {
            return Err(format!("{}: there is no such file", path.display()).into());
        }
        Ok(Self { file, name })
    }

    /// The compiler's flags for a target; none for another one than the profile's.
    #[must_use]
    pub fn flags(&self, triple: &str) -> Vec<String> {
        let is_for_it = self.name.contains(&format!("-{triple}{COMPILER}"));
        is_for_it.then(|| format!("-Cprofile-use={}", self.file.display())).into_iter().collect()
    }
}

/// The name of a profile for a target and this compiler.
///
/// # Errors
/// There is no compiler.
pub fn file_name(triple: &str) -> Result<String> {
    Ok(format!("cloakroom-{}-{triple}{COMPILER}{}{SUFFIX}", env!("CARGO_PKG_VERSION"), compiler()?))
}

/// The version of the compiler.
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split(' ').nth(1).ok_or("rustc does not tell its version")?.to_owned())
}
