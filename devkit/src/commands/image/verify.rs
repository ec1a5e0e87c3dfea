//! Checks of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout, Platform,
};
use serde_json::Value;
use tar::EntryType;

use super::labels::REQUIRED;
use super::layer::{self, Entry};
use super::layout::{config, sha256};
use super::{platform, platform_name, sbom};
use crate::commands::elf::{self, Processor};
use crate::commands::package;

/// Largest size of a platform's image, unpacked (contract 17.8).
pub const BAR: u64 = 20_000_000;
/// Mozilla trusts more than a hundred authorities.
const FEWEST_AUTHORITIES: usize = 100;

/// Sizes in bytes, and the number of files without folders.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub processor: Processor,
    pub compressed: u64,
    pub unpacked: u64,
    pub files: usize,
}

/// Checks the layout and that it has exactly these platforms.
///
/// # Errors
/// Everything that is wrong with the image.
pub fn verify(tar: &Path, processors: &[Processor]) -> Result<Vec<Sizes>, Vec<String>> {
    let layout = Layout::open(tar).map_err(|fault| vec![format!("{}: {fault}", tar.display())])?;
    let mut faults = layout.faults();
    let mut sizes = Vec::new();
    let images = layout.images().map_err(|fault| vec![fault])?;
    let found: Vec<Option<&Platform>> = images.iter().map(|image| image.platform.as_ref()).collect();
    let wanted = processors.iter().map(|one| platform(*one)).collect::<Vec<_>>();
    if found != wanted.iter().map(Some).collect::<Vec<_>>() {
        let names = processors.iter().map(|one| platform_name(*one)).collect::<Vec<_>>().join(" and ");
        return Err(vec![format!("the platforms are not exactly {names}")]);
    }
    for (processor, image) in processors.iter().zip(&images) {
        let name = platform_name(*processor);
        match layout.check_image(*processor, image) {
            Ok((size, found)) => {
                faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
                sizes.push(size);
            }
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    if faults.is_empty() { Ok(sizes) } else { Err(faults) }
}

/// Unpacks the files of a platform's image into an empty folder.
///
/// # Errors
/// There is no such platform, or the folder cannot be written.
pub fn unpack(tar: &Path, processor: Processor, folder: &Path) -> Result<(), String> {
    let layout = Layout::open(tar)?;
    let images = layout.images()?;
    let image = images.iter().find(|image| image.platform.as_ref() == Some(&platform(processor)));
    let image = image.ok_or_else(|| format!("there is no image for {}", platform_name(processor)))?;
    let (_, files) = layout.files_of(&layout.manifest(&image.descriptor)?)?;
    let tar = layer::pack(&files).map_err(text)?;
    let mut archive = tar::Archive::new(tar.as_slice());
    archive.set_preserve_permissions(true);
    archive.unpack(folder).map_err(text)
}

/// A layout in memory.
struct Layout {
    order: Vec<String>,
    entries: BTreeMap<String, Entry>,
}

/// A platform's image in the index.
struct Listed {
    platform: Option<Platform>,
    descriptor: Descriptor,
    /// The SBOMs.
    referrers: Vec<ImageManifest>,
}

impl Layout {
    fn open(tar: &Path) -> Result<Self, String> {
        let (order, entries) = fs::read(tar).and_then(|bytes| layer::read(&bytes)).map_err(text)?;
        Ok(Self { order, entries })
    }

    fn file(&self, path: &str) -> Result<&[u8], String> {
        Ok(&self.entries.get(path).ok_or_else(|| format!("{path} is missing"))?.content)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<&[u8], String> {
        let bytes = self.file(&blob_path(descriptor))?;
        let matches = descriptor.size() == bytes.len() as u64 && descriptor.as_digest_sha256() == Some(&sha256(bytes));
        matches.then_some(bytes).ok_or_else(|| format!("{} has another size or digest", blob_path(descriptor)))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<ImageManifest, String> {
        ImageManifest::from_reader(self.blob(descriptor)?).map_err(text)
    }

    /// The only entry of `index.json`, and the index that it names.
    fn index(&self) -> Result<(Descriptor, ImageIndex), String> {
        let top = ImageIndex::from_reader(self.file("index.json")?).map_err(text)?;
        let [image] = top.manifests().as_slice() else {
            return Err("index.json has not exactly one entry".to_owned());
        };
        if *image.media_type() != MediaType::ImageIndex {
            return Err("index.json names no image index".to_owned());
        }
        Ok((image.clone(), ImageIndex::from_reader(self.blob(image)?).map_err(text)?))
    }

    fn images(&self) -> Result<Vec<Listed>, String> {
        let (_, index) = self.index()?;
        let (mut sboms, mut images) = (Vec::new(), Vec::new());
        for descriptor in index.manifests() {
            let manifest = self.manifest(descriptor)?;
            if manifest.artifact_type().is_some() { sboms.push(manifest) } else { images.push(descriptor) }
        }
        let of = |image: &Descriptor| {
            let is_subject = |sbom: &&ImageManifest| {
                sbom.subject().as_ref().is_some_and(|subject| subject.digest() == image.digest())
            };
            sboms.iter().filter(is_subject).cloned().collect()
        };
        let listed = |image: &&Descriptor| Listed {
            platform: image.platform().clone(),
            referrers: of(image),
            descriptor: (**image).clone(),
        };
        Ok(images.iter().map(listed).collect())
    }

    /// What is wrong with the layout itself.
    fn faults(&self) -> Vec<String> {
        let mut faults = order_faults("the layout", &self.order, &self.entries);
        let version = self.file("oci-layout").and_then(|bytes| OciLayout::from_reader(bytes).map_err(text));
        match version {
            Ok(layout) if layout.image_layout_version() == "1.0.0" => {}
            Ok(layout) => faults.push(format!("the layout has the version {}", layout.image_layout_version())),
            Err(fault) => faults.push(fault),
        }
        match self.named_blobs() {
            Ok(named) => {
                let known = |path: &&String| {
                    matches!(path.as_str(), "oci-layout" | "index.json" | "blobs" | "blobs/sha256")
                        || named.contains(*path)
                };
                let surplus = self.order.iter().filter(|path| !known(path));
                faults.extend(surplus.map(|path| format!("{path} belongs to no image")));
            }
            Err(fault) => faults.push(fault),
        }
        faults
    }

    /// The paths of all blobs that the index leads to.
    fn named_blobs(&self) -> Result<BTreeSet<String>, String> {
        let (image, index) = self.index()?;
        if image.annotations().as_ref().is_none_or(|all| !all.contains_key(ANNOTATION_REF_NAME)) {
            return Err("index.json has no tag".to_owned());
        }
        let mut named = BTreeSet::from([blob_path(&image)]);
        for descriptor in index.manifests() {
            let manifest = self.manifest(descriptor)?;
            let parts = manifest.layers().iter().chain([manifest.config(), descriptor]);
            named.extend(parts.map(blob_path));
        }
        Ok(named)
    }

    /// The files of the image's only layer, in their order and by their paths.
    fn files_of(&self, manifest: &ImageManifest) -> Result<(Vec<String>, BTreeMap<String, Entry>), String> {
        let [layer] = manifest.layers().as_slice() else { return Err("there is not exactly one layer".to_owned()) };
        let tar = layer::decompress(self.blob(layer)?).map_err(text)?;
        layer::read(&tar).map_err(text)
    }

    fn check_image(&self, processor: Processor, image: &Listed) -> Result<(Sizes, Vec<String>), String> {
        let manifest = self.manifest(&image.descriptor)?;
        let configuration = ImageConfiguration::from_reader(self.blob(manifest.config())?).map_err(text)?;
        let (order, files) = self.files_of(&manifest)?;
        let mut faults = configuration_faults(&configuration, &platform(processor));
        let tar = manifest
            .layers()
            .first()
            .map_or(Ok(Vec::new()), |layer| layer::decompress(self.blob(layer)?).map_err(text))?;
        if configuration.rootfs().diff_ids() != &[format!("sha256:{}", sha256(&tar))] {
            faults.push("the configuration names another layer".to_owned());
        }
        faults.extend(order_faults("the layer", &order, &files));
        faults.extend(file_faults(&files));
        if let Some(binary) = files.get(layer::BINARY) {
            faults.extend(elf::fault(&binary.content, processor).map(|fault| format!("{}: {fault}", layer::BINARY)));
        }
        faults.extend(self.sbom_fault(image));
        let compressed = manifest.layers().iter().map(Descriptor::size).sum::<u64>();
        let compressed = compressed + manifest.config().size() + image.descriptor.size();
        let unpacked = files.values().map(|file| file.content.len() as u64).sum();
        if unpacked > BAR {
            faults.push(format!("{unpacked} bytes exceed the limit of {BAR}"));
        }
        let files = files.values().filter(|file| file.kind.is_file()).count();
        Ok((Sizes { processor, compressed, unpacked, files }, faults))
    }

    fn sbom_fault(&self, image: &Listed) -> Option<String> {
        let [sbom] = image.referrers.as_slice() else { return Some("there is not exactly one SBOM".to_owned()) };
        let document = sbom.layers().first().ok_or_else(|| "it is empty".to_owned());
        let document = document.and_then(|one| self.blob(one)).map(serde_json::from_slice::<Value>);
        match document {
            Ok(Ok(value)) if is_sbom(&value) => None,
            Ok(_) => Some("the SBOM is not one of cloakroom in CycloneDX".to_owned()),
            Err(fault) => Some(format!("the SBOM cannot be read: {fault}")),
        }
        .or_else(|| {
            let named = sbom.artifact_type().as_ref().is_some_and(|one| one.to_string() == sbom::MEDIA_TYPE);
            (!named).then(|| format!("the SBOM has another type than {}", sbom::MEDIA_TYPE))
        })
    }
}

fn is_sbom(value: &Value) -> bool {
    value["bomFormat"] == "CycloneDX" && value["metadata"]["component"]["name"] == layer::BINARY
}

fn configuration_faults(configuration: &ImageConfiguration, platform: &Platform) -> Vec<String> {
    let mut faults = Vec::new();
    let own = (configuration.os(), configuration.architecture(), configuration.variant());
    if own != (platform.os(), platform.architecture(), platform.variant()) {
        faults.push("the configuration is for another platform".to_owned());
    }
    let found = configuration.config().clone().unwrap_or_default();
    let labels = found.labels().clone().unwrap_or_default();
    let missing = REQUIRED.into_iter().filter(|name| labels.get(*name).is_none_or(String::is_empty));
    faults.extend(missing.map(|name| format!("the label {name} is missing")));
    let wanted = config(labels);
    if found.user() != wanted.user() {
        faults.push(format!("the user is {:?}, not {:?}", found.user(), wanted.user()));
    }
    if found != wanted {
        faults.push(format!("the execution parameters are not {wanted:?}"));
    }
    faults
}

fn order_faults(what: &str, order: &[String], entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let mut faults = Vec::new();
    if !order.is_sorted() || order.len() != entries.len() {
        faults.push(format!("the entries of {what} are not sorted"));
    }
    for (path, entry) in entries {
        if entry.modified != 0 {
            faults.push(format!("{path} has its own modification time"));
        }
        if entry.owner != (0, 0) {
            faults.push(format!("{path} is not owned by root"));
        }
        if !matches!(entry.kind, EntryType::Regular | EntryType::Directory) {
            faults.push(format!("{path} is neither a file nor a folder"));
        }
    }
    faults
}

/// Contract 17.8: the files of the image, and no others.
fn file_faults(files: &BTreeMap<String, Entry>) -> Vec<String> {
    let page = format!("{}/", layer::SPA);
    let required = [layer::BINARY.to_owned(), layer::CA_BUNDLE.to_owned(), format!("{}/apis.json", layer::APP)];
    let is_page = |path: &str| path.strip_prefix(&page).is_some_and(package::is_served);
    let mut faults = Vec::new();
    let mut allowed = BTreeMap::new();
    for (path, entry) in files.iter().filter(|(_, entry)| entry.kind.is_file()) {
        if required.contains(path) || is_page(path) {
            allowed.insert(path.clone(), entry.clone());
        }
    }
    let allowed = layer::with_folders(allowed);
    for (path, entry) in files {
        if !allowed.contains_key(path) {
            faults.push(format!("{path} is not part of the image"));
        }
        let mode = if entry.kind.is_dir() || path == layer::BINARY { 0o755 } else { 0o644 };
        if entry.mode != mode {
            faults.push(format!("{path} has the mode {:o}, not {mode:o}", entry.mode));
        }
    }
    let missing = required.into_iter().chain([format!("{page}index.html")]);
    faults.extend(missing.filter(|path| !files.contains_key(path)).map(|path| format!("{path} is missing")));
    if let Some(bundle) = files.get(layer::CA_BUNDLE) {
        let authorities = String::from_utf8_lossy(&bundle.content).matches("-----BEGIN CERTIFICATE-----").count();
        if authorities < FEWEST_AUTHORITIES {
            faults.push(format!("{} has {authorities} authorities only", layer::CA_BUNDLE));
        }
    }
    faults
}

fn blob_path(descriptor: &Descriptor) -> String {
    format!("blobs/{}/{}", descriptor.digest().algorithm(), descriptor.digest().digest())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
