//! The binary: environment → configuration → app → serve.

use std::ffi::OsString;
use std::process::ExitCode;

use cloakroom::app::App;
use cloakroom::command::{self, OS_ERROR};
use cloakroom::config::{Config, Vars};
use cloakroom::store::StoreConfig;
use cloakroom::{os, server, telemetry};

#[global_allocator]
static ALLOCATOR: os::Allocator = os::Allocator;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let vars = Vars::of_process();
    if arguments.is_empty() { serve(&vars) } else { command::run(&arguments, &vars) }
}

fn serve(vars: &Vars) -> ExitCode {
    let config = match Config::for_serving(vars) {
        Ok(config) => config,
        Err(errors) => return command::invalid_configuration(&errors),
    };
    let _log = telemetry::start(config.log);
    telemetry::log_panics_without_their_text();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if matches!(config.store, StoreConfig::Cookie) {
        tracing::info!(
            "sessions are stored in cookies: several instances need a provider whose refresh tokens can be used more \
             than once, such as Entra ID, or a Redis URL in CLOAKROOM_STORE; see docs/store.md"
        );
    }
    warn_of_few_open_files(config.listen.limits.all);
    let runtime = match command::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let code = runtime.block_on(async {
        // Before the port is open: a signal without a handler would end the process at once.
        let end = os::termination();
        let served = async { server::run(server::bind(&config.listen)?, App::new(config), end).await };
        served.await.unwrap_or_else(|error| {
            tracing::error!("{error}");
            ExitCode::from(OS_ERROR)
        })
    });
    // A lookup of a name or a lock of a file may hang in a thread of the runtime (contract 17.6).
    runtime.shutdown_background();
    code
}

/// A request in flight has a connection to its client and one to its API.
fn warn_of_few_open_files(max_in_flight: usize) {
    let needed = max_in_flight as u64 * 2 + 100;
    match os::raise_open_files() {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "too few files may be open for CLOAKROOM_MAX_IN_FLIGHT; raise the hard limit (ulimit -n, LimitNOFILE)"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}
