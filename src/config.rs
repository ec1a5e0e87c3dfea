//! Application settings → the `Config` of each module. The only module that knows variable names. Errors are reported
//! all at once, by name and without the value (contract 12.2).

mod parse;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::api_map::ApiMap;
use crate::keyring::{KeySource, states};
use crate::net::OutboundClients;
use crate::reply::CommonHeaders;
use crate::session::{Limits, cookie};
use crate::store::StoreConfig;
use crate::{auth, listen, oidc, spa, telemetry, tokens};
pub use settings::{SETTINGS, Setting, documentation};

/// Prefix of every setting.
pub const PREFIX: &str = "CLOAKROOM_";

/// Environment variables by name. Only [`Vars::of_process`] reads the process; tests pass a map.
#[derive(Debug, Default)]
pub struct Vars {
    values: BTreeMap<String, String>,
    /// The names of settings whose values are not Unicode.
    not_unicode: Vec<String>,
}

impl Vars {
    /// The variables of this process. One that is not Unicode counts as absent, unless it is a setting.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    fn from_os(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut vars = Self::default();
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => _ = vars.values.insert(name, value),
                (Ok(name), Err(_)) if name.starts_with(PREFIX) => vars.not_unicode.push(name),
                _ => {}
            }
        }
        vars
    }

    /// The value of a variable. An empty one counts as absent, because that is how application settings are often
    /// cleared.
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Vars {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { values: variables.into_iter().collect(), not_unicode: Vec::new() }
    }
}

/// One invalid variable. Never contains its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Full name of the variable.
    pub name: String,
    /// What is wrong and what to do; the sentence begins with the name.
    pub problem: String,
}

/// All invalid variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration:")?;
        self.0.iter().try_for_each(|ConfigError { name, problem }| write!(f, "\n  {name} {problem}"))
    }
}

/// The key source and the parameters of the keys' lives.
#[derive(Debug, Clone)]
pub struct Keys {
    pub source: Arc<dyn KeySource>,
    pub parameters: states::Parameters,
    /// How often the source is read.
    pub refresh: Duration,
    /// Tolerance for the clocks of those who write the revocation list, in seconds.
    pub clock_skew: u64,
    /// Whether a process outside Functions rotates the keys itself.
    pub rotate: bool,
}

/// The whole configuration, each part in the type of the module that uses it.
#[derive(Debug)]
pub struct Config {
    pub listen: listen::Config,
    pub auth: auth::Config,
    pub provider: oidc::provider::Config,
    pub keys: Keys,
    pub cookies: cookie::Settings,
    pub sessions: Limits,
    pub store: StoreConfig,
    pub tokens: tokens::Config,
    pub apis: Arc<ApiMap>,
    /// `None`: the gateway serves no SPA.
    pub spa: Option<spa::Spa>,
    pub common_headers: CommonHeaders,
    pub log: telemetry::Config,
    /// Shared with the key source and the client's assertion.
    pub net: Arc<OutboundClients>,
    /// What of the platform contradicts the settings, by its name in `/health/ready`.
    pub misconfigured: Vec<&'static str>,
    /// What is valid but risky, for the log and for `check`.
    pub warnings: Vec<String>,
}

impl Config {
    /// Parses all settings.
    ///
    /// # Errors
    /// Every invalid one.
    pub fn from_vars(vars: &Vars) -> Result<Self, ConfigErrors> {
        parse::ConfigParser::new(vars).parse()
    }

    /// Parses all settings for a process that serves, which needs an address (contract 17.1).
    ///
    /// # Errors
    /// Every invalid one.
    pub fn for_serving(vars: &Vars) -> Result<Self, ConfigErrors> {
        parse::ConfigParser::new(vars).for_serving().parse()
    }

    /// The address of the process that serves with these settings. No other setting is read.
    ///
    /// # Errors
    /// There is none, or it is invalid.
    pub fn address_from_vars(vars: &Vars) -> Result<listen::Address, ConfigErrors> {
        parse::ConfigParser::new(vars).for_serving().parse_address()
    }

    /// Parses all settings for a command, which sends the provider no request that authenticates the client: a machine
    /// without managed identity needs no secret.
    ///
    /// # Errors
    /// Every invalid one.
    pub fn for_command(vars: &Vars) -> Result<Self, ConfigErrors> {
        parse::ConfigParser::new(vars).for_command().parse()
    }

    /// Whether the settings name a session store other than the cookie, valid or not.
    #[must_use]
    pub fn names_store(vars: &Vars) -> bool {
        parse::ConfigParser::new(vars).names_store()
    }

    /// Parses the settings of the key ring only, for the commands that need no others.
    ///
    /// # Errors
    /// Every invalid one of them.
    pub fn keys_from_vars(vars: &Vars) -> Result<Keys, ConfigErrors> {
        parse::ConfigParser::new(vars).parse_keys()
    }
}

/// The folder of the app: where the host says it is, otherwise the current one.
fn app_root(vars: &Vars) -> PathBuf {
    vars.get("FUNCTIONS_APP_ROOT_PATH").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

#[cfg(test)]
mod tests;
