//! The container image that `cargo dev image --verify` made: started with a read-only root, and read by programs that
//! we did not write.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use devkit::commands::elf::Processor;
use devkit::commands::image::container::{Container, Runtime};
use devkit::commands::image::layer::CA_BUNDLE;
use devkit::commands::image::verify::unpack;
use devkit::commands::stack::{Backends, Keys, Options, Store, free_port};
use serde_json::Value;

use crate::app::{Gateway, PATIENCE, ROOT};
use crate::journey::main_journey;
use crate::visitor::Visitor;

fn tar() -> PathBuf {
    std::env::var_os("IMAGE_UNDER_TEST").expect("IMAGE_UNDER_TEST is the path of an image").into()
}

fn runtime() -> Runtime {
    let name = std::env::var("IMAGE_RUNTIME").expect("IMAGE_RUNTIME is one of devkit's runtimes");
    Runtime::ALL.into_iter().find(|runtime| runtime.to_string() == name).unwrap()
}

fn own_processor() -> Processor {
    Processor::ALL.into_iter().find(|processor| processor.name() == std::env::consts::ARCH).unwrap()
}

/// The backends and the settings of a gateway in a container. The authority of the vault is in none of the settings.
async fn backends(authority: &Path, port: u16) -> (Backends, BTreeMap<String, String>) {
    let keys = Keys::Vault(authority.to_owned());
    let (root, store) = (ROOT.into(), Store::Cookie);
    let options = Options { root, binary: None, keys, store, mode: None, ports: [port, 0, 0], print: false };
    let backends = Backends::start(&options).await.unwrap();
    let mut settings = backends.settings.clone();
    settings.remove("SSL_CERT_FILE");
    settings.insert("CLOAKROOM_LISTEN".to_owned(), format!("127.0.0.1:{port}"));
    settings.insert("CLOAKROOM_DRAIN_DELAY".to_owned(), "0s".to_owned());
    (backends, settings)
}

async fn wait_until_ready(visitor: &mut Visitor, log: impl Fn() -> String) {
    let started = Instant::now();
    while visitor.get("/health/ready").await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "the image is not ready:\n{}", log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Contract 17.8: as user 65532 with a read-only root. The image's CA bundle with one more authority is what makes the
/// vault trusted, so that the gateway has read it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for cargo dev image --verify, which sets IMAGE_UNDER_TEST and IMAGE_RUNTIME"]
async fn the_image_under_test_runs_the_main_journey() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, unpacked, bundle) =
        (folder.path().join("a.pem"), folder.path().join("u"), folder.path().join("b.pem"));
    let port = free_port().unwrap();
    let (backends, settings) = backends(&authority, port).await;
    fs::create_dir(&unpacked).unwrap();
    unpack(&tar(), own_processor(), &unpacked).unwrap();
    let authorities = [unpacked.join(CA_BUNDLE), authority].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&bundle, authorities.concat()).unwrap();
    let container = |name: &str| Container::new(runtime(), &tar(), &folder.path().join(name)).unwrap();

    let without = container("without").command(&settings, &["check", "--online"]).output().unwrap();
    assert_eq!(without.status.code(), Some(69), "the vault's authority is not trusted: {without:?}");
    let with = container("with").with_file(&bundle, CA_BUNDLE);
    let mut gateway = Gateway::start_command(&mut with.command(&settings, &[]), &format!("127.0.0.1:{port}"));
    let mut visitor = Visitor::new(&backends.origin);
    wait_until_ready(&mut visitor, || gateway.log()).await;
    let page = visitor.navigate("/").await;
    assert_eq!(page.body, fs::read(unpacked.join("app/web/dist/index.html")).unwrap());
    main_journey(&backends.origin, &backends.provider, || gateway.log()).await;
    check_confinement(port);
    let health = with.command(&settings, &["health", "--ready"]).output().unwrap();
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    assert_eq!(gateway.end_by("-TERM"), Some(0), "{}", gateway.log());
}

/// Contract 17.8: the running gateway is user 65532 and cannot write to its root. Every user can read this, by what is
/// public of a process; in a user namespace, as of podman without root, by its maps of users and groups.
fn check_confinement(port: u16) {
    let read =
        |path: &Path, name: &str| String::from_utf8_lossy(&fs::read(path.join(name)).unwrap_or_default()).into_owned();
    let owner = socket_owner(&read(Path::new("/proc/net"), "tcp"), port).expect("the gateway listens");
    // Root can also tell it from the gateways of other tests.
    let setting = format!("CLOAKROOM_LISTEN=127.0.0.1:{port}\0");
    let is_gateway = |path: &PathBuf| {
        read(path, "cmdline") == "/cloakroom\0"
            && numbers(&read(path, "status"), "Uid:").first() == Some(&owner)
            && (!is_root() || read(path, "environ").contains(&setting))
    };
    let found = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).find(is_gateway);
    let process = found.expect("the gateway runs");
    let status = read(&process, "status");
    for (name, map) in [("Uid:", "uid_map"), ("Gid:", "gid_map")] {
        let ids = numbers(&status, name).into_iter().map(|id| inside(&read(&process, map), id));
        assert_eq!(ids.collect::<Vec<_>>(), [Some(65_532); 4], "{status}");
    }
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let mounts = read(&process, "mountinfo");
    let options = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[4] == "/").then(|| fields[5].to_owned())
    };
    let root = mounts.lines().filter_map(options).next_back().unwrap();
    assert!(root.split(',').any(|option| option == "ro"), "{mounts}");
}

/// The user of the socket that listens on a port of 127.0.0.1, by `/proc/net/tcp`.
fn socket_owner(sockets: &str, port: u16) -> Option<u32> {
    let address = format!("0100007F:{port:04X}");
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(1) == Some(&address.as_str()) && fields.get(3) == Some(&"0A"))?;
    found.get(7)?.parse().ok()
}

/// The numbers of the line that begins with a name.
fn numbers(text: &str, name: &str) -> Vec<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The number that a user or group of this machine has in a user namespace with this map.
fn inside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let &[first, outside, count] = numbers(line, "").as_slice() else { return None };
        let offset = id.checked_sub(outside).filter(|offset| *offset < count)?;
        first.checked_add(offset)
    })
}

/// As podman without root has it: the user is root, and the others are a range that belongs to the user.
#[test]
fn users_of_a_namespace_are_translated() {
    let map = "         0       1001          1\n         1     165536      65536\n";
    let ids = [1_001, 165_536, 231_067, 231_072, 65_532].map(|id| inside(map, id));
    assert_eq!(ids, [Some(0), Some(1), Some(65_532), None, None]);
    assert_eq!(inside("0 0 4294967295\n", 65_532), Some(65_532));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Paths, modes and contents under a folder.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            folders.extend(metadata.is_dir().then(|| path.clone()));
            let name = path.strip_prefix(folder).unwrap().to_owned();
            found.insert(name, (metadata.permissions().mode() & 0o7777, content));
        }
    }
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// skopeo copies the whole image, SBOMs included, without a change; umoci unpacks each platform.
#[test]
#[ignore = "for cargo dev image --verify, which sets IMAGE_UNDER_TEST"]
fn other_programs_read_the_image_under_test() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let source = format!("oci-archive:{}", tar().display());
    run("skopeo", &["--insecure-policy", "copy", "--quiet", "--all", &source, &format!("oci:{}:all", path("all"))]);
    run("tar", &["--extract", "--file", &tar().display().to_string(), "--one-top-level", "--directory", &path("")]);
    let own =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| !path.ends_with("all"));
    let own = own.unwrap();
    let digest = |layout: &Path| json(&layout.join("index.json"))["manifests"][0]["digest"].clone();
    assert_eq!(digest(&folder.path().join("all")), digest(&own));
    assert_eq!(listing(&folder.path().join("all/blobs")), listing(&own.join("blobs")));

    let mut platforms = 0;
    for (processor, name) in [(Processor::X86_64, "amd64"), (Processor::Aarch64, "arm64")] {
        let unpacked = folder.path().join(name);
        fs::create_dir(&unpacked).unwrap();
        // The image may be for one platform only.
        let Ok(()) = unpack(&tar(), processor, &unpacked) else { continue };
        let layout = format!("oci:{}:{name}", path("layout"));
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "--override-os",
                "linux",
                "--override-arch",
                name,
                "copy",
                "--quiet",
                &source,
                &layout,
            ],
        );
        let (image, bundle) = (format!("{}:{name}", path("layout")), path(&format!("{name}-bundle")));
        let rootless = if is_root() { [].as_slice() } else { ["--rootless"].as_slice() };
        run("umoci", &[["unpack"].as_slice(), rootless, &["--image", &image, &bundle]].concat());
        let bundle = PathBuf::from(bundle);
        assert_eq!(listing(&bundle.join("rootfs")), listing(&unpacked));
        let process = json(&bundle.join("config.json"))["process"].clone();
        assert_eq!(
            (&process["args"], &process["cwd"]),
            (&serde_json::json!(["/cloakroom"]), &serde_json::json!("/app"))
        );
        if is_root() {
            assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&65532.into(), &65532.into()));
            assert!(fs::metadata(bundle.join("rootfs/cloakroom")).unwrap().uid() == 0);
        }
        platforms += 1;
    }
    assert!(platforms > 0);
}
