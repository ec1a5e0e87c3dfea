//! `cargo dev soak`: what takes minutes. Each scenario is a test that the ordinary run leaves out; it runs here by
//! name, and its figures become a table.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::{build_release, cargo};

/// Name, whether it wants the release binary, and what it does.
const SCENARIOS: [(&str, bool, &str); 7] = [
    ("opens", false, "cookies of the library at instances of different views, the time simulated"),
    ("rotation", false, "four instances of the debug binary over one vault while the keys rotate"),
    ("faults", false, "every failure of a vault for a minute, met by three instances of the debug binary"),
    ("framing", false, "a thousand rounds of requests whose framing is doubtful, at the debug binary"),
    ("streams", false, "100 MB up and down through the debug binary"),
    ("refreshes", false, "memory of the library over 100,000 refreshes"),
    ("flood", true, "made-up key ids at one instance of the release binary"),
];

/// The test behind `refreshes`.
const REFRESHES: &str = "tokens::tests::memory_does_not_grow_over_100_000_refreshes";

/// Runs the named scenarios, or all. Gives the exit code: 0 only if every bar holds.
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let known = |name: &String| SCENARIOS.iter().any(|(known, ..)| known == name);
    if !arguments.iter().all(known) {
        eprintln!("usage: cargo dev soak [NAME …]");
        for (name, _, what) in SCENARIOS {
            eprintln!("  {name:<10} {what}");
        }
        return 2;
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let mut failed = Vec::new();
    for (name, release, what) in SCENARIOS.into_iter().filter(|(name, ..)| wanted(name)) {
        println!("\n== {name}: {what}");
        let begun = Instant::now();
        if let Err(problem) = scenario(name, release) {
            println!("{problem}");
            failed.push(name);
        }
        println!("== {name}: {} s", begun.elapsed().as_secs());
    }
    for name in &failed {
        println!("FAILED: {name}");
    }
    u8::from(!failed.is_empty())
}

fn scenario(name: &str, release: bool) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "--quiet"]);
    // What only the library's own tests can reach stands among them.
    let test = if name == "refreshes" {
        command.args(["--package", "cloakroom", "--lib"]);
        REFRESHES.to_owned()
    } else {
        command.args(["--test", "integration"]);
        format!("soak::{name}::long")
    };
    command.args(["--", "--ignored", "--exact", "--nocapture", &test]);
    if release {
        command.env("SOAK_BINARY", build_release().map_err(|error| error.to_string())?);
    }
    let (passed, said) = heard(&mut command).map_err(|error| error.to_string())?;
    table(&said);
    // A scenario that was renamed would else pass by not running.
    if passed && said.contains("1 passed") { Ok(()) } else { Err(said) }
}

/// Whether a command succeeded, and its standard output; the rest goes where ours goes.
fn heard(command: &mut Command) -> std::io::Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The lines `figure`, what, value, bar, with tabs between them.
fn table(said: &str) {
    // The test harness may have begun the line.
    let figures = said.lines().filter_map(|line| line.split_once("figure\t"));
    for (_, figure) in figures {
        let mut columns = figure.split('\t');
        let [what, value, bar] = [(); 3].map(|()| columns.next().unwrap_or_default());
        println!("  {what:<60} {value:>12}   bar {bar}");
    }
}
