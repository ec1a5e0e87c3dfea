//! `cloakroom health`: asks the running gateway, for containers without a shell (contract 17.7).

use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;

use super::{HELP, USAGE, fail, invalid_configuration, runtime};
use crate::config::{Config, Vars};
use crate::net::OutboundClients;
use crate::telemetry::print;

/// Exit code: the gateway does not respond, or not with 200.
const NO: u8 = 1;
/// Deadline for the whole exchange.
const DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: &[&str], vars: &Vars) -> ExitCode {
    let path = match arguments {
        [] => "/health/live",
        ["--ready"] => "/health/ready",
        _ => return fail(USAGE, HELP),
    };
    let addresses = match Config::address_from_vars(vars) {
        Ok(address) => address.local(),
        Err(errors) => return invalid_configuration(&errors),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let mut outcome = Err(String::new());
    for address in addresses {
        outcome = runtime.block_on(ask(&format!("http://{address}{path}")));
        if outcome.is_ok() {
            break;
        }
    }
    match outcome {
        Ok(body) => {
            print(&body);
            ExitCode::SUCCESS
        }
        Err(problem) => fail(NO, &problem),
    }
}

/// The body of a 200.
async fn ask(url: &str) -> Result<String, String> {
    let clients = OutboundClients::default();
    let client = clients.http_without_roots().ok_or("the HTTP client could not be created")?;
    let response = client.get(url).timeout(DEADLINE).send().await;
    let silent = |_| format!("the gateway does not respond at {url}; is it running, with the same settings?");
    let response = response.map_err(silent)?;
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    if status == StatusCode::OK { Ok(body) } else { Err(format!("the gateway responds {status}: {body}")) }
}
