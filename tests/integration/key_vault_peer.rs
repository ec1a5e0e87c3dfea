//! An independent vault: Microsoft's fake Key Vault for Go, see `tests/peers/key-vault`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::app::ROOT;
use crate::cloud::{Cloud, whole_journey};
use crate::key_sources::{Credential, HOST, Place, conforms, http};

/// The peer's process. It ends when its stdin closes, so dropping it stops it.
struct Peer {
    process: Child,
    url: String,
    ca_pem: String,
}

impl Peer {
    /// Starts it; with `token` it accepts that bearer token only.
    fn start(token: Option<&str>) -> Self {
        let mut process = Command::new(program())
            .env("NAMES", HOST)
            .env("TOKENS", token.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut printed = |what: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(what).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let ca_pem = std::fs::read_to_string(printed("ca ")).unwrap();
        let url = printed("ready ");
        Self { process, url, ca_pem }
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), self.url.rsplit(':').next().unwrap().parse().unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // An orderly end, which also removes the file of its certificate authority.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The program, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("key-vault-peer");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(Path::new(ROOT).join("tests/peers/key-vault"))
            .status();
        let built = built.unwrap_or_else(|error| panic!("go does not start: {error}; apt-get install golang-go"));
        assert!(built.success(), "the peer cannot be built");
        program
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn key_vault_conforms_with_the_challenge_checked() {
    let credential = Credential::new("the-token-of-this-test".to_owned());
    let peer = Peer::start(Some(credential.token()));
    conforms(&Place::of_vault(http(&peer.ca_pem, peer.addr()), credential, peer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_journey_with_a_rotation_by_the_command() {
    let peer = Peer::start(None);
    whole_journey(&Cloud::new(Cloud::identity().await, peer.url.clone(), &peer.ca_pem)).await;
}
