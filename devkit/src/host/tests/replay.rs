//! Replays what was recorded from the real host, in both modes.
//!
//! Order and spelling of header names are not compared.

mod client;
mod excluded;
mod handler;
mod vectors;

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use self::excluded::EXCLUDED;
use self::handler::ReplayHandler;
use self::vectors::{Recording, Vector};
use super::support::{Project, started};
use crate::host::Mode::{Forward, Proxy};

/// Many vectors only wait for retries and pauses.
const CONCURRENCY: usize = 24;

/// The functions that the recording lists.
fn project(recording: &Recording) -> Project {
    let project = Project::new();
    for (name, function) in &recording.functions {
        let mut trigger = json!({
            "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": function["route"],
        });
        if function["methods"].is_array() {
            trigger["methods"] = function["methods"].clone();
        }
        let output = json!({"type": "http", "direction": "out", "name": "res"});
        let bindings = if function["http output"] == true { json!([trigger, output]) } else { json!([trigger]) };
        project.bind(name, &bindings);
    }
    project
}

/// The differences between a vector and this host; empty if there are none.
async fn replay(root: &Path, vector: &Vector, forward: bool) -> String {
    let handler = ReplayHandler::start(vector.answer.clone()).await;
    let mut options = crate::host::Options::new(root);
    options.mode = Some(if forward { Forward } else { Proxy });
    options.env.insert("AzureWebJobsDisableHomepage".to_owned(), "true".to_owned());
    let host = started(options, handler.port).await;
    handler.forget_pings();
    let got = client::exchange(host.addr(), vector).await;
    handler.wait_for_requests(vector.handler["seen"].as_u64().unwrap()).await;
    tokio::time::sleep(vector.settle).await;
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: &Value, got: &Value| {
        if expected != got {
            differences.push(format!("{what}: expected {}, got {}", shortened(expected), shortened(got)));
        }
    };
    compare("client", &vector.client, &got);
    compare("handler", &vector.handler, &handler.seen(vector.handler.get("pings").is_some()));
    differences.join("; ")
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text.chars().take(1_500).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { text }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_host_answers_as_the_recorded_one_does() {
    let recording = Recording::read();
    let project = project(&recording);
    let differing: BTreeMap<String, String> = stream::iter(&recording.vectors)
        .map(|(vector, forward)| {
            let root = project.root();
            async move {
                let name = format!("{}, {}", vector.name, if *forward { "forward" } else { "proxy" });
                (name, replay(root, vector, *forward).await)
            }
        })
        .buffer_unordered(CONCURRENCY)
        .filter(|(_, differences)| std::future::ready(!differences.is_empty()))
        .collect()
        .await;
    let excluded: BTreeMap<_, _> = EXCLUDED
        .iter()
        .flat_map(|(reason, names)| names.iter().map(move |name| ((*name).to_owned(), *reason)))
        .collect();
    for (name, differences) in differing.iter().filter(|(name, _)| !excluded.contains_key(*name)) {
        eprintln!("{name}\n    {differences}");
    }
    let unexpected = differing.keys().filter(|name| !excluded.contains_key(*name)).count();
    let obsolete: Vec<_> = excluded.keys().filter(|name| !differing.contains_key(*name)).collect();
    assert_eq!(unexpected, 0, "vectors differ");
    assert!(obsolete.is_empty(), "excluded, but answered as recorded: {obsolete:?}");
}
