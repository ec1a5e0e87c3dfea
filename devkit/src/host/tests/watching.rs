//! The host starts anew when its files change.

use serde_json::json;
use tokio::time::timeout;

use super::{
    life::{alive, options, project, running},
    support::{PATIENCE, get, has_line, status, until},
};

#[tokio::test]
async fn a_changed_function_restarts_everything_on_another_port() {
    let project = project(&json!({}));
    let host = running(options(&project, &[])).await;
    let (port, pid) = (host.handler_port(), host.handler_pid().unwrap());
    project.function("all", &json!({"route": "only"}));
    until("the end of the old handler", || !alive(pid)).await;
    assert!(has_line(&host, "host.json or a function.json has changed. Restarting the host."));
    assert_ne!(host.handler_port(), port);
    // The request waits until the new handler listens.
    assert_eq!(status(&get(host.addr(), "/only").await), "200");
    assert_eq!(status(&get(host.addr(), "/other").await), "404");
    let pid = host.handler_pid().unwrap();
    project.function("more", &json!({"route": "more"}));
    until("the end of the second handler", || !alive(pid)).await;
    assert_eq!(status(&get(host.addr(), "/more").await), "200");
    let pid = host.handler_pid().unwrap();
    host.stop().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_host_whose_files_are_wrong_serves_again_when_they_are_mended() {
    let project = project(&json!({}));
    let file = project.root().join("host.json");
    let good = std::fs::read_to_string(&file).unwrap();
    let host = running(options(&project, &[])).await;
    let pid = host.handler_pid().unwrap();
    std::fs::write(&file, "{").unwrap();
    until("the end of the handler", || !alive(pid)).await;
    // The handler ends a moment before the host has judged its files.
    let refused = async {
        while status(&get(host.addr(), "/x").await) != "503" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(has_line(&host, "A host error has occurred during startup operation: host.json is no JSON"));
    std::fs::write(&file, good.replace("\"2.0\"", " \"2.0\"")).unwrap();
    let served = async {
        while status(&get(host.addr(), "/x").await) != "200" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    assert_ne!(host.handler_pid(), Some(pid));
}
