//! The gateway under load, in turns with a plain nginx: processor time per call, and the slowest calls.
//!
//! The measured process has the first core for itself; client and API use the second. Processor time is the
//! scheduler's, which other work on the machine affects least.

use std::path::Path;

use serde_json::{Value, json};

use super::super::Result;
use super::gateway::LISTEN;
use super::stage::{Server, Stage, Turn, machine};
use super::verdict;

/// Counted turns of each side. One more before them is not counted.
pub(super) const ROUNDS: usize = 11;

/// Two servers with the same load in turns.
pub(super) struct Comparison<'a> {
    pub(super) what: &'static str,
    pub(super) path: &'static str,
    pub(super) connections: u32,
    /// The measured server, and its reference.
    pub(super) sides: [&'a Server; 2],
    pub(super) processor_bar: Option<f64>,
    pub(super) p99_bar: Option<f64>,
}

pub(super) async fn run(binary: Option<&Path>) -> Result<()> {
    let stage = Stage::start(binary).await?;
    let plain = stage.gateway(1, 1, &[]).await?;
    let nginx = stage.nginx(&plain)?;
    let many = stage.gateway(64, 200, &[]).await?;
    let outside = stage.gateway(1, 1, &[(LISTEN, String::new())]).await?;
    let mut found = Vec::new();
    for comparison in comparisons(&nginx, &plain, &many, &outside) {
        found.push(comparison.run().await?);
    }
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "comparisons": found}));
    Ok(())
}

fn comparisons<'a>(nginx: &'a Server, plain: &'a Server, many: &'a Server, outside: &'a Server) -> [Comparison<'a>; 5] {
    let beside_nginx = Comparison {
        what: "600 B, 16 connections, over nginx",
        path: "/graph/me",
        connections: 16,
        sides: [plain, nginx],
        processor_bar: Some(1.0),
        p99_bar: Some(1.1),
    };
    [
        Comparison {
            what: "600 B, 1 connection, over nginx",
            connections: 1,
            processor_bar: Some(1.2),
            p99_bar: Some(1.5),
            ..beside_nginx
        },
        Comparison {
            what: "64 KB, 16 connections, over nginx",
            path: "/graph/large",
            processor_bar: Some(0.9),
            p99_bar: None,
            ..beside_nginx
        },
        Comparison {
            what: "600 B, 16 connections, outside Functions, over nginx",
            sides: [outside, nginx],
            ..beside_nginx
        },
        Comparison {
            what: "64 keys and 200 patterns over 1 and 1",
            sides: [many, plain],
            processor_bar: Some(1.03),
            p99_bar: None,
            ..beside_nginx
        },
        beside_nginx,
    ]
}

impl Comparison<'_> {
    /// Prints the figures and returns them.
    pub(super) async fn run(&self) -> Result<Value> {
        let mut turns = Vec::new();
        for round in 0..=ROUNDS {
            let [ours, other] = self.sides;
            // The order alternates, since the earlier turn affects the later one.
            let pair = if round % 2 == 0 {
                let ours = ours.turn(self.path, self.connections).await?;
                [ours, other.turn(self.path, self.connections).await?]
            } else {
                let other = other.turn(self.path, self.connections).await?;
                [ours.turn(self.path, self.connections).await?, other]
            };
            turns.push(pair);
        }
        turns.remove(0);
        let median = |of: fn(&Turn) -> f64| {
            let values = |side: usize| turns.iter().filter_map(|pair| pair.get(side)).map(of).collect();
            let ratios = turns.iter().map(|[ours, other]| of(ours) / of(other)).collect();
            [middle(values(0)), middle(values(1)), middle(ratios)]
        };
        let processor = median(|turn| turn.processor);
        let p99 = median(|turn| turn.load.p99);
        let rate = median(|turn| turn.load.rate);
        let calls: u64 = turns.iter().flatten().map(|turn| turn.load.calls).sum();
        println!("{} ({calls} calls)", self.what);
        line("processor time a call, µs", processor, self.processor_bar);
        line("99th percentile, µs", p99, self.p99_bar);
        line("calls a second", rate, None);
        Ok(json!({"what": self.what, "processor_us": processor, "p99_us": p99, "calls_per_second": rate}))
    }
}

fn line(what: &str, [ours, other, ratio]: [f64; 3], bar: Option<f64>) {
    let verdict = bar.map(|bar| format!("   the bar is {bar}: {}", verdict(ratio <= bar))).unwrap_or_default();
    println!("  {what:<28}{ours:>10.1}{other:>10.1}{ratio:>8.3}{verdict}");
}

pub(super) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
