//! Instructions in user space and allocations, counted by callgrind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::super::Result;
use super::super::stage::{Server, Stage};
use super::{CALLS, CONNECTIONS, PATH};

/// Calls before the counters are set to zero.
const WARM_UP: u32 = 300;

/// Profiles, of which the one with the fewest instructions counts: on a busy machine the two segments of a response
/// arrive apart more often.
const ROUNDS: u32 = 3;

/// What one proxied call costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    /// Allocations by the function of the allocator.
    pub(super) allocations: BTreeMap<String, f64>,
}

/// Counts them in a binary with the names of its functions.
pub(super) async fn count(stage: &Stage, folder: &Path) -> Result<Cost> {
    let file = folder.join("callgrind.out");
    // Dumps have the number of the round behind this name.
    let dumps = (1..=ROUNDS).map(|round| folder.join(format!("callgrind.out.{round}")));
    for dump in dumps.clone().filter(|dump| dump.exists()) {
        fs::remove_file(dump)?;
    }
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--dump-instr=no", "--collect-jumps=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(format!("--log-file={}", folder.join("callgrind.log").display()))
        .arg(stage.binary());
    let server = stage.server(valgrind, 1, 1, &[]).await?;
    server.calls(PATH, WARM_UP, CONNECTIONS).await?;
    let mut profiles = Vec::new();
    for dump in dumps {
        control(&server, "zero")?;
        server.calls(PATH, CALLS, CONNECTIONS).await?;
        control(&server, "dump")?;
        profiles.push(parse(&fs::read_to_string(dump)?)?);
    }
    let least = profiles.into_iter().min_by_key(|profile| profile.instructions).unwrap_or_default();
    Ok(least.cost(CALLS)?)
}

/// What `callgrind_control` does, which is a script in Perl.
fn control(server: &Server, command: &str) -> Result<()> {
    let output = Command::new("vgdb").arg(format!("--pid={}", server.process_id())).arg(command).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("vgdb {command} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// The content of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Profile {
    instructions: u64,
    /// Calls of the allocator's functions from outside it.
    allocations: BTreeMap<String, u64>,
}

impl Profile {
    fn cost(self, calls: u32) -> std::result::Result<Cost, String> {
        if self.allocations.values().sum::<u64>() < u64::from(calls) {
            let advice = "The binary has no names of functions, or those of a new allocator are not in NAMES of";
            return Err(format!("the profile has less than one allocation per call. {advice} {}.", file!()));
        }
        let per_call = |count: u64| count as f64 / f64::from(calls);
        let allocations = self.allocations.into_iter().map(|(name, count)| (name, per_call(count))).collect();
        Ok(Cost { instructions: per_call(self.instructions), allocations })
    }
}

/// The prefixes of glibc, jemalloc and mimalloc, and the names of the functions that allocate.
const PREFIXES: [&str; 6] = ["__libc_", "__posix_", "_rjem_", "je_", "mi_heap_", "mi_"];
const NAMES: [&str; 15] = [
    "aligned_alloc",
    "calloc",
    "calloc_aligned",
    "malloc",
    "malloc_aligned",
    "mallocx",
    "memalign",
    "posix_memalign",
    "pvalloc",
    "rallocx",
    "realloc",
    "realloc_aligned",
    "valloc",
    "zalloc",
    "zalloc_aligned",
];

fn allocates(function: &str) -> bool {
    let name = PREFIXES.iter().find_map(|prefix| function.strip_prefix(prefix)).unwrap_or(function);
    NAMES.contains(&name)
}

/// Parses a profile of instructions by lines.
fn parse(text: &str) -> std::result::Result<Profile, String> {
    let mut profile = Profile::default();
    let mut names = BTreeMap::new();
    let (mut function, mut callee) = ("", "");
    let (mut sum, mut total) = (0, None);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let unknown = || format!("unknown line of callgrind: {line}");
        let (key, value) = line.split_once(['=', ' ']).unwrap_or((line, ""));
        match key {
            "events:" if value != "Ir" => return Err(unknown()),
            "positions:" if value != "line" => return Err(unknown()),
            "totals:" => total = Some(value.trim().parse::<u64>().map_err(|_| unknown())?),
            "fn" => function = name(&mut names, value).ok_or_else(unknown)?,
            "cfn" => callee = name(&mut names, value).ok_or_else(unknown)?,
            "calls" => {
                let calls: u64 = first_number(value).ok_or_else(unknown)?;
                if allocates(callee) && !allocates(function) {
                    *profile.allocations.entry(callee.to_owned()).or_default() += calls;
                }
                // The cost of the callee, which is counted with the callee.
                lines.next();
            }
            _ if key.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) => {
                sum += first_number(value).ok_or_else(unknown)?;
            }
            _ => {}
        }
    }
    let total = total.ok_or("the profile of callgrind is cut off: it has no total")?;
    if sum != total {
        return Err(format!("the profile of callgrind has {sum} instructions, but a total of {total}"));
    }
    Ok(Profile { instructions: total, ..profile })
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The name of a function: written as `(number) name` the first time, and as `(number)` after that. A recursive call
/// has a `'` and its depth at the end.
fn name<'a>(names: &mut BTreeMap<&'a str, &'a str>, value: &'a str) -> Option<&'a str> {
    let (number, name) = value.split_once(' ').unwrap_or((value, ""));
    if !name.is_empty() {
        names.insert(number, name.split('\'').next().unwrap_or(name));
    }
    names.get(number).copied()
}

#[cfg(test)]
mod tests;
