//! The gateway of these tests is a shell script.

#![cfg(unix)]

use std::net::Ipv4Addr;

use super::*;
use crate::web::client;

/// A page whose gateway is a script.
async fn served(script: &str) -> (RingPage, VaultAccess, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = folder.path().join("gateway");
    std::fs::write(&gateway, format!("#!/bin/sh\n{script}\n")).unwrap();
    os::set_mode(&gateway, 0o700).unwrap();
    let vault = VaultAccess::start(&folder.path().join("a/ca.pem")).await.unwrap();
    let variables = [("WHAT".to_owned(), "<b>".to_owned())].into();
    let page = RingPage::start((Ipv4Addr::LOCALHOST, 0).into(), gateway, variables, vault.clone()).await.unwrap();
    (page, vault, folder)
}

async fn request(page: &RingPage, method: &str, path: &str, origin: Option<&str>) -> (StatusCode, String) {
    let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
    let response = client::send(method, &format!("{}{path}", page.url()), &headers, "").await.unwrap();
    (response.status(), String::from_utf8(response.body().to_vec()).unwrap())
}

#[tokio::test]
async fn keys_are_shown_as_the_gateway_lists_them() {
    let list = r#"[ "$*" = "keys list --json" ] || exit 2
echo '{"keys": [{"kid": "00ff", "state": "active", "created": 1767225600, "activation": 1767225630}]}'"#;
    let (page, _vault, _folder) = served(list).await;
    let (status, text) = request(&page, "GET", "/", None).await;
    assert_eq!(status, 200);
    for part in ["<tr class=\"active\"><td><code>00ff</code><td>active<td>00:00:00 UTC", "<td>00:00:30 UTC, "] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_failure_is_shown_escaped() {
    let (page, _vault, _folder) = served("echo \"no list $WHAT\" >&2; exit 69").await;
    let (status, text) = request(&page, "GET", "/", None).await;
    assert_eq!(status, 502);
    assert!(text.contains("no list &lt;b&gt;"), "{text}");
}

#[tokio::test]
async fn only_the_button_of_the_page_adds_a_key() {
    let (page, vault, _folder) = served("exit 1").await;
    assert_eq!(vault.key_count(), 0);
    assert_eq!(request(&page, "POST", "/rotate", Some(&page.url())).await.0, 303);
    let version = vault.vault.versions("cloakroom-keys").remove(0);
    assert_eq!(version.tags.get("activate").map(String::as_str), Some("now"));
    assert_eq!(crate::web::from_base64url(&version.value).unwrap().len(), 32);
    assert_eq!(request(&page, "POST", "/rotate", Some("https://elsewhere.example")).await.0, 403);
    assert_eq!(request(&page, "GET", "/rotate", None).await.0, 404);
    assert_eq!(vault.key_count(), 1);
}

#[test]
fn times_have_their_distance_from_now() {
    assert_eq!(relative_time(100, 70), "00:01:40 UTC, in 30 s");
    assert_eq!(relative_time(100, 100), "00:01:40 UTC, 0 s ago");
    assert_eq!(relative_time(100, 700), "00:01:40 UTC, 10 min ago");
    assert_eq!(relative_time(0, 90_000), "00:00:00 UTC, 25 h ago");
}
