use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use zip::ZipArchive;

use super::*;

/// The names and modes in an archive.
fn listed(path: &Path) -> Vec<(String, u32)> {
    let file = fs::File::open(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zip") {
        let mut zip = ZipArchive::new(file).unwrap();
        let entry = |at| {
            let file = zip.by_index(at).unwrap();
            (file.name().unwrap().into_owned(), file.unix_mode().unwrap() & 0o777)
        };
        return (0..ZipArchive::new(fs::File::open(path).unwrap()).unwrap().len()).map(entry).collect();
    }
    let mut tar = tar::Archive::new(GzDecoder::new(file));
    let entries = tar.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
        (entry.path().unwrap().to_str().unwrap().to_owned(), entry.header().mode().unwrap())
    });
    entries.collect()
}

fn programs(folder: &Path) -> Programs {
    let [gateway, devkit] = ["some-gateway", "some-devkit"].map(|name| folder.join(name));
    fs::write(&gateway, "gateway").unwrap();
    fs::write(&devkit, "devkit").unwrap();
    Programs { gateway, devkit }
}

#[test]
fn an_archive_has_both_programs_and_the_files_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    for target in &TARGETS {
        let path = write_archive(&programs(folder.path()), target, &root(), folder.path()).unwrap();
        let suffix = if target.is_windows() { ".zip" } else { ".tar.gz" };
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("cloakroom-{}-{}{suffix}", version(), target.triple));
        let inside = format!("{}/", name.strip_suffix(suffix).unwrap());
        let files: Vec<(String, u32)> = listed(&path)
            .into_iter()
            .map(|(file, mode)| (file.strip_prefix(&inside).unwrap().to_owned(), mode))
            .collect();
        let programs: BTreeSet<_> = files.iter().filter(|(_, mode)| *mode == 0o755).map(|(name, _)| name).collect();
        let exe = if target.is_windows() { ".exe" } else { "" };
        assert_eq!(programs, [&format!("cloakroom{exe}"), &format!("cloakroom-dev{exe}")].into());
        for file in ["LICENSE", "apis.json", "host.json", "graph-proxy/function.json", "web/dist/index.html"] {
            assert!(files.contains(&(file.to_owned(), 0o644)), "{file} is not in {files:?}");
        }
        assert!(files.is_sorted());
    }
}

#[test]
fn the_gateway_of_an_archive_is_built_last() {
    let mut built = Vec::new();
    let programs = build_programs(|package, program| {
        built.push(package.to_owned());
        Ok(PathBuf::from(program))
    });
    let programs = programs.unwrap();
    assert_eq!(built, ["devkit", "cloakroom"]);
    assert_eq!((programs.gateway, programs.devkit), ("cloakroom".into(), "devkit".into()));
}

#[test]
fn the_same_files_make_the_same_archive() {
    for target in &TARGETS {
        let archives = [1_000_000_000, 1_500_000_000].map(|seconds| {
            let folder = tempfile::tempdir().unwrap();
            let programs = programs(folder.path());
            let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            for program in [&programs.gateway, &programs.devkit] {
                fs::File::options().write(true).open(program).unwrap().set_modified(time).unwrap();
            }
            fs::read(write_archive(&programs, target, &root(), folder.path()).unwrap()).unwrap()
        });
        assert!(archives[0] == archives[1], "{}", target.triple);
    }
}

#[test]
fn the_checksums_are_those_of_all_other_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b"), "abc").unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    for _ in 0..2 {
        write_checksums(folder.path()).unwrap();
    }
    let mut text = String::new();
    fs::File::open(folder.path().join(CHECKSUMS)).unwrap().read_to_string(&mut text).unwrap();
    let (empty, abc) = (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    assert_eq!(text, format!("{empty}  a\n{abc}  b\n"));
}

#[test]
fn every_job_that_makes_a_part_is_in_the_workflow() {
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
    for job in ["tag", "profile", "package", "archives", "image", "materials", "publish"] {
        assert!(workflow.contains(&format!("\n  {job}:\n")), "release.yml has no job {job}");
    }
    for target in &TARGETS {
        assert!(workflow.contains(target.triple), "release.yml does not build for {}", target.triple);
    }
}

#[test]
fn programs_for_linux_are_static() {
    // Of the machine that runs this test, and linked to its libraries.
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    for target in &TARGETS {
        assert_eq!(target.check(&own).is_err(), target.triple.contains("linux"), "{}", target.triple);
    }
}
