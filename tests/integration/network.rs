//! Sockets: where the gateway listens, and to whom it sends tokens (contract 11.6, 12.7, 12.14).

use std::io::Read;
use std::net::TcpListener;

use devkit::identity::{self, Identity};
use devkit::vault::{Options, Vault};
use serde_json::json;

use crate::app::TestApp;

const ADA: &str = "ada.lovelace@contoso.example";

/// What the kernel lists as listening on this port: addresses in hexadecimal, in the order of the machine's bytes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_gateway_listens_on_loopback_only() {
    let app = TestApp::start().await;
    let port = format!(":{:04X}", app.port);
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap());
    let sockets = tables.iter().flat_map(|table| table.lines()).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening: Vec<String> = sockets
        .filter(|columns| columns[1].ends_with(&port) && columns[3] == "0A")
        .map(|columns| columns[1].to_owned())
        .collect();
    assert_eq!(listening, [format!("0100007F{port}")]);
}

/// An API over TLS on this machine, for which the host name of its address is given.
fn api(port: u16, host: &str) -> serde_json::Value {
    json!({"tls": {
        "base": format!("https://{host}:{port}"), "allow": ["GET /me"], "scopes": ["https://graph.microsoft.com/User.Read"],
    }})
}

/// Contract 12.7 (RFC 9700, section 2.6): certificate and name are verified before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_without_a_valid_certificate_gets_no_token() {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let server = Vault::start(Options::new(&identity)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    server.write_ca(&trusted).unwrap();
    // The certificate is for `localhost` and 127.0.0.1, not for another spelling of that address.
    for (host, roots, responds) in
        [("localhost", Some(&trusted), true), ("localhost", None, false), ("[::ffff:127.0.0.1]", Some(&trusted), false)]
    {
        let mut builder = TestApp::builder().other_apis(api(server.addr().port(), host));
        if let Some(roots) = roots {
            builder = builder.variable("SSL_CERT_FILE", roots.to_str().unwrap());
        }
        let app = builder.start().await;
        let mut visitor = app.signed_in(ADA).await;
        let before = server.count();
        let response = visitor.fetch("GET", "/api/tls/me").await;
        assert_eq!(response.code() != "upstream_unavailable", responds, "{host}: {} {}", response.status, app.log());
        assert_eq!(server.count() > before, responds, "{host}: requests that arrive");
    }
}

/// The protocol versions that a TLS client offers: the extension `supported_versions` (RFC 8446, section 4.2.1) of its
/// first message.
fn offered_versions(hello: &[u8]) -> Vec<u16> {
    let number =
        |at: usize, length: usize| hello[at..at + length].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    // Record header 5, handshake header 4, version 2, random 32; then session id, cipher suites, compression methods.
    let mut at = 43;
    for length in [1, 2, 1] {
        at += length + number(at, length);
    }
    let end = at + 2 + number(at, 2);
    at += 2;
    while at < end {
        let (kind, length) = (number(at, 2), number(at + 2, 2));
        if kind == 43 {
            let list = &hello[at + 5..at + 4 + length];
            return list.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        }
        at += 4 + length;
    }
    Vec::new()
}

/// Contract 12.7 (RFC 9700, section 2.6; BCP 195): 1.3 and 1.2.
#[tokio::test(flavor = "multi_thread")]
async fn outgoing_tls_is_1_2_or_newer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hello = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 5];
        stream.read_exact(&mut hello).unwrap();
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        hello.resize(5 + length, 0);
        stream.read_exact(&mut hello[5..]).unwrap();
        hello
    });
    let app = TestApp::builder().other_apis(api(port, "localhost")).start().await;
    let response = app.signed_in(ADA).await.fetch("GET", "/api/tls/me").await;
    assert_eq!((response.status, response.code()), (502, "upstream_unavailable"));
    let mut versions = offered_versions(&hello.join().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, [0x0303, 0x0304]);
}
