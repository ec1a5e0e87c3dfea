//! Packages of stubs, whole and with one fault each. They are for Linux, and made where files have modes.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::verify::verify;
use super::*;
use crate::commands::elf::tests::{DYNAMIC, INTERPRETER, LOAD, elf};

/// The listing of `cargo dev package`, modes in front.
const LISTING: [&str; 26] = [
    "100644 api-proxy/function.json",
    "100644 apis.json",
    "100644 auth-backchannel-logout/function.json",
    "100644 auth-callback/function.json",
    "100644 auth-frontchannel-logout/function.json",
    "100644 auth-login/function.json",
    "100644 auth-logout/function.json",
    "100644 auth-refresh/function.json",
    "100644 auth-session/function.json",
    "100644 auth-sessions/function.json",
    "100755 cloakroom",
    "100644 graph-proxy/function.json",
    "100644 health/function.json",
    "100644 host.json",
    "100644 rotate_keys/function.json",
    "100644 spa/function.json",
    "100644 web/dist/app.css",
    "100644 web/dist/app.js",
    "100644 web/dist/cloakroom.d.ts",
    "100644 web/dist/cloakroom.js",
    "100644 web/dist/codes.js",
    "100644 web/dist/favicon.svg",
    "100644 web/dist/graph-middleware.js",
    "100644 web/dist/index.html",
    "100644 web/dist/messages.js",
    "100644 web/dist/sessions.js",
];
/// A folder with a binary of these bytes, and the sources of a package.
fn parts(binary: &[u8]) -> (TempDir, Parts) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some-binary");
    fs::write(&path, binary).unwrap();
    (folder, Parts { root: root(), binary: path, spa: root().join(SPA) })
}

fn modes(zip: &Path) -> BTreeMap<String, u32> {
    let mut archive = ZipArchive::new(File::open(zip).unwrap()).unwrap();
    let modes = (0..archive.len()).map(|index| {
        let file = archive.by_index(index).unwrap();
        (file.name().unwrap().into_owned(), file.unix_mode().unwrap())
    });
    modes.collect()
}

/// The faults of a package that was changed.
fn planted(fault: impl FnOnce(&mut Vec<Entry>, &Path)) -> Vec<String> {
    let (folder, parts) = parts(&elf(62, LOAD, 0));
    let mut entries = entries(&parts).unwrap();
    fault(&mut entries, folder.path());
    let zip = folder.path().join("app.zip");
    write_zip(&entries, &zip).unwrap();
    verify(&zip).unwrap_err()
}

fn entry<'a>(entries: &'a mut [Entry], name: &str) -> &'a mut Entry {
    entries.iter_mut().find(|entry| entry.name == name).unwrap()
}

#[test]
fn a_package_contains_exactly_what_it_needs() {
    let (dist, parts) = parts(&elf(62, LOAD, 0));
    let zip = pack(&parts, dist.path()).unwrap();
    let listed: Vec<String> = modes(&zip).into_iter().map(|(name, mode)| format!("{mode:o} {name}")).collect();
    assert_eq!(listed, LISTING);
    let sizes = verify(&zip).unwrap();
    assert_eq!((sizes.files, sizes.binary), (LISTING.len(), 136));
    let staged = dist.path().join("app/cloakroom");
    assert_eq!(
        fs::metadata(staged).unwrap().permissions().mode() & 0o777,
        0o755,
        "azd makes its own zip of the folder"
    );
    let unpacked = dist.path().join("unpacked");
    unpack(&zip, &unpacked).unwrap();
    assert_eq!(fs::metadata(unpacked.join("cloakroom")).unwrap().permissions().mode() & 0o777, 0o755);
}

/// Contract 19.2.
#[test]
fn the_client_is_small() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&fs::read(root().join(SPA).join("cloakroom.js")).unwrap()).unwrap();
    let size = gzip.finish().unwrap().len();
    assert!(size <= 3_000, "{size} bytes");
}

#[test]
fn the_same_files_make_the_same_zip() {
    let pages = tempfile::tempdir().unwrap();
    let zips = [["index.html", "assets/b.js", "a.js"], ["a.js", "assets/b.js", "index.html"]].map(|order| {
        let (dist, mut parts) = parts(&elf(62, LOAD, 0));
        parts.spa = tempfile::tempdir_in(pages.path()).unwrap().keep();
        fs::create_dir(parts.spa.join("assets")).unwrap();
        for (age, name) in (1..).zip(order) {
            fs::write(parts.spa.join(name), name).unwrap();
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age * 1_000_000_000);
            File::options().write(true).open(parts.spa.join(name)).unwrap().set_modified(time).unwrap();
        }
        fs::set_permissions(parts.spa.join(order[0]), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(parts.spa.join(".env"), "secret").unwrap();
        fs::create_dir(parts.spa.join(".well-known")).unwrap();
        fs::write(parts.spa.join(".well-known/security.txt"), "Contact: x").unwrap();
        // Files of an earlier package must be removed.
        fs::create_dir_all(dist.path().join("app/old")).unwrap();
        let zip = pack(&parts, dist.path()).unwrap();
        assert!(!dist.path().join("app/old").exists() && !modes(&zip).contains_key("web/dist/.env"));
        assert!(modes(&zip).contains_key("web/dist/.well-known/security.txt"), "contract 12.12");
        verify(&zip).unwrap();
        fs::read(zip).unwrap()
    });
    assert!(zips[0] == zips[1], "order, times and modes of the sources make no difference");
}

#[test]
fn each_fault_is_reported() {
    let faults = planted(|entries, _| entry(entries, "cloakroom").mode = 0o644);
    assert_eq!(faults, ["cloakroom has the mode 100644, not 100755"]);
    let faults = planted(|entries, _| entry(entries, "cloakroom").name = "handler".to_owned());
    assert!(faults.contains(&"cloakroom is missing".to_owned()), "{faults:?}");
    assert!(faults.contains(&"handler is not part of a package".to_owned()), "{faults:?}");
    let faults = planted(|entries, _| entries.retain(|entry| entry.name != "rotate_keys/function.json"));
    assert_eq!(faults, ["rotate_keys/function.json is missing"]);
    for surplus in ["local.settings.json", "spa/readme.md", "web/dist/.env", "web/dist/.git/config", "zz/function.json"]
    {
        let faults = planted(|entries, _| {
            let source = entry(entries, "apis.json").source.clone();
            entries.push(Entry { name: surplus.to_owned(), source, mode: 0o644 });
            entries.sort();
        });
        assert_eq!(faults, [format!("{surplus} is not part of a package")]);
    }
    let faults = planted(|entries, _| entries.reverse());
    assert_eq!(faults, ["the entries are not sorted"]);
    let faults = planted(|entries, _| entries.retain(|entry| !entry.name.starts_with(SPA)));
    assert_eq!(faults, ["web/dist/index.html is missing"]);
    for (bytes, fault) in [
        (elf(62, INTERPRETER, 0), "is linked dynamically: it needs a loader"),
        (elf(62, DYNAMIC, 1), "is linked dynamically: it needs libraries"),
        (elf(183, LOAD, 0), "is for another processor than x86_64"),
        (b"#!/bin/sh\n".to_vec(), "is not a 64-bit ELF binary"),
    ] {
        let faults = planted(|_, folder| fs::write(folder.join("some-binary"), bytes).unwrap());
        assert_eq!(faults, [format!("cloakroom: {fault}")]);
    }
    let mut large = elf(62, LOAD, 0);
    large.resize(10_000_001, 0);
    let faults = planted(|_, folder| fs::write(folder.join("some-binary"), large).unwrap());
    assert_eq!(faults, ["cloakroom: 10000001 bytes exceed the limit of 10000000"]);
}

#[test]
fn a_zip_of_another_program_is_checked_too() {
    let (folder, parts) = parts(&elf(62, LOAD, 0));
    let zip = folder.path().join("app.zip");
    let mut writer = ZipWriter::new(File::create(&zip).unwrap());
    let noon = DateTime::from_date_and_time(2026, 1, 1, 12, 0, 0).unwrap();
    for entry in entries(&parts).unwrap() {
        let options = SimpleFileOptions::default().last_modified_time(noon).unix_permissions(entry.mode);
        writer.start_file(entry.name.as_str(), options).unwrap();
        writer.write_all(&fs::read(&entry.source).unwrap()).unwrap();
    }
    writer.add_directory("spa", SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap();
    let faults = verify(&zip).unwrap_err();
    assert!(faults.contains(&"cloakroom has its own modification time".to_owned()), "{faults:?}");
    assert!(faults.contains(&"spa/ is not part of a package".to_owned()), "{faults:?}");
    fs::write(&zip, "no zip").unwrap();
    assert_eq!(verify(&zip).unwrap_err().len(), 1);
}

#[test]
fn the_executable_has_a_plain_name() {
    let named = |name: &str| {
        executable(&format!(r#"{{"customHandler":{{"description":{{"defaultExecutablePath":"{name}"}}}}}}"#))
    };
    assert_eq!(named("cloakroom").unwrap(), "cloakroom");
    for bad in ["", "./cloakroom", "bin/cloakroom", "%HANDLER%"] {
        assert!(named(bad).is_err(), "{bad}");
    }
    assert!(executable("{}").is_err() && executable("{").is_err());
}

#[test]
fn arguments_are_parsed() {
    let parse = |line: &str| Arguments::parse(&line.split_whitespace().collect::<Vec<_>>());
    let arguments = parse("--target aarch64-unknown-linux-gnu --spa page --verify").unwrap();
    assert_eq!(arguments.target.as_deref(), Some("aarch64-unknown-linux-gnu"));
    assert!(arguments.verify && arguments.spa == Some("page".into()));
    let arguments = parse("--profile-use some.profdata").unwrap();
    assert_eq!(arguments.profile.as_deref(), Some(Path::new("some.profdata")));
    for bad in [
        "--target",
        "--binary",
        "--target t --binary b",
        "--profile-use p --binary b",
        "--profile-use",
        "--unknown",
        "dist",
    ] {
        assert!(parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn an_existing_package_is_inspected_and_not_made() {
    let parsed = Arguments::parse(&["--existing", "a.zip", "--verify"]).unwrap();
    assert_eq!(parsed.existing.as_deref(), Some(Path::new("a.zip")));
    assert!(parsed.verify);
    for contradiction in ["--target", "--binary", "--spa"] {
        assert!(Arguments::parse(&["--existing", "a.zip", contradiction, "x"]).is_none(), "{contradiction}");
    }
    assert!(Arguments::parse(&["--target", "x", "--binary", "y"]).is_none());
}
