//! System calls, counted by strace: those of a process that serves many calls, less those of one that serves few.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::super::Result;
use super::super::stage::{Server, Stage};
use super::{CALLS, CONNECTIONS, PATH};

/// Calls of both processes. The second has those that count besides.
const WARM_UP: u32 = 300;
/// Processes that serve many, of which the one with the fewest system calls counts: on a busy machine a gateway waits
/// more often.
const ROUNDS: u32 = 3;
/// Longest time for strace to write its table.
const TIMEOUT: Duration = Duration::from_secs(20);

/// System calls by name, per proxied call.
pub(super) type Table = BTreeMap<String, f64>;

/// Counts them. strace starts the gateway itself, since a process may always trace its children, but others only as
/// root or where `kernel.yama.ptrace_scope` is 0.
pub(super) async fn count(stage: &Stage, folder: &Path) -> Result<Table> {
    check()?;
    let few = run(stage, &folder.join("strace-few.txt"), WARM_UP).await?;
    let mut many = Vec::new();
    for round in 1..=ROUNDS {
        many.push(run(stage, &folder.join(format!("strace-many-{round}.txt")), WARM_UP + CALLS).await?);
    }
    let least = many.into_iter().min_by_key(|table| table.values().sum::<u64>()).unwrap_or_default();
    Ok(per_call(&few, &least))
}

/// Fails with what is missing if no process may be traced.
fn check() -> Result<()> {
    let output = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let reason = reason.trim();
    Err(format!("strace cannot trace a process (ptrace): {reason}\nIn a container, allow it: --cap-add=SYS_PTRACE")
        .into())
}

/// The table of a gateway that serves so many calls.
async fn run(stage: &Stage, file: &Path, calls: u32) -> Result<BTreeMap<String, u64>> {
    let mut strace = Command::new("strace");
    // Without `-I`, it ignores signals as long as the gateway runs.
    let options = ["--interruptible=waiting", "-f", "-qq", "--summary-only", "--summary-columns=calls,name"];
    strace.args(options).arg("-o").arg(file).arg(stage.binary());
    let mut server = stage.server(strace, 1, 1, &[]).await?;
    server.calls(PATH, calls, CONNECTIONS).await?;
    stop(&mut server)?;
    Ok(parse(&fs::read_to_string(file)?)?)
}

/// Ends strace, which ends the gateway with the same signal and then writes its table.
fn stop(server: &mut Server) -> Result<()> {
    server.terminate()?;
    let begun = Instant::now();
    while !server.has_ended()? {
        if begun.elapsed() > TIMEOUT {
            return Err("strace does not end".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn per_call(few: &BTreeMap<String, u64>, many: &BTreeMap<String, u64>) -> Table {
    let of = |table: &BTreeMap<String, u64>, name| table.get(name).copied().unwrap_or_default() as f64;
    let further = many.keys().map(|name| (name.clone(), (of(many, name) - of(few, name)) / f64::from(CALLS)));
    further.filter(|(_, calls)| *calls > 0.0).collect()
}

/// Parses the summary of strace with the columns `calls` and `syscall`.
fn parse(text: &str) -> std::result::Result<BTreeMap<String, u64>, String> {
    let unknown = |what: &str| format!("unknown output of strace, {what}:\n{text}");
    let mut lines = text.lines();
    if !lines.next().is_some_and(|head| head.split_whitespace().eq(["calls", "syscall"])) {
        return Err(unknown("its head"));
    }
    let rows = lines.filter(|line| !line.starts_with('-')).map(|line| {
        let mut columns = line.split_whitespace();
        let row = (columns.next().and_then(|calls| calls.parse().ok()), columns.next(), columns.next());
        let (Some(calls), Some(name), None) = row else { return Err(unknown(line)) };
        Ok((name.to_owned(), calls))
    });
    let mut table: BTreeMap<String, u64> = rows.collect::<std::result::Result<_, String>>()?;
    let total = table.remove("total").ok_or_else(|| unknown("without a total"))?;
    if table.values().sum::<u64>() == total { Ok(table) } else { Err(unknown("whose total is not the sum")) }
}

#[cfg(test)]
mod tests;
