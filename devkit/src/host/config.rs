//! What a project's files and app settings say.

mod functions;
mod host_json;
mod route;
mod schedule;
mod settings;
mod watch;

use std::io;

pub(super) use self::functions::{Functions, HttpFunction, TimerFunction};
pub(super) use self::host_json::{Description, HostConfig};
pub(super) use self::schedule::{Time, dotnet_time};
pub(super) use self::settings::{Settings, add_local, environment, expand, is_on};
pub(super) use self::watch::Watcher;
use super::options::Options;

/// Reads `host.json`, which some options override, and every `function.json`.
pub(super) fn load(options: &Options, settings: &Settings) -> io::Result<(HostConfig, Functions)> {
    let text = std::fs::read_to_string(options.root.join("host.json"))
        .map_err(|error| io::Error::new(error.kind(), format!("host.json cannot be read: {error}")))?;
    let mut config = host_json::parse(&text, settings)?;
    config.mode = options.mode.unwrap_or(config.mode);
    config.functions = options.functions.clone().or(config.functions);
    config.max_outstanding = options.max_outstanding.or(config.max_outstanding);
    let functions = functions::load(functions::read(&options.root)?, &config, settings);
    Ok((config, functions))
}
