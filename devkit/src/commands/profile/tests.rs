use super::*;

const NAME: &str = "cloakroom-0.1.0-x86_64-unknown-linux-gnu-rustc-1.95.0.profdata";

#[test]
fn a_profile_is_for_its_target_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    std::fs::write(&path, "").unwrap();
    let profile = Profile::for_compiler(&path, "1.95.0").unwrap();
    assert_eq!(profile.flags("x86_64-unknown-linux-gnu"), [format!("-Cprofile-use={}", path.display())]);
    assert_eq!(profile.flags("aarch64-unknown-linux-gnu"), [""; 0]);
}

#[test]
fn a_profile_is_for_its_compiler_only() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, compiler: &str| {
        Profile::for_compiler(&folder.path().join(name), compiler).unwrap_err().to_string()
    };
    let text = error(NAME, "1.96.0");
    assert!(text.contains("is for Rust 1.95.0, and this is Rust 1.96.0"), "{text}");
    assert!(text.contains("rustup toolchain install 1.95.0"), "{text}");
    assert!(error("merged.profdata", "1.95.0").contains("the name must say"));
    assert!(error(NAME, "1.95.0").contains("there is no such file"));
}

#[test]
fn a_new_profile_has_a_name_that_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file_name("x86_64-unknown-linux-gnu").unwrap());
    std::fs::write(&path, "").unwrap();
    assert_eq!(Profile::open(&path).unwrap().flags("x86_64-unknown-linux-gnu").len(), 1);
}
