//! An archive of a release, unpacked into an empty folder: `cloakroom-dev up` starts everything with what is beside it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use devkit::commands::release::archive::{Programs, unpack, write_archive};
use devkit::commands::release::targets::TARGETS;
use devkit::commands::{cargo, target};
use devkit::os;

use crate::app::{BINARY, PATIENCE, ROOT};
use crate::raw;
use crate::visitor::Visitor;

const ADA: &str = "ada.lovelace%40contoso.example";

/// Uses the binaries of tests instead of static ones, which take minutes to build.
#[tokio::test(flavor = "multi_thread")]
async fn an_unpacked_archive_starts_everything_without_cargo() {
    let built = cargo().args(["build", "--bin", "devkit"]).status().unwrap();
    assert!(built.success());
    let devkit = target().join("debug").join(os::executable("devkit"));
    let programs = Programs { gateway: BINARY.into(), devkit };
    let dist = tempfile::tempdir().unwrap();
    let own = TARGETS.iter().find(|target| target.triple.contains(std::env::consts::OS)).or(TARGETS.get(2)).unwrap();
    let archive = write_archive(&programs, own, Path::new(ROOT), dist.path()).unwrap();
    signs_in_and_calls_an_api(&archive).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for cargo dev release --verify, which sets ARCHIVE_UNDER_TEST"]
async fn the_archive_under_test_signs_in_and_calls_an_api() {
    let archive = std::env::var_os("ARCHIVE_UNDER_TEST").expect("ARCHIVE_UNDER_TEST is the path of an archive");
    signs_in_and_calls_an_api(Path::new(&archive)).await;
}

async fn signs_in_and_calls_an_api(archive: &Path) {
    let folder = tempfile::tempdir().unwrap();
    unpack(archive, folder.path()).unwrap();
    let inside = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let up = Up::start(&inside, folder.path());
    let origin = up.wait_for("Open ");
    let mut visitor = Visitor::new(&origin);
    let page = visitor.navigate("/").await;
    assert_eq!(page.body, std::fs::read(inside.join("web/dist/index.html")).unwrap());
    sign_in(&mut visitor).await;
    let me = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(me.status, 200, "{}", me.text());
    assert!(me.text().contains("Ada"), "{}", me.text());
    // Everything else needs the sources.
    let package = Command::new(inside.join(os::executable("cloakroom-dev"))).arg("package").output().unwrap();
    assert_eq!(package.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&package.stderr).contains("usage: cloakroom-dev"));
}

/// At the provider's own page, as a browser does.
async fn sign_in(visitor: &mut Visitor) {
    let address = visitor.begin("/").await;
    let (authority, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let port = authority.rsplit(':').next().unwrap().parse().unwrap();
    let exchange = |line: &str, body: &str| {
        raw::exchange(
            port,
            &format!(
                "{line} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    let page = exchange(&format!("GET /{path}"), "");
    let between = |start: &str| page.split(start).nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let (action, request) = (between("action=\""), between("name=\"request\" value=\""));
    let response = exchange(&format!("POST {action}"), &format!("request={request}&user={ADA}"));
    let location =
        response.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_else(|| panic!("{response}"));
    assert_eq!(visitor.come_back(location).await.status, 302);
}

/// A running `cloakroom-dev up`.
struct Up {
    child: Child,
    lines: Receiver<String>,
}

impl Up {
    /// With an empty folder on the path, so that no cargo is found.
    fn start(inside: &Path, empty: &Path) -> Self {
        let path: PathBuf = empty.join("no-programs");
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new(inside.join(os::executable("cloakroom-dev")));
        let kept = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(os::is_needed));
        command.arg("up").env_clear().envs(kept).env("PATH", path).current_dir(empty);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    /// The rest of the first line that begins with this.
    fn wait_for(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the line is printed");
            if let Some(rest) = line.trim_start().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // So that it ends what it has started; where there are no signals, the gateway ends with the machine.
        if os::signal(self.child.id(), os::Signal::Terminate).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
