//! An archive of a release: gateway, devkit, and the files that both need beside them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::targets::Target;
use super::version;
use crate::commands::PROGRAM;
use crate::commands::package::{self, Entry, Parts, SPA, entries, write_zip};

/// The programs of an archive.
#[derive(Debug, Clone)]
pub struct Programs {
    pub gateway: PathBuf,
    pub devkit: PathBuf,
}

/// Writes the archive of a target into a folder: a zip for Windows, otherwise a gzipped tar. It depends on nothing but
/// the files: they are sorted, and have no times and no owners.
///
/// # Errors
/// A file is missing, or the archive cannot be written.
pub fn write_archive(programs: &Programs, target: &Target, root: &Path, folder: &Path) -> io::Result<PathBuf> {
    let entries = files(programs, target, root)?;
    let path = folder.join(target.archive_name(version()));
    if target.is_windows() {
        write_zip(&entries, &path)?
    } else {
        write_tar(&entries, &path)?
    }
    Ok(path)
}

/// The package of the Functions app, which `cloakroom-dev up` starts like one, with the devkit and the licence.
fn files(programs: &Programs, target: &Target, root: &Path) -> io::Result<Vec<Entry>> {
    let parts = Parts { root: root.to_owned(), binary: programs.gateway.clone(), spa: root.join(SPA) };
    let mut entries = entries(&parts)?;
    entries.push(Entry { name: PROGRAM.to_owned(), source: programs.devkit.clone(), mode: 0o755 });
    entries.push(Entry { name: "LICENSE".to_owned(), source: root.join("LICENSE"), mode: 0o644 });
    for entry in &mut entries {
        let is_program = entry.mode == 0o755;
        let name = if is_program { target.executable(&entry.name) } else { entry.name.clone() };
        entry.name = format!("{}/{name}", target.folder_name(version()));
    }
    entries.sort();
    Ok(entries)
}

fn write_tar(entries: &[Entry], path: &Path) -> io::Result<()> {
    let gzip = GzBuilder::new().mtime(0).write(File::create(path)?, Compression::best());
    let mut tar = Builder::new(gzip);
    for entry in entries {
        let content = fs::read(&entry.source)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(entry.mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &entry.name, content.as_slice())?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Unpacks an archive into a folder, with its modes.
///
/// # Errors
/// It is no archive of a release, or cannot be written.
pub fn unpack(archive: &Path, folder: &Path) -> io::Result<()> {
    if archive.extension().is_some_and(|extension| extension == "zip") {
        return package::unpack(archive, folder);
    }
    tar::Archive::new(GzDecoder::new(File::open(archive)?)).unpack(folder)
}
