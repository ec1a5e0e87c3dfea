//! Static ELF binaries: whether one runs on every Linux with its processor.

#[cfg(test)]
pub(crate) mod tests;

use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64, Machine, PT_INTERP, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, read};

/// A processor for which the gateway is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Processor {
    X86_64,
    Aarch64,
}

impl Processor {
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The name in target triples.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    fn machine(self) -> Machine {
        match self {
            Self::X86_64 => EM_X86_64,
            Self::Aarch64 => EM_AARCH64,
        }
    }

    /// The largest page of a Linux kernel for it. A segment with a smaller alignment cannot be loaded there.
    fn largest_page(self) -> u64 {
        match self {
            Self::X86_64 => 4 << 10,
            Self::Aarch64 => 64 << 10,
        }
    }

    /// The processor that a binary is for.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
        let machine = header.e_machine(header.endian().ok()?);
        Self::ALL.into_iter().find(|processor| processor.machine() == machine)
    }
}

/// Why a binary does not run on every Linux with this processor.
#[must_use]
pub fn fault(bytes: &[u8], processor: Processor) -> Option<String> {
    match requirement(bytes, processor) {
        Ok(None) => None,
        Ok(fault) => fault,
        Err(_) => Some("is not a 64-bit ELF binary".to_owned()),
    }
}

fn requirement(bytes: &[u8], processor: Processor) -> read::Result<Option<String>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != processor.machine() {
        return Ok(Some(format!("is for another processor than {}", processor.name())));
    }
    for segment in header.program_headers(endian, bytes)? {
        let kind = segment.p_type(endian);
        if kind == PT_INTERP {
            return Ok(Some("is linked dynamically: it needs a loader".to_owned()));
        }
        if kind == PT_LOAD && segment.p_align(endian) < processor.largest_page() {
            let kilobytes = processor.largest_page() >> 10;
            return Ok(Some(format!("has segments that are not aligned for pages of {kilobytes} KB")));
        }
        let entries = segment.dynamic(endian, bytes)?.into_iter().flatten();
        if entries.into_iter().any(|entry| entry.d_tag(endian) == DT_NEEDED) {
            return Ok(Some("is linked dynamically: it needs libraries".to_owned()));
        }
    }
    Ok(None)
}
