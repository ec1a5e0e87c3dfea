//! `cargo dev soak`: the long tests. Each scenario is an ignored test that is run by name, and whose figures are
//! printed as a table.

use std::process::Stdio;
use std::time::Instant;

use super::check::summary;
use super::{Result, build_release, cargo, usage};

/// Name, whether it needs the release binary, and description.
const SCENARIOS: [(&str, bool, &str); 11] = [
    ("opens", false, "cookies of the library at instances of different views, the time simulated"),
    ("rotation", false, "four instances of the debug binary over one vault while the keys rotate"),
    ("faults", false, "every failure of a vault for a minute, met by three instances of the debug binary"),
    ("framing", false, "a thousand rounds of requests with ambiguous framing, at the debug binary"),
    ("streams", false, "100 MB up and down through the debug binary"),
    ("refreshes", false, "memory of the library over 100,000 refreshes"),
    ("attacks", false, "slow posts, parameters, stalled readers and one user's calls at the debug binary"),
    ("connections", false, "1,000 idle, slow and half-open connections for ten minutes, at the debug binary"),
    ("outages", false, "a provider that hangs, refuses connections or fails for a minute, at the debug binary"),
    ("store", false, "50 tabs of three users on four instances of the debug binary over one Redis while tokens expire"),
    ("flood", true, "made-up key ids at one instance of the release binary"),
];

/// The test of `refreshes`, which needs private parts of the library.
const REFRESHES: &str = "tokens::tests::memory_does_not_grow_over_100_000_refreshes";

/// Runs the named scenarios, or all. Returns the exit code: 0 only if all bars hold.
#[must_use]
pub fn run(names: &[&str]) -> u8 {
    if !names.iter().all(|name| SCENARIOS.iter().any(|(known, ..)| known == name)) {
        let list: String = SCENARIOS.iter().map(|(name, _, what)| format!("\n  {name:<10} {what}")).collect();
        return usage(&format!("usage: cargo dev soak [NAME …]{list}"));
    }
    let begun = Instant::now();
    let mut parts = Vec::new();
    for (name, release, what) in SCENARIOS.into_iter().filter(|(name, ..)| names.is_empty() || names.contains(name)) {
        println!("\n== {name}: {what}");
        let begun = Instant::now();
        let outcome = scenario(name, release);
        if let Err(error) = &outcome {
            println!("{error}");
        }
        println!("== {name}: {} s", begun.elapsed().as_secs());
        parts.push((name, outcome.is_ok()));
    }
    summary(begun, &parts)
}

fn scenario(name: &str, release: bool) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet"]);
    let test = if name == "refreshes" {
        command.args(["--package", "cloakroom", "--lib"]);
        REFRESHES.to_owned()
    } else {
        command.args(["--test", "integration"]);
        format!("soak::{name}::long")
    };
    command.args(["--", "--ignored", "--exact", "--nocapture", &test]);
    if release {
        command.env("SOAK_BINARY", build_release(None)?);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print_figures(&text);
    // A renamed test would otherwise pass by not running.
    if output.status.success() && text.contains("1 passed") { Ok(()) } else { Err(text.into()) }
}

/// Prints the lines `figure`, what, value, bar, separated by tabs. The test harness may have begun the line.
fn print_figures(text: &str) {
    for (_, figure) in text.lines().filter_map(|line| line.split_once("figure\t")) {
        let mut columns = figure.split('\t');
        let [what, value, bar] = [(); 3].map(|()| columns.next().unwrap_or_default());
        println!("  {what:<60} {value:>12}   bar {bar}");
    }
}
