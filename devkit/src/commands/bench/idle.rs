//! Memory of a gateway with many idle connections.

use std::fs;

use serde_json::{Value, json};

use super::super::Result;
use super::stage::Server;
use super::verdict;

const IDLE_CONNECTIONS: usize = 1_000;
/// The bar for the memory with idle connections.
const IDLE_BAR_KB: u64 = 20_000;

/// Memory of a gateway without connections, and with many idle ones, each after one call.
pub(super) fn idle(server: &Server) -> Result<Value> {
    let before = memory(server.process_id())?;
    let mut open = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        open.push(server.call_once()?);
    }
    let with = memory(server.process_id())?;
    println!("{IDLE_CONNECTIONS} idle connections");
    println!(
        "  memory (PSS): {before} kB before, {with} kB with them   the bar is {IDLE_BAR_KB}: {}",
        verdict(with <= IDLE_BAR_KB)
    );
    Ok(json!({"connections": IDLE_CONNECTIONS, "before_kb": before, "with_kb": with}))
}

/// Proportional set size in kB.
fn memory(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("there is no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
