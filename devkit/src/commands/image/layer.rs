//! The files of the image: its only layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::commands::package;

/// The gateway.
pub const BINARY: &str = "cloakroom";
/// The working directory.
pub const APP: &str = "app";
/// Where programs on Linux look for trusted authorities.
pub const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// The folder of the page's files.
pub const SPA: &str = "app/web/dist";

/// A file or folder in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryType,
    pub mode: u32,
    /// User and group.
    pub owner: (u64, u64),
    pub modified: u64,
    pub content: Vec<u8>,
}

impl Entry {
    /// Owned by root, so that the gateway's user cannot change it, and without a time.
    #[must_use]
    pub fn file(mode: u32, content: Vec<u8>) -> Self {
        Self { kind: EntryType::Regular, mode, owner: (0, 0), modified: 0, content }
    }

    #[must_use]
    pub fn folder() -> Self {
        Self { kind: EntryType::Directory, ..Self::file(0o755, Vec::new()) }
    }
}

/// The files of the image by their paths, with their folders.
///
/// # Errors
/// A file is missing.
pub fn files(binary: &Path, root: &Path, spa: &Path) -> io::Result<BTreeMap<String, Entry>> {
    let read = |path: &Path| fs::read(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())));
    let mut files = BTreeMap::from([
        (BINARY.to_owned(), Entry::file(0o755, read(binary)?)),
        (CA_BUNDLE.to_owned(), Entry::file(0o644, ca_bundle().into_bytes())),
        (format!("{APP}/apis.json"), Entry::file(0o644, read(&root.join("apis.json"))?)),
    ]);
    for (name, source) in package::files(spa)? {
        files.insert(format!("{SPA}/{name}"), Entry::file(0o644, read(&source)?));
    }
    Ok(with_folders(files))
}

/// Adds the folders of all files.
#[must_use]
pub fn with_folders(mut files: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    let parents = files.keys().flat_map(|path| path.match_indices('/').filter_map(|(at, _)| path.get(..at)));
    let folders: BTreeSet<String> = parents.map(str::to_owned).collect();
    files.extend(folders.into_iter().map(|folder| (folder, Entry::folder())));
    files
}

/// The authorities that Mozilla trusts, in PEM, in the order of their crate.
#[must_use]
pub fn ca_bundle() -> String {
    let mut bundle = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        bundle += "-----BEGIN CERTIFICATE-----\n";
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            let _ = writeln!(bundle, "{}", String::from_utf8_lossy(line));
        }
        bundle += "-----END CERTIFICATE-----\n";
    }
    bundle
}

/// A tar of these files.
///
/// # Errors
/// A path is too long for the format.
pub fn pack(files: &BTreeMap<String, Entry>) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, entry) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.modified);
        header.set_size(entry.content.len() as u64);
        let slash = if entry.kind.is_dir() { "/" } else { "" };
        tar.append_data(&mut header, format!("{path}{slash}"), entry.content.as_slice())?;
    }
    tar.into_inner()
}

/// The paths in a tar in their order, and the entries by path.
///
/// # Errors
/// It is not a tar.
pub fn read(tar: &[u8]) -> io::Result<(Vec<String>, BTreeMap<String, Entry>)> {
    let (mut order, mut entries) = (Vec::new(), BTreeMap::new());
    for entry in Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = entry.header();
        let owner = (header.uid()?, header.gid()?);
        let (kind, mode, modified) = (header.entry_type(), header.mode()?, header.mtime()?);
        order.push(path.clone());
        entries.insert(path, Entry { kind, mode, owner, modified, content });
    }
    Ok((order, entries))
}

/// The same bytes for the same content: gzip's header has no name and no time.
///
/// # Errors
/// None is known: it writes to memory.
pub fn compress(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(tar)?;
    encoder.finish()
}

/// # Errors
/// It is not gzip.
pub fn decompress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut tar)?;
    Ok(tar)
}
