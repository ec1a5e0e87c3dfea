//! What the image says of itself: OCI's annotations, which are also its labels.

use std::collections::HashMap;
use std::process::Command;

use chrono::{DateTime, SecondsFormat};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REVISION, ANNOTATION_SOURCE,
    ANNOTATION_TITLE, ANNOTATION_VERSION,
};
use serde_json::Value;

use crate::commands::{Result, cargo, root};

/// Labels that every image has. `created` and `revision` need a Git repository.
pub const REQUIRED: [&str; 5] =
    [ANNOTATION_TITLE, ANNOTATION_DESCRIPTION, ANNOTATION_VERSION, ANNOTATION_SOURCE, ANNOTATION_LICENSES];

#[derive(Debug, Clone)]
pub struct Labels {
    pub description: String,
    pub version: String,
    /// The address of the repository.
    pub source: String,
    pub licenses: String,
    /// The commit.
    pub revision: Option<String>,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, otherwise the time of the commit, so that the same sources make the
    /// same image.
    pub created: Option<i64>,
    /// The crate of the CA bundle, for the SBOM.
    pub roots_version: String,
}

impl Labels {
    /// # Errors
    /// Cargo or the environment says something that cannot be read.
    pub fn of_the_project() -> Result<Self> {
        let output = cargo().args(["metadata", "--format-version", "1", "--locked", "--all-features"]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let text = |package: &str, field: &str| -> Result<String> {
            let packages = metadata["packages"].as_array().into_iter().flatten();
            let found = packages.into_iter().find(|one| one["name"] == package);
            let value = found.and_then(|one| one[field].as_str());
            Ok(value.ok_or_else(|| format!("cargo metadata has no {field} of {package}"))?.to_owned())
        };
        Ok(Self {
            description: text("cloakroom", "description")?,
            version: text("cloakroom", "version")?,
            source: text("cloakroom", "repository")?,
            licenses: text("cloakroom", "license")?,
            revision: revision(),
            created: created(std::env::var("SOURCE_DATE_EPOCH").ok())?,
            roots_version: text("webpki-root-certs", "version")?,
        })
    }

    /// The time in RFC 3339.
    #[must_use]
    pub fn created(&self) -> Option<String> {
        let time = DateTime::from_timestamp(self.created?, 0)?;
        Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// With OCI's names.
    #[must_use]
    pub fn annotations(&self) -> HashMap<String, String> {
        let always = [
            (ANNOTATION_TITLE, Some("Cloakroom".to_owned())),
            (ANNOTATION_DESCRIPTION, Some(self.description.clone())),
            (ANNOTATION_VERSION, Some(self.version.clone())),
            (ANNOTATION_SOURCE, Some(self.source.clone())),
            (ANNOTATION_LICENSES, Some(self.licenses.clone())),
            (ANNOTATION_REVISION, self.revision.clone()),
            (ANNOTATION_CREATED, self.created()),
        ];
        always.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// The name in GitHub's registry, with the version as its tag.
    #[must_use]
    pub fn image_name(&self) -> String {
        let repository = self.source.trim_start_matches("https://github.com/").to_lowercase();
        format!("ghcr.io/{repository}:{}", self.version)
    }
}

/// The commit, marked if files differ from it.
fn revision() -> Option<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    Some(if is_changed { commit + "-dirty" } else { commit })
}

pub(super) fn created(source_date_epoch: Option<String>) -> Result<Option<i64>> {
    match source_date_epoch.or_else(|| git(&["log", "-1", "--format=%ct"])) {
        Some(seconds) => Ok(Some(seconds.parse().map_err(|_| "SOURCE_DATE_EPOCH is not a number of seconds")?)),
        None => Ok(None),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
