//! A gateway outside Functions with two threads under load, in turns with one that has a single thread: processor time
//! per call, and how the threads share it. Both may use both cores, which client and API use too.

use std::fs;

use serde_json::{Value, json};

use super::super::Result;
use super::load::{Comparison, ROUNDS, Server, Stage, machine};
use super::peers::{MEASURED, OTHERS};

const CONNECTIONS: u32 = 64;
/// The bar for the processor time of a call with two threads over that with one.
const BAR: f64 = 1.1;

pub(super) async fn run() -> Result<()> {
    let stage = Stage::start().await?;
    let cores = format!("{MEASURED},{OTHERS}");
    let of_threads = |count: &str| vec![("CLOAKROOM_LISTEN", String::new()), ("CLOAKROOM_THREADS", count.to_owned())];
    let one = stage.gateway_on(&cores, 1, 1, &of_threads("1")).await?;
    let two = stage.gateway_on(&cores, 1, 1, &of_threads("2")).await?;
    let comparison = Comparison {
        what: "600 B, 64 connections, two threads over one",
        path: "/graph/me",
        connections: CONNECTIONS,
        sides: [&two, &one],
        processor_bar: Some(BAR),
        p99_bar: None,
    };
    let found = comparison.run().await?;
    let shares = shares(&two)?;
    println!("  each thread's share of the processor time of the gateway with two: {shares}");
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "threads": found, "shares": shares}));
    stage.stop().await;
    Ok(())
}

/// The shares of the threads that serve.
fn shares(server: &Server) -> Result<Value> {
    let process = server.process_id();
    let mut times = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        let name = fs::read_to_string(thread.path().join("comm"))?;
        let is_main = thread.file_name().to_string_lossy() == process.to_string();
        if is_main || name.starts_with("serve-") {
            let text = fs::read_to_string(thread.path().join("schedstat"))?;
            times.push(text.split_whitespace().next().ok_or("schedstat is empty")?.parse::<f64>()?);
        }
    }
    let sum: f64 = times.iter().sum();
    Ok(times.iter().map(|time| time / sum).collect())
}
