//! `cargo dev bench`: the cost of calls beside a plain nginx, with sessions in cookies and in Redis, and with two
//! threads beside one; of opening a session with many keys; and of a cold start. And its counts, which have bars.

mod client;
mod cold;
mod counts;
mod gateway;
mod load;
mod memory;
mod peers;
mod stage;
mod store;
mod threads;
pub mod training;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::stack::{Keys, Options, Store};
use super::{Result, cargo, exit_code, root, target, usage};

const USAGE: &str = "usage: cargo dev bench [--threads | --keys | --parts]
       cargo dev bench (--load | --store | --cold | --memory | --counts) [--binary PATH]

  --binary PATH  an existing binary, such as one that was built by a profile; for counts, one with the names of its
                 functions";
/// The bar for an opening with many keys over one with one key.
const KEYS_BAR: f64 = 1.03;

/// Returns the exit code: 0 whatever the figures are, but 1 if a count exceeds its bar.
pub async fn run(arguments: &[&str]) -> u8 {
    let (part, binary) = match arguments {
        [] => return exit_code(all().await),
        [part] => (*part, None),
        [part, "--binary", path] => (*part, Some(Path::new(*path))),
        _ => return usage(USAGE),
    };
    exit_code(match (part, binary) {
        ("--cold", _) => cold::run(binary).await,
        ("--counts", _) => counts::run(binary).await,
        ("--load", _) => load::run(binary).await,
        ("--memory", _) => memory::run(binary).await,
        ("--store", _) => store::run(binary).await,
        ("--threads", None) => threads::run().await,
        ("--keys", None) => opening(),
        ("--parts", None) => parts(),
        _ => return usage(USAGE),
    })
}

async fn all() -> Result<()> {
    load::run(None).await?;
    store::run(None).await?;
    threads::run().await?;
    opening()?;
    parts()?;
    cold::run(None).await?;
    memory::run(None).await?;
    counts::run(None).await
}

/// Runs `benches/parts.rs`, which prints its figures.
fn parts() -> Result<()> {
    println!("Building and running benches/parts.rs …");
    let run = ["run", "--release", "--quiet", "--package", "benches", "--bin", "parts", "--", "--bench"];
    if cargo().args(run).status()?.success() { Ok(()) } else { Err("benches/parts.rs failed".into()) }
}

/// Runs `benches/opening.rs`, and prints its figures as a table and as JSON.
fn opening() -> Result<()> {
    println!("Building and running benches/opening.rs …");
    let output = cargo()
        .args(["run", "--release", "--quiet", "--package", "benches", "--bin", "opening"])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{')).ok_or("benches/opening.rs printed no figures")?;
    let figures: Value = serde_json::from_str(line)?;
    let number = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
    println!("opening a session cookie        ns");
    println!("  1 key in the ring      {:>9.0}", number("one_key_ns"));
    println!("  {:.0} keys in the ring    {:>9.0}", number("keys"), number("many_keys_ns"));
    let ratio = number("ratio");
    println!("  ratio                  {ratio:>9.4}   the bar is {KEYS_BAR}: {}", verdict(ratio <= KEYS_BAR));
    println!("{line}");
    Ok(())
}

/// An existing binary, or one that is built.
fn binary_or(existing: Option<&Path>, build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    existing.map_or_else(build, |path| Ok(std::path::absolute(path)?))
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

fn stack_options(binary: &Path) -> Options {
    let keys = Keys::File(target().join("devkit/bench-keys.json"));
    let (root, binary, store) = (root(), Some(binary.to_owned()), Store::Cookie);
    Options { root, binary, keys, store, mode: None, ports: [0; 3], print: false }
}
