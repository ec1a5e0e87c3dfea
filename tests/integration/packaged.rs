//! The deployment package, unpacked into an empty folder and started there.

use std::path::Path;
use std::process::Command;

use devkit::commands::package::{Parts, pack, unpack};
use devkit::commands::stack::{Keys, LocalStack, Options, Store};
use devkit::host::Mode;

use crate::app::{BINARY, ROOT};
use crate::journey::main_journey;
use crate::visitor::Visitor;

/// Uses the test binary instead of the static one, which takes minutes to build.
#[tokio::test(flavor = "multi_thread")]
async fn the_package_runs_the_main_journey() {
    let dist = tempfile::tempdir().unwrap();
    let root = Path::new(ROOT);
    let parts = Parts { root: root.to_owned(), binary: BINARY.into(), spa: root.join("web/dist") };
    runs_the_main_journey(&pack(&parts, dist.path()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for cargo dev package --verify, which sets PACKAGE_UNDER_TEST"]
async fn the_package_under_test_runs_the_main_journey() {
    let zip = std::env::var_os("PACKAGE_UNDER_TEST").expect("PACKAGE_UNDER_TEST is the path of a zip");
    runs_the_main_journey(Path::new(&zip)).await;
}

/// A static glibc would load the library of a service in `/etc/nsswitch.conf`, but for `src/os/hosts.c`. Here that is a
/// pipe, which has no end.
#[test]
#[ignore = "for cargo dev package --verify, which sets PACKAGE_UNDER_TEST"]
fn the_package_under_test_loads_no_library_to_resolve_names() {
    const CHECK: &str = "mount --bind nsswitch.conf /etc/nsswitch.conf && timeout 30 app/cloakroom check --online";
    let zip = std::env::var_os("PACKAGE_UNDER_TEST").expect("PACKAGE_UNDER_TEST is the path of a zip");
    let folder = tempfile::tempdir().unwrap();
    unpack(Path::new(&zip), &folder.path().join("app")).unwrap();
    std::fs::write(folder.path().join("nsswitch.conf"), "hosts: planted files dns\n").unwrap();
    let pipe = Command::new("mkfifo").arg(folder.path().join("libnss_planted.so.2")).status().unwrap();
    assert!(pipe.success());
    let mut check = Command::new("unshare");
    check.args(["--map-root-user", "--mount", "sh", "-c", CHECK]).current_dir(folder.path());
    check.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("LD_LIBRARY_PATH", folder.path());
    for (name, value) in [
        ("PUBLIC_ORIGIN", "https://app.example.org"),
        ("AUTHORITY", "https://localhost:9"),
        ("CLIENT_ID", "some-client"),
        ("CLIENT_SECRET", "some-secret"),
        ("ENC_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        ("APIS", r#"{}"#),
    ] {
        check.env(format!("CLOAKROOM_{name}"), value);
    }
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("provider: its metadata cannot be loaded"), "{said}");
}

async fn runs_the_main_journey(zip: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    unpack(zip, &app).unwrap();
    let alone = Command::new(app.join("cloakroom")).arg("check").env_clear().current_dir(&app).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stderr).into_owned() + &String::from_utf8_lossy(&alone.stdout);
    assert_eq!(alone.status.code(), Some(64), "{said}");
    assert!(said.contains("CLOAKROOM_PUBLIC_ORIGIN"), "{said}");
    for mode in [Mode::Forward, Mode::Proxy] {
        // The host's environment is clean; the executable is the one in the package's `host.json`.
        let keys = Keys::Vault(folder.path().join("authority.pem"));
        let (root, store, mode) = (app.clone(), Store::Cookie, Some(mode));
        let options = Options { root, binary: None, keys, store, mode, ports: [0; 3], print: false };
        let stack = LocalStack::start(options).await.unwrap();
        let context = || format!("{mode:?}: {:?}", stack.host.logs());
        let page = Visitor::new(&stack.backends.origin).navigate("/").await;
        assert_eq!(page.body, std::fs::read(app.join("web/dist/index.html")).unwrap(), "{}", context());
        main_journey(&stack.backends.origin, &stack.backends.provider, context).await;
    }
}
