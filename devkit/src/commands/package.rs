//! `cargo dev package`: the app as it is deployed. `dist/app/` and `dist/app.zip`, a static binary in both.

#[cfg(test)]
mod tests;
pub mod verify;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{cargo, root, target};

const USAGE: &str = "usage: cargo dev package [--target TRIPLE | --binary PATH] [--spa FOLDER] [--verify]

  --target TRIPLE  what to build for; x86_64-unknown-linux-gnu when absent
  --binary PATH    take this binary, which was built before
  --spa FOLDER     the files of your own page instead of web/dist
  --verify         also unpack it, start it behind the stand-in for the host, sign in, call and sign out";
/// What is built where nothing else is asked for: every Rust on Linux has its library.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where the page is, in the project and in the package: the gateway looks there when no setting says otherwise.
const SPA: &str = "web/dist";
/// The test that starts a package and goes through the main job with it.
const JOURNEY: &str = "packaged::the_package_under_test_does_the_main_job";

/// What a package is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    /// The gateway's binary.
    pub binary: PathBuf,
    /// The folder of the page's files.
    pub spa: PathBuf,
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Its path in the package.
    name: String,
    source: PathBuf,
    mode: u32,
}

/// Makes the package and judges it. Gives the exit code.
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let Some(wish) = Wish::read(arguments) else {
        eprintln!("{USAGE}");
        return 2;
    };
    match made(&wish) {
        Ok(()) => 0,
        Err(problem) => {
            eprintln!("{problem}");
            1
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wish {
    target: Option<String>,
    binary: Option<PathBuf>,
    spa: Option<PathBuf>,
    verify: bool,
}

impl Wish {
    fn read(arguments: &[String]) -> Option<Self> {
        let mut wish = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--target" => wish.target = Some(rest.next()?.clone()),
                "--binary" => wish.binary = Some(rest.next()?.into()),
                "--spa" => wish.spa = Some(rest.next()?.into()),
                "--verify" => wish.verify = true,
                _ => return None,
            }
        }
        (wish.target.is_none() || wish.binary.is_none()).then_some(wish)
    }
}

fn made(wish: &Wish) -> Result<(), String> {
    let binary = match &wish.binary {
        Some(binary) => binary.clone(),
        None => build_static(wish.target.as_deref().unwrap_or(TARGET)).map_err(|error| error.to_string())?,
    };
    let spa = wish.spa.clone().unwrap_or_else(|| root().join(SPA));
    let zip = pack(&Parts { root: root(), binary, spa }, &root().join("dist")).map_err(|error| error.to_string())?;
    let sizes = verify::verify(&zip).map_err(|faults| faults.join("\n"))?;
    println!("{}", zip.display());
    println!(
        "binary {:.2} MB (bar {}, aim {}), zip {:.2} MB, {} files",
        megabytes(sizes.binary),
        verify::BINARY_BAR / 1_000_000,
        verify::BINARY_AIM / 1_000_000,
        megabytes(sizes.zip),
        sizes.files
    );
    if wish.verify { journey(&zip) } else { Ok(()) }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Builds the gateway as it is shipped: linked statically, since nobody knows the C library of the machine it runs on.
///
/// # Errors
/// It does not build.
pub fn build_static(triple: &str) -> io::Result<PathBuf> {
    println!("Building for {triple} …");
    let mut build = cargo();
    // The package is named, so that features which only the devkit asks of shared dependencies are left out.
    build.args(["build", "--release", "--package", "cloakroom", "--bin", "cloakroom", "--target", triple]);
    // The target is named even where it is this machine's own: flags would else reach macros and build scripts too,
    // which cannot be static. The other variable would win over this one.
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let binary = target().join(triple).join("release/cloakroom");
    if build.status()?.success() { Ok(binary) } else { Err(io::Error::other("the gateway does not build")) }
}

/// Lays the app out in `app/` and writes `app.zip`, both beneath `dist`. Gives the zip's path.
///
/// The same files make the same bytes, wherever and whenever.
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
        fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
    }
    let zip = dist.join("app.zip");
    write_zip(&entries, &zip)?;
    Ok(zip)
}

fn write_zip(entries: &[Entry], path: &Path) -> io::Result<()> {
    let mut zip = ZipWriter::new(File::create(path)?);
    for entry in entries {
        // The first moment that the format knows. The gateway tells files by their content, never by their times.
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

/// Lays a package out in a folder, modes and all.
///
/// # Errors
/// It is no zip, or cannot be written.
pub fn unpack(zip: &Path, folder: &Path) -> io::Result<()> {
    ZipArchive::new(File::open(zip)?)?.extract(folder)?;
    Ok(())
}

/// Starts the package from an empty folder in both modes of the host, and signs in, calls and signs out: the tests
/// have what that takes.
///
/// # Errors
/// What the tests say.
pub fn journey(zip: &Path) -> Result<(), String> {
    println!("Starting the package from an empty folder …");
    let mut test = cargo();
    test.args(["test", "--quiet", "--test", "integration", "--", "--ignored", "--exact", JOURNEY]);
    let output = test.env("PACKAGE_UNDER_TEST", zip).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A test that was renamed would else pass by not running.
    if output.status.success() && said.contains("1 passed") { Ok(()) } else { Err(said) }
}

/// Everything that belongs to a package, sorted by name, and nothing else.
fn entries(parts: &Parts) -> io::Result<Vec<Entry>> {
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

/// The name under which the host looks for the executable, which the tools compare letter by letter.
fn executable(host_json: &str) -> io::Result<String> {
    let host: Value = serde_json::from_str(host_json)?;
    let name = host.pointer("/customHandler/description/defaultExecutablePath").and_then(Value::as_str);
    let good = name.filter(|name| !name.is_empty() && !name.contains(['/', '\\', '%']));
    let fault = || io::Error::other("host.json: let defaultExecutablePath be the plain name of a file beside it");
    good.map(str::to_owned).ok_or_else(fault)
}

/// The folders that the host takes for functions.
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

/// The files beneath a folder by their path from it. Dotfiles are never served, so they stay at home.
fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?.into_iter().map(|(inner, path)| (format!("{name}/{inner}"), path)));
        } else {
            found.push((name, path));
        }
    }
    Ok(found)
}
