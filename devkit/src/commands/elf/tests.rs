//! Heads of binaries, and what is found in them.

use super::*;

/// Types of program headers.
pub(crate) const LOAD: u32 = 1;
pub(crate) const DYNAMIC: u32 = 2;
pub(crate) const INTERPRETER: u32 = 3;
/// Machines.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;

/// The head of an ELF binary with one segment, whose content is an entry of the dynamic section with this tag.
pub(crate) fn elf(machine: u16, segment: u32, tag: u64) -> Vec<u8> {
    aligned_elf(machine, segment, tag, 64 << 10)
}

fn aligned_elf(machine: u16, segment: u32, tag: u64, alignment: u64) -> Vec<u8> {
    let mut bytes = vec![0x7F, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    bytes.extend(machine.to_le_bytes());
    bytes.resize(32, 0);
    // Program headers begin at 64; one of them, of 56 bytes.
    bytes.extend(64_u64.to_le_bytes());
    bytes.resize(52, 0);
    bytes.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    bytes.extend(segment.to_le_bytes());
    bytes.extend(4_u32.to_le_bytes());
    // Its offset, its two addresses, its size in the file and in memory, its alignment.
    bytes.extend([120_u64, 0, 0, 16, 16, alignment].map(u64::to_le_bytes).concat());
    bytes.extend([tag, 0].map(u64::to_le_bytes).concat());
    bytes
}

#[test]
fn a_dynamic_binary_is_reported() {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let processor = Processor::of(&own).unwrap();
    assert_eq!(fault(&own, processor).unwrap(), "is linked dynamically: it needs a loader");
    let static_pie = elf(X86_64, DYNAMIC, 5);
    assert_eq!(fault(&static_pie, Processor::X86_64), None, "a static program that can be moved has a dynamic section");
}

#[test]
fn a_binary_is_for_one_processor() {
    for (machine, processor, other) in
        [(X86_64, Processor::X86_64, Processor::Aarch64), (AARCH64, Processor::Aarch64, Processor::X86_64)]
    {
        let bytes = elf(machine, LOAD, 0);
        assert_eq!((Processor::of(&bytes), fault(&bytes, processor)), (Some(processor), None));
        assert_eq!(fault(&bytes, other).unwrap(), format!("is for another processor than {}", other.name()));
    }
    assert_eq!((Processor::of(&elf(243, LOAD, 0)), Processor::of(b"#!/bin/sh\n")), (None, None));
}

/// Kernels for aarch64 have pages of up to 64 KB.
#[test]
fn segments_are_aligned_for_the_largest_pages() {
    let small = aligned_elf(AARCH64, LOAD, 0, 4 << 10);
    let fault_text = fault(&small, Processor::Aarch64).unwrap();
    assert_eq!(fault_text, "has segments that are not aligned for pages of 64 KB");
    assert_eq!(fault(&aligned_elf(X86_64, LOAD, 0, 4 << 10), Processor::X86_64), None);
}
