//! Checks of a package.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use zip::{DateTime, ZipArchive};

use super::{SPA, executable, functions, is_served};
use crate::commands::elf::{self, Processor};
use crate::commands::root;

/// Largest size of the binary, which is read from the network at a cold start.
pub const BINARY_BAR: u64 = 10_000_000;
/// The size to aim for.
pub const BINARY_AIM: u64 = 8_000_000;

/// Sizes in bytes, and the number of files.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub binary: u64,
    pub zip: u64,
    pub files: usize,
}

struct Packed {
    /// With the bits of the file type.
    mode: u32,
    size: u64,
    is_fixed: bool,
}

/// # Errors
/// Everything that would make a deployment fail.
pub fn verify(zip: &Path) -> Result<Sizes, Vec<String>> {
    let fail = |error: io::Error| vec![format!("{}: {error}", zip.display())];
    let wanted = functions(&root()).map_err(fail)?;
    let length = fs::metadata(zip).map_err(fail)?.len();
    let mut archive = ZipArchive::new(File::open(zip).map_err(fail)?).map_err(|error| fail(error.into()))?;
    let (order, packed) = listing(&mut archive).map_err(fail)?;
    let mut faults = order_faults(&order);
    let host = content(&mut archive, "host.json").and_then(|text| executable(&String::from_utf8_lossy(&text)));
    let binary = host.unwrap_or_else(|error| {
        faults.push(format!("host.json: {error}"));
        String::new()
    });
    faults.extend(listing_faults(&packed, &binary, &wanted));
    let size = packed.get(&binary).map_or(0, |packed| packed.size);
    if size > BINARY_BAR {
        faults.push(format!("{binary}: {size} bytes exceed the limit of {BINARY_BAR}"));
    }
    if packed.contains_key(&binary) {
        let bytes = content(&mut archive, &binary).map_err(fail)?;
        faults.extend(elf::fault(&bytes, Processor::X86_64).map(|fault| format!("{binary}: {fault}")));
    }
    if faults.is_empty() { Ok(Sizes { binary: size, zip: length, files: order.len() }) } else { Err(faults) }
}

fn listing(archive: &mut ZipArchive<File>) -> io::Result<(Vec<String>, BTreeMap<String, Packed>)> {
    let (mut order, mut packed) = (Vec::new(), BTreeMap::new());
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index)?;
        let mode = file.unix_mode().unwrap_or_default();
        let is_fixed = file.last_modified() == Some(DateTime::default());
        let name = file.name()?.into_owned();
        order.push(name.clone());
        packed.insert(name, Packed { mode, size: file.size(), is_fixed });
    }
    Ok((order, packed))
}

fn content(archive: &mut ZipArchive<File>, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.by_name(name)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn order_faults(order: &[String]) -> Vec<String> {
    if order.is_sorted() { Vec::new() } else { vec!["the entries are not sorted".to_owned()] }
}

fn listing_faults(packed: &BTreeMap<String, Packed>, binary: &str, functions: &[String]) -> Vec<String> {
    let mut required = vec!["apis.json".to_owned(), binary.to_owned(), "host.json".to_owned()];
    required.extend(functions.iter().map(|function| format!("{function}/function.json")));
    let is_page = |name: &str| name.strip_prefix(SPA).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_served);
    let mut faults = Vec::new();
    for (name, file) in packed {
        if !required.contains(name) && !is_page(name) {
            faults.push(format!("{name} is not part of a package"));
        }
        let mode = if name == binary { 0o100_755 } else { 0o100_644 };
        if file.mode != mode {
            faults.push(format!("{name} has the mode {:o}, not {mode:o}", file.mode));
        }
        if !file.is_fixed {
            faults.push(format!("{name} has its own modification time"));
        }
    }
    required.push(format!("{SPA}/index.html"));
    faults.extend(required.iter().filter(|name| !packed.contains_key(*name)).map(|name| format!("{name} is missing")));
    faults
}
