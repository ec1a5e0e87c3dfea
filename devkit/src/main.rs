//! `cargo dev …`

use std::process::ExitCode;

use devkit::commands::{
    bench, check, check_dependencies, check_infra, image, package, release, release_folder, soak, up,
};
use devkit::host;

const USAGE: &str = "usage: cargo dev <command>

  up [--mode forward|proxy]   starts the gateway with sample page and stand-ins, and prints the address to open
     [--store redis]          with sessions in a Redis server; it needs redis-server
     [--verbose]              also prints the log of host and gateway
  up --stand-ins              starts the stand-ins only, for `func start`; also with --store redis
  test [--all]                runs every test; --all fails if a part cannot run on this machine
  check-dependencies          checks licences, sources and bans of dependencies
     [--advisories]           checks their advisories instead, with the network
  check-infra                 checks package, image, templates, workflows and the commands in the docs, without Azure
     [--require-bicep]        fails if there is no Bicep compiler; it is used wherever there is one
     [--update-snapshots]     writes the snapshots of deployments by the Bicep compiler
  soak [NAME …]               runs the long tests: rotations, outages, floods, sessions in Redis
  bench [--load|--store|--threads|--keys|--parts|--cold]  measures calls beside nginx, with sessions in cookies and
                              in Redis, and with two threads; opening with many keys, parts, and cold starts
  bench --memory              measures memory with idle connections and with refreshed sessions
  bench --counts              fails if a proxied call costs more instructions, system calls or allocations
  package [--target TRIPLE]   makes the deployment package in dist/; --verify also runs it
  profile                     records how often each part of the gateway runs, for package --profile-use FILE
  image [--platform PLATFORM] makes the container image in dist/, for linux/amd64 and linux/arm64; --verify also runs it
  release --dry-run           makes what this machine can make of a release, in dist/release/
     [--archive TRIPLE]       makes the archive for one target only
  host …                      runs the stand-in for the Functions host; `cargo dev host --help` lists its options";

/// What a release can do without the sources.
const USAGE_OF_RELEASE: &str = "usage: cloakroom-dev <command>

  up [--mode forward|proxy]   starts the gateway with sample page and stand-ins, and prints the address to open
     [--store redis]          with sessions in a Redis server; it needs redis-server
     [--verbose]              also prints the log of host and gateway
  up --stand-ins              starts the stand-ins only, for `func start`; also with --store redis
  host …                      runs the stand-in for the Functions host; `cloakroom-dev host --help` lists its options";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let code = match arguments.as_slice() {
        ["up", options @ ..] => up::run(options).await,
        ["host", options @ ..] => host::run(options.iter().map(ToString::to_string)).await,
        _ if release_folder().is_some() => {
            eprintln!("{USAGE_OF_RELEASE}");
            2
        }
        ["test", options @ ..] => check::run(options),
        ["check-dependencies", options @ ..] => check_dependencies::run(options),
        ["check-infra", options @ ..] => check_infra::run(options),
        ["soak", names @ ..] => soak::run(names),
        ["bench", options @ ..] => bench::run(options).await,
        ["release", options @ ..] => release::run(options),
        ["profile", options @ ..] => bench::training::run(options).await,
        ["package", options @ ..] => package::run(options),
        ["image", options @ ..] => image::run(options),
        _ => {
            eprintln!("{USAGE}");
            2
        }
    };
    ExitCode::from(code)
}
