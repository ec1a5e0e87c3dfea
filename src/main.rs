//! The binary: environment → configuration → app → serve.

use std::process::ExitCode;

use cloakroom::app::App;
use cloakroom::config::{Config, Faults, Vars};
use cloakroom::{server, telemetry};
use tokio::runtime::Builder;

/// The configuration or the command line is wrong (`sysexits.h`).
const USAGE: u8 = 64;
/// The system does not give what the process needs.
const OS_ERROR: u8 = 71;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => serve(),
        ["check"] => check(),
        _ => complain("usage: cloakroom [check]"),
    }
}

fn serve() -> ExitCode {
    let config = match Config::from_vars(&Vars::of_process()) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults),
    };
    telemetry::start(config.log);
    telemetry::report_panics_without_their_text();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return ExitCode::from(OS_ERROR) };
    runtime.block_on(async {
        let port = config.port;
        match server::bind(port).await {
            Ok(listener) => server::run(listener, App::new(config)).await,
            Err(error) => {
                tracing::error!(port, %error, "cannot listen; is the port taken?");
                ExitCode::from(OS_ERROR)
            }
        }
    })
}

fn check() -> ExitCode {
    match Config::from_vars(&Vars::of_process()) {
        Ok(config) => {
            let warnings: String = config.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            telemetry::say(&format!("{warnings}the configuration is good"));
            ExitCode::SUCCESS
        }
        Err(faults) => refuse(&faults),
    }
}

fn refuse(faults: &Faults) -> ExitCode {
    complain(&faults.to_string())
}

fn complain(text: &str) -> ExitCode {
    telemetry::complain(text);
    ExitCode::from(USAGE)
}
