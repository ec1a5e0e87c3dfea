//! The bill of materials of a platform's image, by cargo-cyclonedx.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::build::triple;
use super::labels::Labels;
use crate::commands::elf::Processor;
use crate::commands::{Result, cargo, root, setup};

/// The media type of CycloneDX in JSON.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";
/// The format's version.
const SPECIFICATION: &str = "1.5";
/// The name of the files that cargo-cyclonedx writes beside each `Cargo.toml`; it cannot write elsewhere.
const FILE: &str = "image-sbom";

/// The crates in the gateway for this platform, and the source of the CA bundle.
///
/// # Errors
/// cargo-cyclonedx cannot be built, or fails.
pub fn generate(processor: Processor, labels: &Labels) -> Result<Vec<u8>> {
    let program = setup::cargo_cyclonedx().ok_or("cargo-cyclonedx cannot be built; --sbom takes an existing file")?;
    let mut command = std::process::Command::new(program);
    command.args(["cyclonedx", "-q", "--format", "json", "--no-build-deps", "--spec-version", SPECIFICATION]);
    command.args(["--override-filename", FILE, "--target", &triple(processor)]);
    command.env("CARGO", cargo().get_program()).env("SOURCE_DATE_EPOCH", labels.created.unwrap_or(0).to_string());
    let has_run = setup::succeeds(command.current_dir(root()));
    let file = |member: &str| root().join(member).join(FILE).with_extension("json");
    let text = fs::read_to_string(file("."));
    for member in [".", "benches", "devkit"] {
        // Absent after a failure.
        let _ = fs::remove_file(file(member));
    }
    if has_run { complete(&text?, &root(), labels) } else { Err("cargo-cyclonedx failed".into()) }
}

/// Adds the source of the CA bundle, and replaces the project's folder on this machine.
pub(super) fn complete(text: &str, root: &Path, labels: &Labels) -> Result<Vec<u8>> {
    let text = text.replace(&format!("path+file://{}#", root.display()), "path+file:///cloakroom#");
    let mut sbom: Value = serde_json::from_str(&text)?;
    let components = sbom["components"].as_array_mut().ok_or("cargo-cyclonedx lists no components")?;
    let version = &labels.roots_version;
    components.push(json!({
        "type": "library",
        "bom-ref": format!("registry+https://github.com/rust-lang/crates.io-index#webpki-root-certs@{version}"),
        "name": "webpki-root-certs",
        "version": version,
        "description": "The certificate authorities that Mozilla trusts: the CA bundle",
        "licenses": [{ "expression": "CDLA-Permissive-2.0" }],
        "purl": format!("pkg:cargo/webpki-root-certs@{version}"),
    }));
    Ok(serde_json::to_vec_pretty(&sbom)?)
}
