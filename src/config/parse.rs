//! Parses each setting into its type. An error is recorded and parsing continues, so that all are reported at once.

mod apis;
mod auth;
mod cookies;
mod identity;
mod keys;
mod listen;
mod origins;
mod spa;
mod store;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use super::settings::{
    CLOCK_SKEW, DefaultValue, LOG, LOG_USER, PUBLIC_ORIGIN, REFRESH_SKEW, SESSION_IDLE, SESSION_MAX, SETTINGS, Setting,
};
use super::{Config, ConfigError, ConfigErrors, Keys, PREFIX, Vars};
use crate::credential::{Credential, Identity};
use crate::listen::Address;
use crate::net::OutboundClients;
use crate::oidc::provider;
use crate::origin::Origin;
use crate::session::Limits;
use crate::telemetry::{self, LogUser};
use crate::tokens;

/// Domains under which hosts of different customers are same-site with each other.
const SHARED_HOSTS: [&str; 3] = [".azurecontainerapps.io", ".azurefd.net", ".web.core.windows.net"];
/// Longest duration of a setting in seconds.
const LONGEST: u64 = 366 * 86_400;

pub(super) struct ConfigParser<'a> {
    vars: &'a Vars,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
    net: Arc<OutboundClients>,
    credential: Arc<Credential>,
    /// Whether the client authenticates at the provider with these settings.
    authenticates_client: bool,
    /// Whether the process is to serve.
    serves: bool,
}

/// Proof that an error was recorded, so that a part of the configuration cannot be missing without one.
struct Recorded(());

type Parsed<T> = Result<T, Recorded>;

impl<'a> ConfigParser<'a> {
    pub(super) fn new(vars: &'a Vars) -> Self {
        let net = Arc::default();
        let credential = Arc::new(Credential::new(Identity::Developer, Arc::clone(&net)));
        let mut parser = Self {
            vars,
            errors: Vec::new(),
            warnings: Vec::new(),
            net,
            credential,
            authenticates_client: true,
            serves: false,
        };
        if let Ok(identity) = parser.identity() {
            parser.credential = Arc::new(Credential::new(identity, Arc::clone(&parser.net)));
        }
        parser
    }

    pub(super) const fn for_command(mut self) -> Self {
        self.authenticates_client = false;
        self
    }

    pub(super) const fn for_serving(mut self) -> Self {
        self.serves = true;
        self
    }

    pub(super) fn parse(mut self) -> Result<Config, ConfigErrors> {
        let parsed = self.parse_all();
        match parsed {
            Ok(config) if self.errors.is_empty() => Ok(Config { warnings: self.warnings, ..config }),
            _ => Err(ConfigErrors(self.errors)),
        }
    }

    pub(super) fn parse_keys(mut self) -> Result<Keys, ConfigErrors> {
        self.check_names();
        let sessions = self.sessions();
        match self.keys(sessions.ok().as_ref()) {
            Ok(keys) if self.errors.is_empty() => Ok(keys),
            _ => Err(ConfigErrors(self.errors)),
        }
    }

    pub(super) fn parse_address(mut self) -> Result<Address, ConfigErrors> {
        match self.address() {
            Ok(Some(address)) => Ok(address),
            Ok(None) | Err(Recorded(())) => Err(ConfigErrors(self.errors)),
        }
    }

    /// Parses every part before the first `?`, so that each reports its errors.
    fn parse_all(&mut self) -> Parsed<Config> {
        self.check_names();
        let listen = self.listen();
        let public_origin = self.public_origin();
        let public = public_origin.as_ref().ok();
        let sessions = self.sessions();
        let keys = self.keys(sessions.as_ref().ok());
        let refresh_skew = self.duration(&REFRESH_SKEW);
        let authority = self.authority();
        let client = self.client(authority.as_ref().ok());
        let apis = self.apis();
        let response_mode = self.response_mode();
        let cookies = self.cookies(public, response_mode.as_ref().ok().copied());
        let spa = self.spa(public);
        let auth = self.auth(public, response_mode, apis.as_ref().ok());
        let common_headers = self.common_headers(auth.as_ref().ok().map(|auth| auth.origins.as_ref()));
        let misconfigured = self.misconfigured(auth.as_ref().ok().map(|auth| auth.origins.as_ref()));
        let store = self.store();
        let log = self.log();
        let (sessions, auth, apis, listen) = (sessions?, auth?, apis?, listen?);
        let provider =
            provider::Config { authority: authority?, client: client?, clock_skew: sessions.clock_skew.as_secs() };
        let tokens = tokens::Config {
            scopes: auth.scopes.clone(),
            apis: Arc::clone(&apis),
            skew: refresh_skew?.as_secs(),
            keep_id_token: auth.end_session_id_token_hint,
            max_in_flight: listen.limits.all,
        };
        Ok(Config {
            listen,
            auth,
            provider,
            keys: keys?,
            cookies: cookies?,
            sessions,
            store: store?,
            tokens,
            apis,
            spa: spa?,
            common_headers: common_headers?,
            log: log?,
            net: Arc::clone(&self.net),
            misconfigured,
            warnings: Vec::new(),
        })
    }

    /// The value that is set. An empty one counts as absent.
    fn set_value(&self, setting: &Setting) -> Option<&'a str> {
        self.vars.get(&full_name(setting))
    }

    /// A secret that is set, without the white space that copying often leaves at its end (contract 12.21).
    fn secret(&mut self, setting: &Setting) -> Parsed<Option<&'a str>> {
        let Some(secret) = self.set_value(setting).map(str::trim_end).filter(|secret| !secret.is_empty()) else {
            return Ok(None);
        };
        if secret.starts_with("@Microsoft.KeyVault(") {
            let problem = "is a Key Vault reference that the platform did not resolve: check the reference, and that \
                           the app's identity may read the secret";
            return Err(self.record(setting, problem));
        }
        Ok(Some(secret))
    }

    /// The value that is set, else the default of the table.
    #[expect(clippy::expect_used, reason = "called for settings with such a default; an empty environment tests it")]
    fn text(&self, setting: &Setting) -> &'a str {
        let default = if let DefaultValue::Text(text) = setting.default { Some(text) } else { None };
        self.set_value(setting).or(default).expect("the table has a text as default")
    }

    fn record(&mut self, setting: &Setting, problem: impl Into<String>) -> Recorded {
        self.record_variable(&full_name(setting), problem)
    }

    /// The same for a variable by its full name. Of one that is not Unicode nothing else is known.
    fn record_variable(&mut self, name: &str, problem: impl Into<String>) -> Recorded {
        if self.vars.not_unicode.iter().any(|of| of == name) && self.errors.iter().any(|error| error.name == name) {
            return Recorded(());
        }
        self.errors.push(ConfigError { name: name.to_owned(), problem: problem.into() });
        Recorded(())
    }

    fn or_record<T>(&mut self, setting: &Setting, outcome: Result<T, impl Into<String>>) -> Parsed<T> {
        outcome.map_err(|problem| self.record(setting, problem))
    }

    fn required(&mut self, setting: &Setting) -> Parsed<&'a str> {
        self.set_value(setting).ok_or_else(|| self.record(setting, "is required"))
    }

    fn duration(&mut self, setting: &Setting) -> Parsed<Duration> {
        self.duration_from(setting, 1)
    }

    /// A duration of at least so many seconds.
    fn duration_from(&mut self, setting: &Setting, least: u64) -> Parsed<Duration> {
        let parsed = humantime::parse_duration(self.text(setting)).ok();
        let parsed = parsed.filter(|duration| (least..=LONGEST).contains(&duration.as_secs()));
        let problem = || format!("must be a duration from {least} s to a year, such as 90s, 5m or 8h");
        self.or_record(setting, parsed.ok_or_else(problem))
    }

    /// One of a few words.
    fn choice<T: Copy>(&mut self, setting: &Setting, choices: &[(&str, T)]) -> Parsed<T> {
        let text = self.text(setting);
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.or_record(setting, chosen.ok_or_else(|| format!("must be one of: {}", words.join(", "))))
    }

    /// Rejects names with the prefix that are not in the table, so that a misspelled setting is noticed, and values
    /// that are not text.
    fn check_names(&mut self) {
        for name in &self.vars.not_unicode {
            self.record_variable(name, "is not Unicode; set it in UTF-8");
        }
        for name in self.vars.names().filter(|name| name.starts_with(PREFIX)) {
            if !SETTINGS.iter().any(|setting| full_name(setting) == name) {
                let problem = "is an unknown setting; see docs/configuration.md".to_owned();
                self.errors.push(ConfigError { name: name.to_owned(), problem });
            }
        }
    }

    fn public_origin(&mut self) -> Parsed<Origin> {
        let text = self.required(&PUBLIC_ORIGIN)?;
        let origin = self.or_record(&PUBLIC_ORIGIN, Origin::parse(text))?;
        let host = origin.url().host_str().unwrap_or_default();
        if SHARED_HOSTS.iter().any(|shared| host.ends_with(shared)) {
            self.warnings.push(format!(
                "{PREFIX}PUBLIC_ORIGIN: hosts of other customers are same-site with this one; use a domain of your own"
            ));
        }
        Ok(origin)
    }

    fn log(&mut self) -> Parsed<telemetry::Config> {
        let words = [("hash", LogUser::Hash), ("id", LogUser::Id), ("none", LogUser::None)];
        let user = self.choice(&LOG_USER, &words);
        let (level, json) = self.or_record(&LOG, telemetry::Config::parse(self.text(&LOG)))?;
        Ok(telemetry::Config { level, json, user: user? })
    }

    fn sessions(&mut self) -> Parsed<Limits> {
        let (clock_skew, idle, max) =
            (self.duration(&CLOCK_SKEW), self.duration(&SESSION_IDLE), self.duration(&SESSION_MAX));
        let limits = Limits { idle: idle?, max: max?, clock_skew: clock_skew? };
        if limits.idle > limits.max {
            return Err(self.record(&SESSION_IDLE, format!("must not be longer than {PREFIX}SESSION_MAX")));
        }
        Ok(limits)
    }
}

fn full_name(setting: &Setting) -> String {
    format!("{PREFIX}{}", setting.name)
}
