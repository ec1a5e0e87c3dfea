//! `cargo dev image`: the container image, `dist/cloakroom.oci.tar`, an OCI image layout with an index of all platforms
//! (contract 17.8).

pub mod build;
pub mod container;
pub mod labels;
pub mod layer;
pub mod layout;
pub mod sbom;
#[cfg(test)]
mod tests;
pub mod verify;

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::image::{Arch, Os, Platform};

use super::elf::Processor;
use super::profile::Profile;
use super::setup::{installed, runs};
use super::{Result, cargo, exit_code, root, target, usage};
use build::Machine;
use container::Runtime;
use labels::Labels;
use layout::Image;

const USAGE: &str =
    "usage: cargo dev image [--platform PLATFORM … [--profile-use FILE] | --binary PATH …] [--spa FOLDER] [--sbom FILE] [--verify]
       cargo dev image --existing TAR [--platform PLATFORM …] [--verify]

  --platform PLATFORM  linux/amd64 or linux/arm64; both when absent. May be given twice
  --binary PATH        an existing static binary, whose processor decides the platform. May be given twice
  --profile-use FILE   compiles by a profile, of a release or of `cargo dev profile`, on the platform that it is for
  --spa FOLDER         the files of your own page instead of web/dist
  --sbom FILE          an existing SBOM (CycloneDX, JSON) for every platform; by default cargo-cyclonedx writes one each
  --existing TAR       an image to inspect, instead of making one
  --verify             also start it with a read-only root, sign in, call an API and sign out";
/// The file under `dist/`.
const FILE: &str = "cloakroom.oci.tar";
/// The gateway's default folder of the page.
const SPA: &str = "web/dist";
/// The tests with an image.
const TESTS: &str = "image::";
/// The one of them with programs that we did not write.
const PEERS: &str = "image::other_programs_";

/// The platform in OCI's words.
#[must_use]
pub fn platform(processor: Processor) -> Platform {
    let mut platform = Platform::default();
    platform.set_os(Os::Linux);
    match processor {
        Processor::X86_64 => platform.set_architecture(Arch::Amd64),
        Processor::Aarch64 => platform.set_architecture(Arch::ARM64).set_variant(Some("v8".to_owned())),
    };
    platform
}

/// As in `--platform`.
#[must_use]
pub fn platform_name(processor: Processor) -> &'static str {
    match processor {
        Processor::X86_64 => "linux/amd64",
        Processor::Aarch64 => "linux/arm64",
    }
}

/// Makes the image and verifies it. Returns the exit code.
#[must_use]
pub fn run(arguments: &[&str]) -> u8 {
    match Arguments::parse(arguments) {
        Some(arguments) => exit_code(make(&arguments)),
        None => usage(USAGE),
    }
}

#[derive(Debug, Default)]
struct Arguments {
    platforms: Vec<Processor>,
    binaries: Vec<PathBuf>,
    profile: Option<PathBuf>,
    spa: Option<PathBuf>,
    sbom: Option<PathBuf>,
    existing: Option<PathBuf>,
    verify: bool,
}

impl Arguments {
    fn parse(arguments: &[&str]) -> Option<Self> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--platform" => {
                    let name = rest.next()?;
                    parsed.platforms.extend([Processor::ALL.into_iter().find(|one| platform_name(*one) == *name)?]);
                }
                "--binary" => parsed.binaries.push(rest.next()?.into()),
                "--profile-use" => parsed.profile = Some(rest.next()?.into()),
                "--spa" => parsed.spa = Some(rest.next()?.into()),
                "--sbom" => parsed.sbom = Some(rest.next()?.into()),
                "--existing" => parsed.existing = Some(rest.next()?.into()),
                "--verify" => parsed.verify = true,
                _ => return None,
            }
        }
        let Self { platforms, binaries, profile, spa, sbom, existing, .. } = &parsed;
        let makes = !binaries.is_empty() || profile.is_some() || spa.is_some() || sbom.is_some();
        let builds = !platforms.is_empty() || profile.is_some();
        let contradicts = (builds && !binaries.is_empty()) || (existing.is_some() && makes);
        (!contradicts).then_some(parsed)
    }

    /// The platforms that are built, or that an existing image must have.
    fn processors(&self) -> Vec<Processor> {
        if self.platforms.is_empty() { Processor::ALL.to_vec() } else { self.platforms.clone() }
    }
}

fn make(arguments: &Arguments) -> Result<()> {
    let (tar, processors) = match &arguments.existing {
        Some(tar) => (std::path::absolute(tar)?, arguments.processors()),
        None => build_image(arguments, &root().join("dist"))?,
    };
    inspect(&tar, &processors)?;
    if arguments.verify { journey(&tar) } else { Ok(()) }
}

/// Makes an image for one platform under the target folder, instead of the one in `dist/`, verifies and starts it.
/// Returns the exit code.
#[must_use]
pub(super) fn check(processor: Processor) -> u8 {
    let arguments = Arguments { platforms: vec![processor], ..Arguments::default() };
    let checked = build_image(&arguments, &target().join("image")).and_then(|(tar, processors)| {
        inspect(&tar, &processors)?;
        journey(&tar)
    });
    exit_code(checked)
}

/// Verifies an image and prints its sizes.
fn inspect(tar: &Path, processors: &[Processor]) -> Result<()> {
    let sizes = verify::verify(tar, processors).map_err(|faults| faults.join("\n"))?;
    println!("{}", tar.display());
    for size in &sizes {
        println!(
            "{}: {:.2} MB compressed, {:.2} MB unpacked (limit {}), {} files",
            platform_name(size.processor),
            megabytes(size.compressed),
            megabytes(size.unpacked),
            verify::BAR / 1_000_000,
            size.files
        );
    }
    Ok(())
}

fn build_image(arguments: &Arguments, folder: &Path) -> Result<(PathBuf, Vec<Processor>)> {
    let existing = arguments.binaries.iter().map(|path| Ok((processor_of(path)?, path.clone())));
    let existing = existing.collect::<Result<Vec<_>>>()?;
    let processors = match existing.as_slice() {
        [] => arguments.processors(),
        binaries => binaries.iter().map(|(processor, _)| *processor).collect(),
    };
    let labels = Labels::of_the_project()?;
    let spa = arguments.spa.clone().unwrap_or_else(|| root().join(SPA));
    let sbom = |processor| match &arguments.sbom {
        Some(file) => Ok(fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?),
        None => sbom::generate(processor, &labels),
    };
    let profile = arguments.profile.as_deref().map(Profile::open).transpose()?;
    let mut given = existing.iter();
    let build = |processor| build::release(processor, profile.as_ref());
    let binary = |processor| given.next().map_or_else(|| build(processor), |(_, path)| Ok(path.clone()));
    let images = images(&processors, &spa, sbom, binary)?;
    fs::create_dir_all(folder)?;
    let tar = folder.join(FILE);
    layout::write(&images, &labels, &tar)?;
    Ok((tar, processors))
}

/// The images of all platforms. Their SBOMs come first, because that compiles and starts programs of others; then each
/// binary is read before the next one is built.
fn images(
    processors: &[Processor],
    spa: &Path,
    sbom: impl FnMut(Processor) -> Result<Vec<u8>>,
    mut binary: impl FnMut(Processor) -> Result<PathBuf>,
) -> Result<Vec<Image>> {
    let sboms = processors.iter().copied().map(sbom).collect::<Result<Vec<_>>>()?;
    let mut images = Vec::new();
    for (&processor, sbom) in processors.iter().zip(sboms) {
        let layer = layer::pack(&layer::files(&binary(processor)?, &root(), spa)?)?;
        images.push(Image { processor, layer, sbom });
    }
    Ok(images)
}

fn processor_of(binary: &Path) -> Result<Processor> {
    let bytes = fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let unknown = || format!("{}: not an ELF binary for x86_64 or aarch64", binary.display());
    Ok(Processor::of(&bytes).ok_or_else(unknown)?)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Starts the image for this machine's processor: signs in, calls an API and signs out.
fn journey(tar: &Path) -> Result<()> {
    println!("Starting the image for this machine with a read-only root …");
    if Machine::current().processor.is_none() {
        return Err("this machine cannot run an image for linux/amd64 or linux/arm64".into());
    }
    let runtime = Runtime::available(tar)?;
    println!("It is started by {runtime}.");
    let mut test = cargo();
    test.args(["test", "--quiet", "--test", "integration", "--", "--ignored", TESTS]);
    let has_peers = installed(|| runs("skopeo", &["--version"]) && runs("umoci", &["--version"]), &["skopeo", "umoci"]);
    if !has_peers {
        test.args(["--skip", PEERS]);
    }
    let output = test.env("IMAGE_UNDER_TEST", tar).env("IMAGE_RUNTIME", runtime.to_string()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Renamed tests would otherwise pass by not running.
    let passed = if has_peers { "2 passed" } else { "1 passed" };
    if !output.status.success() || !text.contains(passed) {
        return Err(text.into());
    }
    if has_peers { Ok(()) } else { left_out(std::env::var_os("GITHUB_ACTIONS").is_some()) }
}

/// A workflow installs what it needs: there a part that is left out is a failure.
fn left_out(is_workflow: bool) -> Result<()> {
    let text = "LEFT OUT: what skopeo and umoci find in the image. To run it: apt-get install skopeo umoci";
    if is_workflow {
        return Err(text.into());
    }
    println!("{text}");
    Ok(())
}
