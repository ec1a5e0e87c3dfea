//! `cargo dev …`: the commands that developers run.

use std::process::ExitCode;

use devkit::commands::{bench, check, check_infra, package, soak, up};
use devkit::host;

const USAGE: &str = "usage: cargo dev <command>

  up [--mode forward|proxy]   the sample page, the gateway and stand-ins for all else; prints the address to open
     [--verbose]              also prints the log of host and gateway
  up --stand-ins              the stand-ins alone, for `func start`
  test [--all]                every test; --all fails where a part cannot run on this machine
  check-infra                 the package, templates, workflows, functions and the commands in our pages, without Azure
  soak [NAME …]               what takes minutes: rotations, outages and floods, with their figures
  bench [--load|--keys|--parts|--cold]  what a call costs beside nginx, what keys, parts and a cold start cost
  package [--target TRIPLE]   the app as it is deployed: dist/app/ and dist/app.zip; --verify also starts it
  host …                      the stand-in for the Functions host alone; `cargo dev host --help` tells its options";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let code = match command.as_str() {
        "up" => up::run(&rest).await,
        "test" => check::run(&rest),
        "check-infra" => check_infra::run(&rest),
        "soak" => soak::run(&rest),
        "bench" => bench::run(&rest).await,
        "package" => package::run(&rest),
        "host" => host::run(rest).await,
        _ => {
            eprintln!("{USAGE}");
            2
        }
    };
    ExitCode::from(code)
}
