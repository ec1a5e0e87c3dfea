//! The platforms of a release, and what builds for each.

use std::path::PathBuf;

use crate::commands::elf::{self, Processor};
use crate::commands::image::build::{self, has_standard_library};
use crate::commands::setup::{installed, runs};
use crate::commands::{Result, cargo, static_flags, target};

/// A platform of a release.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub triple: &'static str,
    compiler: Compiler,
}

/// The C compiler, which is also the linker.
#[derive(Debug, Clone, Copy)]
enum Compiler {
    /// That of macOS.
    Macos,
    /// That of Linux, for its own processor or for the other one.
    Linux(Processor),
    /// On Linux, the one for Windows, with its Debian package.
    Windows(&'static str, &'static str),
}

pub const TARGETS: [Target; 4] = [
    Target { triple: "x86_64-unknown-linux-gnu", compiler: Compiler::Linux(Processor::X86_64) },
    Target { triple: "aarch64-unknown-linux-gnu", compiler: Compiler::Linux(Processor::Aarch64) },
    Target { triple: "aarch64-apple-darwin", compiler: Compiler::Macos },
    Target {
        triple: "x86_64-pc-windows-gnu",
        compiler: Compiler::Windows("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"),
    },
];

impl Target {
    /// Whether its programs are for Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.triple.contains("windows")
    }

    /// The file name of a program.
    #[must_use]
    pub fn executable(&self, name: &str) -> String {
        format!("{name}{}", if self.is_windows() { ".exe" } else { "" })
    }

    /// The folder in the archive.
    #[must_use]
    pub fn folder_name(&self, version: &str) -> String {
        format!("cloakroom-{version}-{}", self.triple)
    }

    #[must_use]
    pub fn archive_name(&self, version: &str) -> String {
        format!("{}{}", self.folder_name(version), if self.is_windows() { ".zip" } else { ".tar.gz" })
    }

    /// The variables with which cargo builds for it.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn tools(&self) -> std::result::Result<Vec<(String, String)>, String> {
        let is_linux = std::env::consts::OS == "linux";
        let variables = match self.compiler {
            Compiler::Macos if std::env::consts::OS == "macos" => Vec::new(),
            Compiler::Macos => return Err("it is linked on macOS only".to_owned()),
            Compiler::Linux(processor) if is_linux => build::tools(processor)?,
            Compiler::Linux(_) => return Err("it is built on Linux only".to_owned()),
            Compiler::Windows(program, package) => {
                if !is_linux || !installed(|| runs(program, &["--version"]), &[package]) {
                    return Err(format!("it needs {program} on Linux (apt-get install {package})"));
                }
                let upper = self.triple.to_uppercase().replace('-', "_");
                let compiler = format!("CC_{}", self.triple.replace('-', "_"));
                let linker = format!("CARGO_TARGET_{upper}_LINKER");
                [compiler, linker].map(|name| (name, program.to_owned())).into()
            }
        };
        if has_standard_library(self.triple) {
            Ok(variables)
        } else {
            Err(format!("it needs Rust's library (rustup target add {})", self.triple))
        }
    }

    /// Builds a program for release, linked statically, with further flags for the compiler, and returns its file.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(&self, package: &str, program: &str, flags: &[String], tools: &[(String, String)]) -> Result<PathBuf> {
        println!("Building {program} for {} …", self.triple);
        let mut build = cargo();
        // Without the package, features that only the devkit needs would get into shared dependencies of the gateway.
        build.args(["build", "--release", "--package", package, "--bin", program, "--target", self.triple]);
        build.env("CARGO_ENCODED_RUSTFLAGS", [static_flags(self.triple), flags.to_vec()].concat().join("\u{1f}"));
        build.envs(tools.iter().map(|(name, value)| (name, value)));
        if !build.status()?.success() {
            return Err(format!("{program} does not build for {}", self.triple).into());
        }
        let binary = target().join(self.triple).join("release").join(self.executable(program));
        self.check(&std::fs::read(&binary)?)?;
        Ok(binary)
    }

    /// Checks that a program for Linux runs on every Linux.
    ///
    /// # Errors
    /// It is not static, or for another processor.
    pub fn check(&self, binary: &[u8]) -> Result<()> {
        let processor = Processor::ALL.into_iter().find(|one| self.triple.starts_with(one.name()));
        let fault = processor.filter(|_| self.triple.contains("linux")).and_then(|one| elf::fault(binary, one));
        fault.map_or(Ok(()), |fault| Err(format!("the program for {} {fault}", self.triple).into()))
    }
}
