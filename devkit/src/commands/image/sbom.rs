//! The bill of materials of a platform's image, by cargo-cyclonedx.

use std::fs;
use std::path::{Path, PathBuf};

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
const FILE: &str = "cargo-sbom";

/// The crates of the gateway for this platform, with macros, and the source of the CA bundle.
///
/// # Errors
/// cargo-cyclonedx cannot be built, or fails.
pub fn generate(processor: Processor, labels: &Labels) -> Result<Vec<u8>> {
    let time = labels.created.unwrap_or(0).to_string();
    let options = ["--no-build-deps", "--spec-version", SPECIFICATION];
    complete(&list(&triple(processor), &options, &[("SOURCE_DATE_EPOCH", &time)])?, labels)
}

/// What cargo-cyclonedx lists for a target with these options and variables, without the project's folder on this
/// machine.
///
/// # Errors
/// cargo-cyclonedx cannot be built, or fails.
pub fn list(triple: &str, options: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let program = setup::cargo_cyclonedx().ok_or("cargo-cyclonedx cannot be built")?;
    let folders = member_folders()?;
    let mut command = std::process::Command::new(program);
    command
        .args(["cyclonedx", "-q", "--format", "json", "--override-filename", FILE, "--target", triple])
        .args(options);
    command.env("CARGO", cargo().get_program()).envs(variables.iter().copied());
    let has_run = setup::succeeds(command.current_dir(root()));
    let file = |folder: &Path| folder.join(FILE).with_extension("json");
    let text = fs::read_to_string(file(&root()));
    for folder in &folders {
        // Absent after a failure.
        let _ = fs::remove_file(file(folder));
    }
    if has_run { Ok(without_folder(&text?, &root())) } else { Err("cargo-cyclonedx failed".into()) }
}

/// The folders of all packages of the workspace.
pub(super) fn member_folders() -> Result<Vec<PathBuf>> {
    let output = cargo().args(["metadata", "--format-version", "1", "--locked", "--no-deps"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let manifests =
        metadata["packages"].as_array().into_iter().flatten().filter_map(|one| one["manifest_path"].as_str());
    Ok(manifests.filter_map(|path| Path::new(path).parent()).map(Path::to_owned).collect())
}

/// Replaces the project's folder on this machine.
pub(super) fn without_folder(text: &str, root: &Path) -> String {
    text.replace(&format!("path+file://{}#", root.display()), "path+file:///cloakroom#")
}

/// Adds the source of the CA bundle.
pub(super) fn complete(text: &str, labels: &Labels) -> Result<Vec<u8>> {
    let mut sbom: Value = serde_json::from_str(text)?;
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
