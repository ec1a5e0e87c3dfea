//! The static release binary for each platform, built on this machine.

use std::path::PathBuf;
use std::process::Command;

use super::platform_name;
use crate::commands::elf::Processor;
use crate::commands::profile::Profile;
use crate::commands::setup::{installed, runs};
use crate::commands::{Result, build_release_with};

/// The machine that builds.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub is_linux: bool,
    pub processor: Option<Processor>,
}

impl Machine {
    #[must_use]
    pub fn current() -> Self {
        let processor = Processor::ALL.into_iter().find(|one| one.name() == std::env::consts::ARCH);
        let is_linux = std::env::consts::OS == "linux";
        Self { is_linux, processor: processor.filter(|_| is_linux) }
    }
}

/// The one target of Linux on a processor: glibc, linked statically. Every Rust on that processor has its library.
#[must_use]
pub fn triple(processor: Processor) -> String {
    format!("{}-unknown-linux-gnu", processor.name())
}

/// Builds the binary, if need be with a cross linker.
///
/// # Errors
/// It does not build, or what it needs is missing; the text has the commands that install it.
pub fn release(processor: Processor, profile: Option<&Profile>) -> Result<PathBuf> {
    if !Machine::current().is_linux {
        return Err(format!(
            "{} is built on Linux only; elsewhere use the Dockerfile, or --binary with a binary of a release",
            platform_name(processor)
        )
        .into());
    }
    let triple = triple(processor);
    let flags = profile.map(|profile| profile.flags(&triple)).unwrap_or_default();
    build_release_with(Some(&triple), &flags, &tools(processor)?)
}

/// On Linux, the variables with which cargo builds for a processor.
///
/// # Errors
/// A compiler is missing; the text has the commands that install it.
pub fn tools(processor: Processor) -> std::result::Result<Vec<(String, String)>, String> {
    if Machine::current().processor == Some(processor) {
        return Ok(Vec::new());
    }
    let (triple, cross) = (triple(processor), CrossTools::of(processor));
    let has_library = has_standard_library(&triple);
    let has_linker = installed(|| runs(cross.linker, &["--version"]), &cross.packages);
    if has_library && has_linker {
        return Ok(vec![(cross.linker_variable(&triple), cross.linker.to_owned())]);
    }
    let install = format!("rustup target add {triple}\n  apt-get install {}", cross.packages.join(" "));
    Err(format!("{} needs a cross compiler. To install it:\n  {install}", platform_name(processor)))
}

/// Debian's cross compiler.
struct CrossTools {
    linker: &'static str,
    packages: [&'static str; 2],
}

impl CrossTools {
    fn of(processor: Processor) -> Self {
        match processor {
            Processor::X86_64 => {
                Self { linker: "x86_64-linux-gnu-gcc", packages: ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"] }
            }
            Processor::Aarch64 => {
                Self { linker: "aarch64-linux-gnu-gcc", packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"] }
            }
        }
    }

    /// Cargo's variable for the linker of a target. The C compiler of ring and jemalloc is found by its name.
    fn linker_variable(&self, triple: &str) -> String {
        format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"))
    }
}

/// Whether the toolchain has Rust's standard library for a target.
#[must_use]
pub fn has_standard_library(triple: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output();
    output.is_ok_and(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}
