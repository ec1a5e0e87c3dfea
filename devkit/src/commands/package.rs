//! `cargo dev package`: the deployment package, `dist/app/` and `dist/app.zip`, with a static binary.

#[cfg(test)]
mod tests;
pub mod verify;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::profile::Profile;
use super::{Result, build_release, build_release_with, cargo, exit_code, root, usage};
use crate::os;

const USAGE: &str =
    "usage: cargo dev package [--target TRIPLE | --binary PATH] [--profile-use FILE] [--spa FOLDER] [--verify]
       cargo dev package --existing ZIP [--verify]

  --target TRIPLE  what to build for; x86_64-unknown-linux-gnu when absent
  --binary PATH    an existing binary
  --profile-use FILE  compiles by a profile, of a release or of `cargo dev profile`
  --spa FOLDER     the files of your own page instead of web/dist
  --existing ZIP   a package to inspect, instead of making one
  --verify         also unpack it, start it with the stand-in for the host, sign in, call an API and sign out";
/// The default target: every Rust on Linux has its library.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The gateway's default folder of the page, in the project and in the package.
pub(super) const SPA: &str = "web/dist";
/// The tests that run a package, and their number.
const JOURNEY: &str = "packaged::the_package_under_test_";
const PASSED: &str = "2 passed";

/// The sources of a package.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    pub binary: PathBuf,
    /// The folder of the page's files.
    pub spa: PathBuf,
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The path in the package.
    pub(super) name: String,
    pub(super) source: PathBuf,
    pub(super) mode: u32,
}

/// Makes the package and verifies it. Returns the exit code.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    match Arguments::parse(arguments) {
        Some(arguments) => exit_code(make(arguments)),
        None => usage(USAGE),
    }
}

#[derive(Debug, Default)]
struct Arguments {
    target: Option<String>,
    binary: Option<PathBuf>,
    profile: Option<PathBuf>,
    spa: Option<PathBuf>,
    existing: Option<PathBuf>,
    verify: bool,
}

impl Arguments {
    fn parse(arguments: &[&str]) -> Option<Self> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--target" => parsed.target = Some((*rest.next()?).to_owned()),
                "--binary" => parsed.binary = Some(rest.next()?.into()),
                "--profile-use" => parsed.profile = Some(rest.next()?.into()),
                "--spa" => parsed.spa = Some(rest.next()?.into()),
                "--existing" => parsed.existing = Some(rest.next()?.into()),
                "--verify" => parsed.verify = true,
                _ => return None,
            }
        }
        let Self { target, binary, profile, spa, existing, .. } = &parsed;
        let builds = target.is_some() || profile.is_some();
        let makes = builds || binary.is_some() || spa.is_some();
        let contradicts = (builds && binary.is_some()) || (existing.is_some() && makes);
        (!contradicts).then_some(parsed)
    }
}

fn make(arguments: Arguments) -> Result<()> {
    let verify = arguments.verify;
    let zip = match arguments.existing {
        Some(zip) => std::path::absolute(zip)?,
        None => build(arguments)?,
    };
    let sizes = verify::verify(&zip).map_err(|faults| faults.join("\n"))?;
    println!("{}", zip.display());
    println!(
        "binary {:.2} MB (limit {}, aim {}), zip {:.2} MB, {} files",
        megabytes(sizes.binary),
        verify::BINARY_BAR / 1_000_000,
        verify::BINARY_AIM / 1_000_000,
        megabytes(sizes.zip),
        sizes.files
    );
    if verify { journey(&zip) } else { Ok(()) }
}

fn build(arguments: Arguments) -> Result<PathBuf> {
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => compile(arguments.target.as_deref().unwrap_or(TARGET), arguments.profile.as_deref())?,
    };
    let spa = arguments.spa.unwrap_or_else(|| root().join(SPA));
    Ok(pack(&Parts { root: root(), binary, spa }, &root().join("dist"))?)
}

fn compile(target: &str, profile: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = profile else { return build_release(Some(target)) };
    match Profile::open(path)?.flags(target) {
        flags if flags.is_empty() => Err(format!("{} is not for {target}", path.display()).into()),
        flags => build_release_with(Some(target), &flags, &[]),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Writes `app/` and `app.zip` under `dist`. Returns the path of the zip, which depends on nothing but the files.
///
/// # Errors
/// A part is missing, or cannot be written.
pub fn pack(parts: &Parts, dist: &Path) -> io::Result<PathBuf> {
    let entries = entries(parts)?;
    let app = dist.join("app");
    if app.exists() {
        fs::remove_dir_all(&app)?;
    }
    for entry in &entries {
        let path = app.join(&entry.name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(&entry.source, &path)?;
        os::set_mode(&path, entry.mode)?;
    }
    let zip = dist.join("app.zip");
    write_zip(&entries, &zip)?;
    Ok(zip)
}

pub(super) fn write_zip(entries: &[Entry], path: &Path) -> io::Result<()> {
    let mut zip = ZipWriter::new(File::create(path)?);
    for entry in entries {
        // The earliest time of the format. The gateway never uses the times of files.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(entry.mode);
        zip.start_file(entry.name.as_str(), options)?;
        zip.write_all(&fs::read(&entry.source)?)?;
    }
    zip.finish()?;
    Ok(())
}

/// Unpacks a package into a folder, with its modes.
///
/// # Errors
/// It is not a zip, or cannot be written.
pub fn unpack(zip: &Path, folder: &Path) -> io::Result<()> {
    ZipArchive::new(File::open(zip)?)?.extract(folder)?;
    Ok(())
}

/// Runs the package from an empty folder in both modes of the host: signs in, calls an API and signs out. Also resolves
/// a name.
fn journey(zip: &Path) -> Result<()> {
    println!("Starting the package from an empty folder …");
    let mut test = cargo();
    test.args(["test", "--quiet", "--test", "integration", "--", "--ignored", JOURNEY]);
    let output = test.env("PACKAGE_UNDER_TEST", zip).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A renamed test would otherwise pass by not running.
    if output.status.success() && text.contains(PASSED) { Ok(()) } else { Err(text.into()) }
}

/// The files of a package, sorted by name.
pub(super) fn entries(parts: &Parts) -> io::Result<Vec<Entry>> {
    let plain = |name: String, source: PathBuf| Entry { name, source, mode: 0o644 };
    let mut entries = vec![Entry {
        name: executable(&fs::read_to_string(parts.root.join("host.json"))?)?,
        source: parts.binary.clone(),
        mode: 0o755,
    }];
    for name in ["apis.json", "host.json"] {
        entries.push(plain(name.to_owned(), parts.root.join(name)));
    }
    for function in functions(&parts.root)? {
        let name = format!("{function}/function.json");
        entries.push(plain(name.clone(), parts.root.join(name)));
    }
    for (name, source) in files(&parts.spa)? {
        entries.push(plain(format!("{SPA}/{name}"), source));
    }
    entries.sort();
    Ok(entries)
}

/// The executable's name, which tools compare as text.
fn executable(host_json: &str) -> io::Result<String> {
    let host: Value = serde_json::from_str(host_json)?;
    let name = host["customHandler"]["description"]["defaultExecutablePath"].as_str();
    let good = name.filter(|name| !name.is_empty() && !name.contains(['/', '\\', '%']));
    let fault = || io::Error::other("host.json: defaultExecutablePath must be the plain name of a file beside it");
    good.map(str::to_owned).ok_or_else(fault)
}

fn functions(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root)? {
        let folder = folder?;
        if folder.path().join("function.json").is_file() {
            found.extend(folder.file_name().into_string());
        }
    }
    Ok(found)
}

/// The files of a SPA's folder by their relative path.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    add_files(&mut found, folder, "")?;
    Ok(found)
}

/// Whether the gateway serves a file of the SPA, by its relative path: no dotfiles but those of well-known URIs (RFC
/// 8615).
#[must_use]
pub fn is_served(name: &str) -> bool {
    name.starts_with(".well-known/") || !name.split('/').any(|part| part.starts_with('.'))
}

/// Adds the files below a folder; `above` is the folder's own path with a slash, or empty.
fn add_files(found: &mut Vec<(String, PathBuf)>, folder: &Path, above: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{above}{}", path.file_name().unwrap_or_default().to_string_lossy());
        let (is_folder, below) = (path.is_dir(), format!("{name}/"));
        if is_folder && is_served(&below) {
            add_files(found, &path, &below)?;
        } else if !is_folder && is_served(&name) {
            found.push((name, path));
        }
    }
    Ok(())
}
