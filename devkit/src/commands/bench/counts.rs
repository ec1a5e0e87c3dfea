//! What a proxied call costs, in counts that do not depend on what else the machine does: instructions in user space,
//! system calls and allocations, on the stage of `--load`. The only benchmark that fails.

mod callgrind;
mod strace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Result, build_with_symbols, package, setup, target};
use super::stage::{Stage, machine};
use super::{binary_or, verdict};

const PATH: &str = "/graph/me";
const CONNECTIONS: u32 = 16;
/// Calls that count.
const CALLS: u32 = 3_000;

/// The bars, per call: what was measured when they were last lowered, and 2 %. A change that makes a call cheaper
/// lowers them. The aims are 100,000 instructions, 4.5 system calls and 50 allocations.
const INSTRUCTIONS: f64 = 72_800.0;
const SYSTEM_CALLS: f64 = 4.22;
const ALLOCATIONS: f64 = 35.9;
const _: () = assert!(INSTRUCTIONS <= 100_000.0 && SYSTEM_CALLS <= 4.5 && ALLOCATIONS <= 50.0);

/// A measured count and its bar.
#[derive(Debug, Clone, Copy)]
struct Count {
    what: &'static str,
    measured: f64,
    bar: f64,
}

/// Counts what this binary does, or the one that is built now.
///
/// # Errors
/// A bar is exceeded, or nothing can be counted here.
pub(super) async fn run(binary: Option<&Path>) -> Result<()> {
    if !setup::are_counts_comparable() {
        return Err(format!("the bars are for Linux on x86_64, and this is {OS} on {ARCH}").into());
    }
    if !setup::counting_programs() {
        return Err(format!("a program is missing: {}", setup::COUNTS.remedy).into());
    }
    let folder = target().join("devkit/bench/counts");
    fs::create_dir_all(&folder)?;
    let binary = binary_or(binary, || build_with_symbols(package::TARGET, &folder))?;
    let stage = Stage::of(binary).await?;
    let cost = callgrind::count(&stage, &folder).await?;
    let system_calls = strace::count(&stage, &folder).await?;
    let count = |what, measured, bar| Count { what, measured, bar };
    let counts = [
        count("instructions in user space", cost.instructions, INSTRUCTIONS),
        count("system calls", system_calls.values().sum(), SYSTEM_CALLS),
        count("allocations", cost.allocations.values().sum(), ALLOCATIONS),
    ];
    print(&counts, &system_calls, &cost.allocations);
    let exceeded: Vec<String> = counts.iter().filter_map(|count| count.exceeded(&folder)).collect();
    if exceeded.is_empty() { Ok(()) } else { Err(exceeded.join("\n").into()) }
}

impl Count {
    fn is_met(self) -> bool {
        self.measured <= self.bar
    }

    /// What is wrong if the bar is exceeded, and what to do.
    fn exceeded(self, folder: &Path) -> Option<String> {
        let Self { what, measured, bar } = self;
        let (measured, bar, folder) = (readable(measured), readable(bar), folder.display());
        let text = format!(
            "A proxied call costs {measured} {what}, and the bar is {bar}. Compare callgrind_annotate --tree=both \
             {folder}/callgrind.out.1 and {folder}/strace-many-1.txt with those of the version before, and remove what was \
             added. {} has the bars.",
            file!()
        );
        (!self.is_met()).then_some(text)
    }
}

/// Prints the figures as a table and as JSON.
fn print(counts: &[Count], system_calls: &BTreeMap<String, f64>, allocations: &BTreeMap<String, f64>) {
    println!("a proxied call, 600 B, 16 connections, the binary of cargo dev package without a profile");
    for count in counts {
        let (measured, bar) = (readable(count.measured), readable(count.bar));
        println!("  {:<28}{measured:>12}   the bar is {bar}: {}", count.what, verdict(count.is_met()));
    }
    for (what, parts) in [("system calls", system_calls), ("allocations", allocations)] {
        let parts = parts.iter().filter(|(_, count)| **count >= 0.005);
        let parts: Vec<String> = parts.map(|(name, count)| format!("{name} {count:.2}")).collect();
        println!("  {what}: {}", parts.join(", "));
    }
    println!(
        "{}",
        json!({"machine": machine(), "counts": counts.iter().map(to_json).collect::<Vec<_>>(),
        "system_calls": system_calls, "allocations": allocations})
    );
}

fn to_json(count: &Count) -> Value {
    json!({"what": count.what, "per_call": count.measured, "bar": count.bar})
}

/// Three digits after the point, but none of large numbers.
fn readable(number: f64) -> String {
    if number < 1_000.0 { format!("{number:.3}") } else { format!("{number:.0}") }
}
