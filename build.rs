//! Compiles what a static glibc needs to resolve names.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=src/os/hosts.c");
    let has = |name: &str, value: &str| env::var(name).is_ok_and(|found| found.split(',').any(|part| part == value));
    let is_glibc = has("CARGO_CFG_TARGET_OS", "linux") && has("CARGO_CFG_TARGET_ENV", "gnu");
    if is_glibc && has("CARGO_CFG_TARGET_FEATURE", "crt-static") {
        // Nothing refers to it.
        cc::Build::new()
            .file("src/os/hosts.c")
            .link_lib_modifier("-bundle")
            .link_lib_modifier("+whole-archive")
            .compile("hosts");
    }
}
