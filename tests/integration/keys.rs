//! A file ring with several keys: every usable key opens, the active one seals.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::os::private_file_options;
use serde_json::json;

use crate::app::TestApp;

const ADA: &str = "ada.lovelace@contoso.example";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn entry(number: u8, created: u64, enabled: bool) -> serde_json::Value {
    json!({
        "id": format!("{number:02x}").repeat(16), "value": URL_SAFE_NO_PAD.encode([number; 32]), "enabled": enabled,
        "created": created, "not_before": null, "expires": null, "tags": {},
    })
}

fn write(path: &Path, keys: &[serde_json::Value]) {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let mut file = private_file_options().write(true).create(true).truncate(true).open(&fresh).unwrap();
    file.write_all(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

/// The number of the key that sealed a session cookie.
fn sealed_by(visitor: &crate::visitor::Visitor) -> u8 {
    URL_SAFE_NO_PAD.decode(&visitor.jar["__Host-Http-cloakroom"]).unwrap()[1]
}

async fn app_with(path: &Path) -> TestApp {
    let settings = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", path.display().to_string());
    settings.set("KEY_REFRESH", "1s").set("CLOCK_SKEW", "1s").set("KEY_PROPAGATION", "1h").start().await
}

#[tokio::test]
async fn the_newest_propagated_key_seals_and_all_usable_ones_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let hour = 3_600;
    write(&path, &[entry(1, now() - 4 * hour, true)]);
    let app = app_with(&path).await;
    let mut first = app.signed_in(ADA).await;
    assert_eq!(sealed_by(&first), 1);
    let ring = [
        entry(1, now() - 4 * hour, true),
        entry(2, now() - 2 * hour, true),
        entry(3, now(), true),
        entry(4, now() - 3 * hour, false),
    ];
    write(&path, &ring);
    let started = std::time::Instant::now();
    let mut second = loop {
        let visitor = app.signed_in(ADA).await;
        if sealed_by(&visitor) != 1 {
            break visitor;
        }
        assert!(started.elapsed() < crate::app::PATIENCE, "the new key is not read: {}", app.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(sealed_by(&second), 2, "neither the one still propagating nor the disabled one");
    let older = first.jar.clone();
    assert_eq!(first.fetch("GET", "/graph/me").await.status, 200, "the older key opens");
    assert_eq!(sealed_by(&first), 2, "and the session is re-sealed");
    first.jar.clone_from(&older);
    assert_eq!(second.fetch("GET", "/graph/me").await.status, 200);
    write(&path, &[entry(1, now() - 4 * hour, false), entry(2, now() - 2 * hour, true)]);
    let started = std::time::Instant::now();
    while first.fetch("GET", "/graph/me").await.status == 200 {
        assert!(started.elapsed() < crate::app::PATIENCE, "a disabled key still opens: {}", app.log());
        first.jar.clone_from(&older);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(first.fetch("GET", "/graph/me").await.code(), "session_expired");
    assert_eq!(second.fetch("GET", "/graph/me").await.status, 200, "only its own sessions end");
}

#[tokio::test]
async fn a_missing_key_file_signs_no_user_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    write(&path, &[entry(1, 1_000, true)]);
    let app = app_with(&path).await;
    let mut visitor = app.signed_in(ADA).await;
    std::fs::remove_file(&path).unwrap();
    let started = std::time::Instant::now();
    while app.visitor().get("/health/ready").await.json()["down"][0] != "keys" {
        assert!(started.elapsed() < crate::app::PATIENCE, "{}", app.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    app.signed_in(ADA).await;
    assert_eq!(app.visitor().get("/health/ready").await.status, 200, "a later outage does not change the status");
}
