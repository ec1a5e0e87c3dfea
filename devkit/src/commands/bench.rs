//! `cargo dev bench`: what the gateway costs beside a plain nginx, what opening a session costs with many keys, and
//! what a cold start costs.

mod cold;
mod gateway;
mod load;
mod peers;

use std::path::Path;
use std::process::Stdio;

use super::stage::{Keys, Options};
use super::{cargo, root, target};

const USAGE: &str = "usage: cargo dev bench [--load | --keys | --parts | --cold]";
/// The bar for an opening with many keys over one with one key.
const KEYS_BAR: f64 = 1.03;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Gives the exit code: 0 however fast it was, as these figures are for people to judge.
pub async fn run(arguments: &[String]) -> u8 {
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => all().await,
        ["--load"] => load::run().await,
        ["--keys"] => opening(),
        ["--parts"] => parts(),
        ["--cold"] => cold::run().await,
        _ => {
            eprintln!("{USAGE}");
            return 2;
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

async fn all() -> Outcome<()> {
    load::run().await?;
    opening()?;
    parts()?;
    cold::run().await
}

/// Runs `benches/parts.rs`, which prints for itself.
fn parts() -> Outcome<()> {
    println!("Building and running benches/parts.rs …");
    let run = ["run", "--release", "--quiet", "--package", "benches", "--bin", "parts", "--", "--bench"];
    if cargo().args(run).status()?.success() { Ok(()) } else { Err("the bench does not run".into()) }
}

/// Runs `benches/opening.rs`, which takes turns, and prints what it found as a table and as it came.
fn opening() -> Outcome<()> {
    println!("Building and running benches/opening.rs …");
    let output = cargo()
        .args(["run", "--release", "--quiet", "--package", "benches", "--bin", "opening"])
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.starts_with('{')).ok_or("the bench told nothing")?;
    let found: serde_json::Value = serde_json::from_str(line)?;
    let number = |name: &str| found.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    println!("opening a session cookie        ns");
    println!("  1 key in the ring      {:>9.0}", number("one_key_ns"));
    println!("  {:.0} keys in the ring    {:>9.0}", number("keys"), number("many_keys_ns"));
    let ratio = number("ratio");
    println!("  the one over the other {ratio:>9.4}   the bar is {KEYS_BAR}: {}", told(ratio <= KEYS_BAR));
    println!("{line}");
    Ok(())
}

const fn told(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

fn stage_options(binary: &Path) -> Options {
    let keys = Keys::File(target().join("devkit/bench-keys.json"));
    Options { root: root(), binary: Some(binary.to_owned()), keys, mode: None, ports: [0; 3], print: false }
}
