//! What a project's files and app settings say.

mod functions;
mod host_json;
mod route;
mod schedule;
mod settings;
mod watch;

use std::{io, path::Path};

pub(super) use self::{
    functions::{Functions, HttpFunction, TimerFunction},
    host_json::{Description, HostConfig},
    schedule::{Time, dotnet_time},
    settings::{Settings, add_local, environment, expand, is_on},
    watch::Watcher,
};

/// Reads `host.json` and every `function.json`. `selected` wins over the functions that `host.json` selects.
pub(super) fn load(
    root: &Path,
    settings: &Settings,
    selected: Option<&Vec<String>>,
) -> io::Result<(HostConfig, Functions)> {
    let text = std::fs::read_to_string(root.join("host.json"))
        .map_err(|error| io::Error::new(error.kind(), format!("host.json cannot be read: {error}")))?;
    let mut config = host_json::parse(&text, settings)?;
    if let Some(selected) = selected {
        config.functions = Some(selected.clone());
    }
    let functions = functions::load(functions::read(root)?, &config, settings);
    Ok((config, functions))
}
