//! Images of stubs, whole and with one fault each.

mod faults;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tar::EntryType;
use tempfile::TempDir;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::layer::{CA_BUNDLE, Entry};
use super::verify::{BAR, unpack, verify};
use super::*;
use crate::commands::elf::tests::{INTERPRETER, LOAD, elf};

/// Contract 17.8: everything in an image, modes in front.
const LISTING: [&str; 19] = [
    "755 app",
    "644 app/apis.json",
    "755 app/web",
    "755 app/web/dist",
    "644 app/web/dist/app.css",
    "644 app/web/dist/app.js",
    "644 app/web/dist/cloakroom.d.ts",
    "644 app/web/dist/cloakroom.js",
    "644 app/web/dist/codes.js",
    "644 app/web/dist/favicon.svg",
    "644 app/web/dist/graph-middleware.js",
    "644 app/web/dist/index.html",
    "644 app/web/dist/messages.js",
    "644 app/web/dist/sessions.js",
    "755 cloakroom",
    "755 etc",
    "755 etc/ssl",
    "755 etc/ssl/certs",
    "644 etc/ssl/certs/ca-certificates.crt",
];

fn labels() -> Labels {
    Labels {
        description: "A token handler".to_owned(),
        version: "1.2.3".to_owned(),
        source: "https://github.com/Cloakroom/cloakroom".to_owned(),
        licenses: "MIT".to_owned(),
        revision: Some("0123456789abcdef".to_owned()),
        created: Some(1_700_000_000),
        roots_version: "1.0.11".to_owned(),
    }
}

fn binary(processor: Processor) -> Vec<u8> {
    let machine = if processor == Processor::X86_64 { 62 } else { 183 };
    elf(machine, LOAD, 0)
}

/// The files of an image with a stub of the binary.
fn files_for(processor: Processor, spa: &Path) -> BTreeMap<String, Entry> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some-binary");
    fs::write(&path, binary(processor)).unwrap();
    layer::files(&path, &root(), spa).unwrap()
}

fn image(processor: Processor, files: &BTreeMap<String, Entry>) -> Image {
    let sbom = json!({ "bomFormat": "CycloneDX", "metadata": { "component": { "name": "cloakroom" } } });
    Image { processor, layer: layer::pack(files).unwrap(), sbom: sbom.to_string().into_bytes() }
}

/// An image for both platforms.
fn whole() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join(FILE);
    let images = Processor::ALL.map(|processor| image(processor, &files_for(processor, &root().join(SPA))));
    layout::write(&images, &labels(), &tar).unwrap();
    (folder, tar)
}

/// The faults of an image whose files were changed.
fn planted(fault: impl FnOnce(&mut BTreeMap<String, Entry>)) -> Vec<String> {
    let processor = Processor::Aarch64;
    let mut files = files_for(processor, &root().join(SPA));
    fault(&mut files);
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join(FILE);
    layout::write(&[image(processor, &files)], &labels(), &tar).unwrap();
    verify(&tar, &[processor]).unwrap_err()
}

fn entries(tar: &Path) -> BTreeMap<String, Entry> {
    layer::read(&fs::read(tar).unwrap()).unwrap().1
}

fn document(entries: &BTreeMap<String, Entry>, path: &str) -> Value {
    serde_json::from_slice(&entries[path].content).unwrap()
}

fn blob(entries: &BTreeMap<String, Entry>, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    document(entries, &format!("blobs/{}", digest.replace(':', "/")))
}

/// The faults of an image with another text of the same length in its documents, whose digests are right again.
fn edited(from: &str, to: &str) -> Vec<String> {
    assert_eq!(from.len(), to.len());
    let (_folder, tar) = whole();
    let mut files = entries(&tar);
    let mut replacements = VecDeque::from([(from.to_owned(), to.to_owned())]);
    while let Some((from, to)) = replacements.pop_front() {
        for (path, mut entry) in files.clone() {
            let Ok(text) = String::from_utf8(entry.content.clone()) else { continue };
            if text.contains(&from) {
                entry.content = text.replace(&from, &to).into_bytes();
                files.remove(&path);
                let old = path.rsplit('/').next().unwrap();
                let new = if old.len() == 64 { layout::sha256(&entry.content) } else { old.to_owned() };
                files.insert(path.replace(old, &new), entry);
                replacements.extend((old != new).then(|| (old.to_owned(), new)));
            }
        }
    }
    fs::write(&tar, layer::pack(&files).unwrap()).unwrap();
    verify(&tar, &Processor::ALL).unwrap_err()
}

/// Contract 17.8.
#[test]
fn an_image_contains_exactly_what_it_needs() {
    let (folder, tar) = whole();
    let sizes = verify(&tar, &Processor::ALL).unwrap();
    assert_eq!(
        sizes.iter().map(|size| (size.processor, size.files)).collect::<Vec<_>>(),
        [(Processor::X86_64, 13), (Processor::Aarch64, 13)]
    );
    assert!(sizes.iter().all(|size| size.compressed < size.unpacked && size.unpacked < BAR), "{sizes:?}");
    let entries = entries(&tar);
    let index = blob(&entries, &document(&entries, "index.json")["manifests"][0]);
    for (at, processor) in Processor::ALL.into_iter().enumerate() {
        let manifest = blob(&entries, &index["manifests"][at]);
        let digest = manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
        let tar = layer::decompress(&entries[&format!("blobs/{digest}")].content).unwrap();
        let (_, files) = layer::read(&tar).unwrap();
        let listed: Vec<String> = files.iter().map(|(path, file)| format!("{:o} {path}", file.mode)).collect();
        assert_eq!(listed, LISTING);
        assert!(files.values().all(|file| (file.owner, file.modified) == ((0, 0), 0)));
        assert_eq!(files["cloakroom"].content, binary(processor));
    }
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    unpack(&tar, Processor::Aarch64, &unpacked).unwrap();
    assert_eq!(fs::read(unpacked.join("cloakroom")).unwrap(), binary(Processor::Aarch64));
}

/// Contract 17.8 and 17.6.
#[test]
fn an_image_says_how_it_is_run_and_what_it_is() {
    let (_folder, tar) = whole();
    let entries = entries(&tar);
    let top = document(&entries, "index.json");
    assert_eq!(top["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(
        top["manifests"][0]["annotations"],
        json!({
            "io.containerd.image.name": "ghcr.io/cloakroom/cloakroom:1.2.3",
            "org.opencontainers.image.ref.name": "1.2.3"
        })
    );
    let index = blob(&entries, &top["manifests"][0]);
    let labels = json!({
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.description": "A token handler",
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.revision": "0123456789abcdef",
        "org.opencontainers.image.source": "https://github.com/Cloakroom/cloakroom",
        "org.opencontainers.image.title": "Cloakroom",
        "org.opencontainers.image.version": "1.2.3"
    });
    assert_eq!(index["annotations"], labels);
    let platforms = [
        json!({ "os": "linux", "architecture": "amd64" }),
        json!({ "os": "linux", "architecture": "arm64", "variant": "v8" }),
    ];
    for (at, platform) in platforms.iter().enumerate() {
        let descriptor = &index["manifests"][at];
        assert_eq!(&descriptor["platform"], platform);
        let manifest = blob(&entries, descriptor);
        assert_eq!(manifest["annotations"], labels);
        let configuration = blob(&entries, &manifest["config"]);
        assert_eq!(configuration["created"], "2023-11-14T22:13:20Z");
        assert_eq!(
            configuration["config"],
            json!({
                "Entrypoint": ["/cloakroom"],
                "Env": ["CLOAKROOM_LISTEN=0.0.0.0:8080", "CLOAKROOM_DRAIN_DELAY=5s"],
                "ExposedPorts": { "8080/tcp": {} },
                "Labels": labels,
                "StopSignal": "SIGTERM",
                "User": "65532:65532",
                "WorkingDir": "/app"
            })
        );
        let sbom = &index["manifests"][at + 2];
        assert_eq!(sbom["platform"], json!({ "os": "unknown", "architecture": "unknown" }));
        let sbom = blob(&entries, sbom);
        assert_eq!(sbom["subject"]["digest"], descriptor["digest"]);
        assert_eq!(sbom["artifactType"], "application/vnd.cyclonedx+json");
        assert_eq!(blob(&entries, &sbom["layers"][0])["bomFormat"], "CycloneDX");
    }
}

#[test]
fn the_same_files_make_the_same_image() {
    let images = [["index.html", "assets/b.js", "a.js"], ["a.js", "assets/b.js", "index.html"]].map(|order| {
        let spa = tempfile::tempdir().unwrap();
        fs::create_dir(spa.path().join("assets")).unwrap();
        for (age, name) in (1..).zip(order) {
            fs::write(spa.path().join(name), name).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age * 1_000_000_000);
            fs::File::options().write(true).open(spa.path().join(name)).unwrap().set_modified(time).unwrap();
        }
        fs::write(spa.path().join(".env"), "secret").unwrap();
        fs::create_dir(spa.path().join(".well-known")).unwrap();
        fs::write(spa.path().join(".well-known/security.txt"), "Contact: x").unwrap();
        let tar = spa.path().join("image.tar");
        let files = files_for(Processor::ALL[0], spa.path());
        assert!(files.contains_key("app/web/dist/.well-known/security.txt"), "contract 12.12");
        assert!(!files.contains_key("app/web/dist/.env"));
        let images = Processor::ALL.map(|processor| image(processor, &files_for(processor, spa.path())));
        layout::write(&images, &labels(), &tar).unwrap();
        verify(&tar, &Processor::ALL).unwrap();
        fs::read(tar).unwrap()
    });
    assert!(images[0] == images[1], "order and times of the sources make no difference");
}

#[test]
fn other_files_are_reported() {
    for surplus in ["bin/sh", "app/local.settings.json", "app/web/dist/.env", "app/web/dist/.git/config", "etc/passwd"]
    {
        let faults = planted(|files| {
            files.insert(surplus.to_owned(), Entry::file(0o644, b"surplus".to_vec()));
        });
        assert_eq!(faults, [format!("linux/arm64: {surplus} is not part of the image")]);
    }
    let faults = planted(|files| {
        files.insert("tmp".to_owned(), Entry::folder());
    });
    assert_eq!(faults, ["linux/arm64: tmp is not part of the image"]);
    let faults = planted(|files| files.retain(|path, _| path != CA_BUNDLE && path != "app/apis.json"));
    assert_eq!(
        faults[..3],
        ["etc", "etc/ssl", "etc/ssl/certs"].map(|path| format!("linux/arm64: {path} is not part of the image"))
    );
    assert!(faults.contains(&format!("linux/arm64: {CA_BUNDLE} is missing")), "{faults:?}");
    assert!(faults.contains(&"linux/arm64: app/apis.json is missing".to_owned()), "{faults:?}");
}

#[test]
fn files_that_are_not_as_they_must_be_are_reported() {
    let changed = |path: &'static str, change: fn(&mut Entry)| planted(|files| change(files.get_mut(path).unwrap()));
    for (faults, fault) in [
        (changed("cloakroom", |file| file.mode = 0o4755), "cloakroom has the mode 4755, not 755"),
        (
            changed("cloakroom", |file| file.content = elf(62, LOAD, 0)),
            "cloakroom: is for another processor than aarch64",
        ),
        (
            changed("cloakroom", |file| file.content = elf(183, INTERPRETER, 0)),
            "cloakroom: is linked dynamically: it needs a loader",
        ),
        (changed("app/apis.json", |file| file.mode = 0o666), "app/apis.json has the mode 666, not 644"),
        (changed("app/apis.json", |file| file.owner = (65532, 65532)), "app/apis.json is not owned by root"),
        (changed("app/apis.json", |file| file.modified = 1), "app/apis.json has its own modification time"),
        (changed("app", |file| file.mode = 0o777), "app has the mode 777, not 755"),
        (
            changed(CA_BUNDLE, |file| file.content.truncate(2_000)),
            "etc/ssl/certs/ca-certificates.crt has 2 authorities only",
        ),
    ] {
        assert_eq!(faults, [format!("linux/arm64: {fault}")]);
    }
    let faults = changed("app/web/dist/app.js", |file| file.content.resize(20_000_000, 0));
    assert!(faults.len() == 1 && faults[0].ends_with(" bytes exceed the limit of 20000000"), "{faults:?}");
    let faults = changed("app/web/dist/app.js", |file| file.kind = EntryType::Fifo);
    assert!(
        faults.contains(&"linux/arm64: app/web/dist/app.js is neither a file nor a folder".to_owned()),
        "{faults:?}"
    );
}

#[test]
fn other_documents_are_reported() {
    let both = |fault: &str| ["linux/amd64", "linux/arm64"].map(|platform| format!("{platform}: {fault}")).to_vec();
    let faults = edited("65532:65532", "00000:00000");
    assert!(
        faults[0].starts_with("linux/amd64: the user is Some(\"00000:00000\"), not Some(\"65532:65532\")"),
        "{faults:?}"
    );
    for (from, to) in [
        ("LISTEN=0.0.0.0:8080", "LISTEN=0.0.0.0:8081"),
        ("SIGTERM", "SIGKILL"),
        ("[\"/cloakroom\"]", "[\"/cloakro0m\"]"),
    ] {
        let faults = edited(from, to);
        assert!(faults.len() == 2 && faults[0].contains("the execution parameters are not"), "{faults:?}");
    }
    assert_eq!(
        edited("image.licenses", "image.licences"),
        both("the label org.opencontainers.image.licenses is missing")
    );
    assert_eq!(edited("CycloneDX", "CycloneXX"), both("the SBOM is not one of cloakroom in CycloneDX"));
    assert_eq!(edited("\"1.0.0\"", "\"1.1.0\""), ["the layout has the version 1.1.0"]);
    assert_eq!(edited("\"arm64\"", "\"armhf\""), ["the platforms are not exactly linux/amd64 and linux/arm64"]);
}

#[test]
fn layouts_that_do_not_fit_together_are_reported() {
    let (_folder, tar) = whole();
    assert_eq!(
        verify(&tar, &[Processor::X86_64]).unwrap_err(),
        ["the platforms are not exactly linux/amd64"],
        "an index that promises another platform"
    );
    let with = |change: &dyn Fn(&mut BTreeMap<String, Entry>)| {
        let mut files = entries(&tar);
        change(&mut files);
        let (folder, _) = whole();
        let other = folder.path().join("other.tar");
        fs::write(&other, layer::pack(&files).unwrap()).unwrap();
        verify(&other, &Processor::ALL).unwrap_err()
    };
    let surplus = "blobs/sha256/0000";
    let faults = with(&|files| drop(files.insert(surplus.to_owned(), Entry::file(0o644, Vec::new()))));
    assert_eq!(faults, [format!("{surplus} belongs to no image")]);
    let faults = with(&|files| {
        files.values_mut().filter(|file| file.content.starts_with(&[0x1F, 0x8B])).for_each(|file| file.content.push(0));
    });
    assert!(
        faults.iter().all(|fault| fault.ends_with("has another size or digest")) && faults.len() == 2,
        "{faults:?}"
    );
    let faults = with(&|files| drop(files.remove("oci-layout")));
    assert_eq!(faults, ["oci-layout is missing"]);
    fs::write(&tar, "no tar").unwrap();
    assert_eq!(verify(&tar, &Processor::ALL).unwrap_err().len(), 1);
}

#[test]
fn the_bundle_has_only_certificates_that_can_be_trusted() {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(layer::ca_bundle().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    assert_eq!(roots.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    assert!(roots.len() > 100, "{}", roots.len());
}

#[test]
fn an_sbom_names_the_bundle_and_no_folder_of_this_machine() {
    let text = r#"{"metadata":{"component":{"bom-ref":"path+file:///someone/src#cloakroom@1.2.3"}},"components":[]}"#;
    let sbom: Value = serde_json::from_slice(
        &sbom::complete(&sbom::without_folder(text, Path::new("/someone/src")), &labels()).unwrap(),
    )
    .unwrap();
    assert_eq!(sbom["metadata"]["component"]["bom-ref"], "path+file:///cloakroom#cloakroom@1.2.3");
    assert_eq!(sbom["components"][0]["purl"], "pkg:cargo/webpki-root-certs@1.0.11");
    assert!(sbom::complete("{}", &labels()).is_err());
}

#[test]
fn the_time_of_an_image_is_that_of_its_sources() {
    assert_eq!(labels::created(Some("1700000000".to_owned())).unwrap(), Some(1_700_000_000));
    assert!(labels::created(Some("yesterday".to_owned())).is_err());
    let undated = Labels { created: None, revision: None, ..labels() };
    assert!(!undated.annotations().keys().any(|name| name.ends_with("created") || name.ends_with("revision")));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    assert!(labels::created(None).unwrap().is_none_or(|time| time < now), "the time of the commit, not of the build");
}

#[test]
fn arguments_are_parsed() {
    let parse = |line: &str| Arguments::parse(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(parse("").unwrap().processors(), Processor::ALL);
    let arguments = parse("--platform linux/arm64 --spa page --sbom s.json --verify").unwrap();
    assert_eq!((arguments.processors(), arguments.verify), (vec![Processor::Aarch64], true));
    assert_eq!((arguments.spa, arguments.sbom), (Some("page".into()), Some("s.json".into())));
    assert_eq!(parse("--binary a --binary b").unwrap().binaries, [PathBuf::from("a"), "b".into()]);
    assert_eq!(parse("--existing a.tar --platform linux/amd64").unwrap().existing, Some("a.tar".into()));
    for bad in [
        "--platform",
        "--platform windows/amd64",
        "--binary",
        "--platform linux/amd64 --binary b",
        "--existing a.tar --binary b",
        "--existing a.tar --spa page",
        "--existing a.tar --sbom s.json",
        "dist",
    ] {
        assert!(parse(bad).is_none(), "{bad}");
    }
}
