//! A gateway outside Functions with two threads under load, in turns with two gateways at once that have one thread
//! each, one on each core: processor time per call, and how the threads share it. Client and API use the cores in both
//! turns, so that the difference is what threads of one process cost each other.

use std::fs;

use serde_json::{Value, json};

use super::super::Result;
use super::load::{ROUNDS, middle};
use super::peers::{MEASURED, OTHERS};
use super::stage::{Server, Stage, Turn, machine, turn_at_once};
use super::verdict;

const CONNECTIONS: u32 = 64;
/// The bar for the processor time of a call with two threads over that with one.
const BAR: f64 = 1.1;

pub(super) async fn run() -> Result<()> {
    let stage = Stage::start(None).await?;
    let of_threads = |count: &str| vec![("CLOAKROOM_LISTEN", String::new()), ("CLOAKROOM_THREADS", count.to_owned())];
    let two = stage.gateway_on(&format!("{MEASURED},{OTHERS}"), 1, 1, &of_threads("2")).await?;
    let first = stage.gateway_on(MEASURED, 1, 1, &of_threads("1")).await?;
    let second = stage.gateway_on(OTHERS, 1, 1, &of_threads("1")).await?;
    let mut rounds: Vec<[Turn; 2]> = Vec::new();
    for round in 0..=ROUNDS {
        // The order alternates, since the earlier turn affects the later one.
        let earlier = if round % 2 == 0 { Some(turn(&[&two]).await?) } else { None };
        let ones = turn(&[&first, &second]).await?;
        let twos = match earlier {
            Some(turn) => turn,
            None => turn(&[&two]).await?,
        };
        rounds.push([twos, ones]);
    }
    rounds.remove(0);
    let of = |side: fn(&[Turn; 2]) -> f64| middle(rounds.iter().map(side).collect());
    let processor = of(|[twos, ones]| twos.processor / ones.processor);
    let calls: u64 = rounds.iter().flatten().map(|turn| turn.load.calls).sum();
    println!("600 B, 64 connections, one process with two threads over two processes with one ({calls} calls)");
    println!(
        "  processor time a call, µs  {:.1} {:.1}",
        of(|[twos, _]| twos.processor),
        of(|[_, ones]| ones.processor)
    );
    println!("  ratio of the processor time {processor:.3}   the bar is {BAR}: {}", verdict(processor <= BAR));
    println!("  ratio of calls a second     {:.3}", of(|[twos, ones]| twos.load.rate / ones.load.rate));
    let shares = shares(&two)?;
    println!("  each thread's share of the processor time of the gateway with two: {shares}");
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "processor_ratio": processor, "shares": shares}));
    Ok(())
}

/// A turn of all connections, divided among servers.
async fn turn(servers: &[&Server]) -> Result<Turn> {
    turn_at_once(servers, "/graph/me", CONNECTIONS / u32::try_from(servers.len())?).await
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
