//! The OCI image layout in a tar: written, read and unpacked.
//!
//! `index.json` names one image index with a manifest for each platform. Each SBOM is a manifest of its own in that
//! index, with its platform's manifest as its `subject`: whoever copies the whole index copies the SBOMs too, and a
//! registry lists them as referrers. Their platform is `unknown/unknown`, as in images of BuildKit, so that no runtime
//! chooses one.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::str::FromStr;

use oci_spec::image::{
    ANNOTATION_REF_NAME, ANNOTATION_TITLE, Arch, Config, Descriptor, ImageConfiguration, ImageIndex, ImageManifest,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, Platform, RootFs, Sha256Digest,
};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::labels::Labels;
use super::layer::{self, Entry};
use super::{platform, sbom};
use crate::commands::Result;
use crate::commands::elf::Processor;

/// The user and group of the gateway.
pub const USER: &str = "65532:65532";
/// The settings that the image has.
pub const ENVIRONMENT: [&str; 2] = ["CLOAKROOM_LISTEN=0.0.0.0:8080", "CLOAKROOM_DRAIN_DELAY=5s"];
/// The content of an empty descriptor.
const EMPTY: &[u8] = b"{}";
/// The full name of an image, as containerd and BuildKit write it. OCI's own annotation is only the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What an image for one platform is made of.
#[derive(Debug, Clone)]
pub struct Image {
    pub processor: Processor,
    /// The tar.
    pub layer: Vec<u8>,
    /// CycloneDX in JSON.
    pub sbom: Vec<u8>,
}

/// Writes the layout of all images. It depends on nothing but these parts.
///
/// # Errors
/// It cannot be written.
pub fn write(images: &[Image], labels: &Labels, path: &Path) -> Result<()> {
    let mut blobs = Blobs::default();
    let manifests: Vec<Descriptor> =
        images.iter().map(|image| blobs.add_image(image, labels)).collect::<Result<_>>()?;
    let sboms = images.iter().zip(&manifests).map(|(image, subject)| blobs.add_sbom(&image.sbom, subject));
    let sboms: Vec<Descriptor> = sboms.collect::<Result<_>>()?;
    let mut index = index([manifests, sboms].concat());
    index.set_annotations(Some(labels.annotations()));
    let mut image = blobs.add(MediaType::ImageIndex, canonical(&index.to_string()?)?)?;
    image.set_annotations(Some(HashMap::from([
        (ANNOTATION_REF_NAME.to_owned(), labels.version.clone()),
        (CONTAINERD_NAME.to_owned(), labels.image_name()),
    ])));
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    blobs.files.insert("oci-layout".to_owned(), Entry::file(0o644, canonical(&layout.to_string()?)?));
    blobs.files.insert("index.json".to_owned(), Entry::file(0o644, canonical(&self::index(vec![image]).to_string()?)?));
    fs::write(path, layer::pack(&layer::with_folders(blobs.files))?)?;
    Ok(())
}

/// The execution parameters.
#[must_use]
pub fn config(labels: HashMap<String, String>) -> Config {
    let mut config = Config::default();
    config.set_user(Some(USER.to_owned()));
    config.set_env(Some(ENVIRONMENT.map(str::to_owned).to_vec()));
    config.set_entrypoint(Some(vec![format!("/{}", layer::BINARY)]));
    config.set_working_dir(Some(format!("/{}", layer::APP)));
    config.set_exposed_ports(Some(vec!["8080/tcp".to_owned()]));
    config.set_stop_signal(Some("SIGTERM".to_owned()));
    config.set_labels(Some(labels));
    config
}

fn index(manifests: Vec<Descriptor>) -> ImageIndex {
    let mut index = ImageIndex::default();
    index.set_schema_version(2).set_media_type(Some(MediaType::ImageIndex)).set_manifests(manifests);
    index
}

/// With sorted annotations and labels: oci-spec's maps have no order. The other members keep the order of their types,
/// which is the one of Go's: some versions of skopeo write an index again, and its digest must not change.
fn canonical(json: &str) -> Result<Vec<u8>> {
    let mut value: Value = serde_json::from_str(json)?;
    sort_maps(&mut value);
    Ok(serde_json::to_vec(&value)?)
}

fn sort_maps(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if matches!(name.as_str(), "annotations" | "Labels") {
                    member.sort_all_objects();
                }
                sort_maps(member);
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(sort_maps),
        _ => {}
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a layout.
#[derive(Default)]
struct Blobs {
    files: BTreeMap<String, Entry>,
}

impl Blobs {
    fn add(&mut self, media_type: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
        let digest = sha256(&bytes);
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, Sha256Digest::from_str(&digest)?);
        self.files.insert(format!("blobs/sha256/{digest}"), Entry::file(0o644, bytes));
        Ok(descriptor)
    }

    fn add_image(&mut self, image: &Image, labels: &Labels) -> Result<Descriptor> {
        let platform = platform(image.processor);
        let mut rootfs = RootFs::default();
        rootfs.set_diff_ids(vec![format!("sha256:{}", sha256(&image.layer))]);
        let mut configuration = ImageConfiguration::default();
        configuration
            .set_created(labels.created())
            .set_architecture(platform.architecture().clone())
            .set_variant(platform.variant().clone())
            .set_os(platform.os().clone())
            .set_config(Some(config(labels.annotations())))
            .set_rootfs(rootfs);
        let layer = self.add(MediaType::ImageLayerGzip, layer::compress(&image.layer)?)?;
        let configuration = self.add(MediaType::ImageConfig, canonical(&configuration.to_string()?)?)?;
        let mut manifest = manifest(configuration, layer)?;
        manifest.set_annotations(Some(labels.annotations()));
        let mut descriptor = self.add(MediaType::ImageManifest, canonical(&manifest.to_string()?)?)?;
        descriptor.set_platform(Some(platform));
        Ok(descriptor)
    }

    /// By OCI's guidelines for artifacts.
    fn add_sbom(&mut self, sbom: &[u8], subject: &Descriptor) -> Result<Descriptor> {
        let media_type = || MediaType::Other(sbom::MEDIA_TYPE.to_owned());
        let mut document = self.add(media_type(), sbom.to_vec())?;
        document.set_annotations(Some(HashMap::from([(ANNOTATION_TITLE.to_owned(), "sbom.cdx.json".to_owned())])));
        let empty = self.add(MediaType::EmptyJSON, EMPTY.to_vec())?;
        let mut manifest = manifest(empty, document)?;
        manifest.set_artifact_type(Some(media_type()));
        let subject = Descriptor::new(subject.media_type().clone(), subject.size(), subject.digest().clone());
        manifest.set_subject(Some(subject));
        let mut descriptor = self.add(MediaType::ImageManifest, canonical(&manifest.to_string()?)?)?;
        let mut none = Platform::default();
        none.set_architecture(Arch::Other("unknown".to_owned())).set_os(Os::Other("unknown".to_owned()));
        descriptor.set_platform(Some(none));
        Ok(descriptor)
    }
}

fn manifest(config: Descriptor, layer: Descriptor) -> Result<ImageManifest> {
    let manifest = ImageManifestBuilder::default().schema_version(2_u32).media_type(MediaType::ImageManifest);
    Ok(manifest.config(config).layers([layer]).build()?)
}
