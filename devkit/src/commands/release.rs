//! `cargo dev release`: what the workflow *release* publishes, as far as this machine can make it.
//!
//! The workflow calls the same command for each archive, so that a release consists of what this code makes.

pub mod archive;
pub mod targets;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest::{SHA256, digest};

use super::image::build::Machine;
use super::profile::Profile;
use super::{Result, cargo, exit_code, image, package, root, usage};
use archive::{Programs, write_archive};
use targets::{TARGETS, Target};

const USAGE: &str = "usage: cargo dev release --dry-run
       cargo dev release --archive TRIPLE [--profile-use FILE]
       cargo dev release --sbom
       cargo dev release --verify ARCHIVE

  --dry-run         makes in dist/release/ what this machine can make of a release; says what is missing, why, and
                    which job of the workflow makes it
  --archive TRIPLE  builds gateway and devkit for this target, and makes their archive in dist/release/
  --profile-use FILE  compiles the gateway by this profile if it is for the target
  --sbom            lists the crates of the gateway in dist/release/sbom.cdx.json
  --verify ARCHIVE  unpacks an archive, starts `cloakroom-dev up` in it without cargo, signs in and calls an API";
/// The checksums of all other files.
const CHECKSUMS: &str = "SHA256SUMS";
const SBOM: &str = "sbom.cdx.json";
/// The test that runs an archive.
const JOURNEY: &str = "archive::the_archive_under_test_signs_in_and_calls_an_api";

/// Returns the exit code: 0 if everything that this machine can make was made.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    let archive = |triple: &str, profile: Option<&str>| match TARGETS.iter().find(|target| target.triple == triple) {
        Some(target) => exit_code(make_archive(target, profile).map(|path| println!("{}", path.display()))),
        None => usage(USAGE),
    };
    match arguments {
        ["--dry-run"] => exit_code(dry_run()),
        ["--archive", triple] => archive(triple, None),
        ["--archive", triple, "--profile-use", file] => archive(triple, Some(file)),
        ["--sbom"] => exit_code(write_sbom(&folder()).map(|path| println!("{}", path.display()))),
        ["--verify", archive] => exit_code(journey(Path::new(archive))),
        _ => usage(USAGE),
    }
}

/// Runs an archive on this machine.
fn journey(archive: &Path) -> Result<()> {
    println!("Starting the programs of the archive …");
    let mut test = cargo();
    test.args(["test", "--quiet", "--test", "integration", "--", "--ignored", "--exact", JOURNEY]);
    let output = test.env("ARCHIVE_UNDER_TEST", std::path::absolute(archive)?).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A renamed test would otherwise pass by not running.
    if output.status.success() && text.contains("1 passed") { Ok(()) } else { Err(text.into()) }
}

/// The version of the project.
#[must_use]
pub const fn version() -> &'static str {
    // All packages of the workspace have the same (`.github/scripts/check-version.sh`).
    env!("CARGO_PKG_VERSION")
}

fn folder() -> PathBuf {
    root().join("dist/release")
}

/// Builds both programs for a target and packs them.
fn make_archive(target: &Target, profile: Option<&str>) -> Result<PathBuf> {
    let profile = profile.map(|file| Profile::open(Path::new(file))).transpose()?;
    let flags = profile.map(|profile| profile.flags(target.triple)).unwrap_or_default();
    let tools = target.tools().map_err(|missing| format!("{}: {missing}", target.triple))?;
    fs::create_dir_all(folder())?;
    let programs = build_programs(|package, program| {
        // Profiles are of the gateway.
        let flags = if package == "cloakroom" { flags.as_slice() } else { &[] };
        target.build(package, program, flags, &tools)
    })?;
    Ok(write_archive(&programs, target, &root(), &folder())?)
}

/// The gateway is built last: build scripts of packages that only the devkit needs do not run beside its binary.
fn build_programs(mut build: impl FnMut(&str, &str) -> Result<PathBuf>) -> Result<Programs> {
    let devkit = build("devkit", "devkit")?;
    Ok(Programs { gateway: build("cloakroom", "cloakroom")?, devkit })
}

/// What became of one part of a release.
enum Outcome {
    Made,
    /// Why it cannot be made here.
    Missing(String),
    /// What must be done before a release.
    ToDo(String),
    Failed(String),
}

fn dry_run() -> Result<()> {
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut parts = vec![("the version".to_owned(), "tag", check_version())];
    let profile = "what is made here is compiled without one; `cargo dev profile` records it".to_owned();
    parts.push(("the profile".to_owned(), "profile", Outcome::Missing(profile)));
    parts.push(("app.zip".to_owned(), "package", app_zip(&folder)));
    for target in &TARGETS {
        let outcome = match target.tools() {
            Err(missing) => Outcome::Missing(missing),
            Ok(_) => Outcome::of(make_archive(target, None).map(|_| ())),
        };
        parts.push((target.archive_name(version()), "archives", outcome));
    }
    parts.push((format!("cloakroom-{}.oci.tar", version()), "image", image(&folder)));
    parts.push((SBOM.to_owned(), "materials", Outcome::of(write_sbom(&folder).map(|_| ()))));
    parts.push((CHECKSUMS.to_owned(), "publish", Outcome::of(write_checksums(&folder))));
    let signed = "GitHub signs them for its own workflow only".to_owned();
    parts.push((
        "attestations, the image in the registry, the release".to_owned(),
        "publish",
        Outcome::Missing(signed),
    ));
    report(&folder, &parts)
}

impl Outcome {
    fn of(result: Result<()>) -> Self {
        result.map_or_else(|error| Self::Failed(error.to_string()), |()| Self::Made)
    }
}

fn report(folder: &Path, parts: &[(String, &str, Outcome)]) -> Result<()> {
    println!("\n{}:", folder.display());
    let mut failed = 0;
    for (name, job, outcome) in parts {
        match outcome {
            Outcome::Made => println!("  made        {name}"),
            Outcome::Missing(reason) => {
                println!("  LEFT OUT    {name}: {reason}. The job {job} of release.yml makes it")
            }
            Outcome::ToDo(reason) => println!("  TO DO       {name}: {reason}"),
            Outcome::Failed(reason) => {
                failed += 1;
                println!("  FAILED      {name}: {reason}");
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} parts of the release failed").into()) }
}

/// By the script with which the workflow checks the tag.
fn check_version() -> Outcome {
    let script = root().join(".github/scripts/check-version.sh");
    match Command::new("sh").arg(script).arg(format!("v{}", version())).output() {
        Ok(output) if output.status.success() => Outcome::Made,
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr).trim().trim_end_matches('.').to_owned();
            Outcome::ToDo(reason)
        }
        Err(error) => Outcome::Missing(format!("the check is a shell script: {error}")),
    }
}

fn app_zip(folder: &Path) -> Outcome {
    if package::run(&[]) != 0 {
        return Outcome::Failed("cargo dev package failed".to_owned());
    }
    Outcome::of(fs::copy(root().join("dist/app.zip"), folder.join("app.zip")).map(|_| ()).map_err(Into::into))
}

fn image(folder: &Path) -> Outcome {
    if !Machine::current().is_linux {
        return Outcome::Missing("it is built on Linux only".to_owned());
    }
    if image::run(&[]) != 0 {
        return Outcome::Failed("cargo dev image failed".to_owned());
    }
    let name = folder.join(format!("cloakroom-{}.oci.tar", version()));
    Outcome::of(fs::copy(root().join("dist/cloakroom.oci.tar"), name).map(|_| ()).map_err(Into::into))
}

/// Lists the crates of the gateway in CycloneDX.
fn write_sbom(folder: &Path) -> Result<PathBuf> {
    let text = image::sbom::list(TARGETS[0].triple, &[], &[])?;
    let path = folder.join(SBOM);
    fs::create_dir_all(folder)?;
    fs::write(&path, text)?;
    Ok(path)
}

/// All files of a release that are there, as `sha256sum` writes them.
fn write_checksums(folder: &Path) -> Result<()> {
    let mut names = Vec::new();
    for file in fs::read_dir(folder)? {
        names.extend(file?.file_name().into_string().ok().filter(|name| name != CHECKSUMS));
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        let hash = digest(&SHA256, &fs::read(folder.join(&name))?);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        lines += &format!("{hex}  {name}\n");
    }
    Ok(fs::write(folder.join(CHECKSUMS), lines)?)
}
