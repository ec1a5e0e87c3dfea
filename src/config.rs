//! Application settings to types: the one place that knows variable names. All faults are told at once, by name and
//! without the value.

mod parse;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::api_map::ApiMap;
use crate::keyring::{KeySource, states};
use crate::net::OutboundClients;
use crate::session::{Limits, cookie};
use crate::{auth, oidc, spa, telemetry, tokens};
pub use settings::{SETTINGS, Setting, documentation};

/// Prefix of every setting.
pub const PREFIX: &str = "CLOAKROOM_";

/// Variables by name. Tests pass a map; nothing else reads the process.
#[derive(Debug, Default)]
pub struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The variables of this process. One that is not Unicode counts as absent.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable; empty counts as absent, as application settings are often cleared that way.
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Vars {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// What is wrong with one variable. Never holds its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Full name of the variable.
    pub name: String,
    /// What it should be.
    pub problem: String,
}

/// Everything that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration:")?;
        self.0.iter().try_for_each(|ConfigError { name, problem }| write!(f, "\n  {name} {problem}"))
    }
}

/// Where keys come from, and how they live.
#[derive(Debug)]
pub struct Keys {
    /// The source.
    pub source: Arc<dyn KeySource>,
    /// The parameters of a key's life.
    pub parameters: states::Parameters,
    /// How often the source is asked.
    pub refresh: Duration,
}

/// Everything that is configured, each part in the type of the module that owns it.
#[derive(Debug)]
pub struct Config {
    /// Where the host calls.
    pub port: u16,
    /// Signing in and out.
    pub auth: auth::Config,
    /// The provider and this client.
    pub provider: oidc::provider::Config,
    /// The keys.
    pub keys: Keys,
    /// The cookies.
    pub cookies: cookie::SessionCookies,
    /// How long sessions live.
    pub sessions: Limits,
    /// When tokens are renewed, and what is asked for each API.
    pub tokens: tokens::Config,
    /// The API map.
    pub apis: Arc<ApiMap>,
    /// Where the SPA is.
    pub spa: Option<spa::Spa>,
    /// The logs.
    pub log: telemetry::Config,
    /// Outgoing connections, shared with the source of the keys.
    pub net: Arc<OutboundClients>,
    /// What is allowed but risky.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// Every fault found.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigErrors> {
        parse::ConfigParser::new(vars).read()
    }

    /// Reads the settings of the key ring alone, for the commands that need no more.
    ///
    /// # Errors
    /// Every fault found among them.
    pub fn keys_from_vars(vars: &Vars) -> Result<Keys, ConfigErrors> {
        parse::ConfigParser::new(vars).read_keys()
    }
}

/// The folder of the app: where the host says it is, else here.
fn app_root(vars: &Vars) -> PathBuf {
    vars.get("FUNCTIONS_APP_ROOT_PATH").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

#[cfg(test)]
mod tests;
