//! Reading each setting into its type. A fault is or_record and the reading goes on, so that all are told at once.

mod keys;
mod origins;
mod spa;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use url::Host;

use super::settings::{SETTINGS, STORE};
use super::{Config, ConfigError, ConfigErrors, Keys, PREFIX, Vars, app_root};
use crate::api_map::ApiMap;
use crate::auth::{self, ResponseMode};
use crate::functions;
use crate::net::OutboundClients;
use crate::oidc::provider;
use crate::origin::Origin;
use crate::session::Limits;
use crate::session::cookie::{self, SameSite};
use crate::telemetry;
use crate::tokens;

/// The API map that ships.
const GRAPH: &str = include_str!("../../apis.json");
/// Hosts whose neighbours are same-site with each other.
const SHARED_HOSTS: [&str; 2] = [".azurefd.net", ".web.core.windows.net"];
/// Longest duration of a setting in seconds.
const LONGEST: u64 = 366 * 86_400;

pub(super) struct ConfigParser<'a> {
    vars: &'a Vars,
    faults: Vec<ConfigError>,
    warnings: Vec<String>,
    net: Arc<OutboundClients>,
}

impl<'a> ConfigParser<'a> {
    pub(super) fn new(vars: &'a Vars) -> Self {
        Self { vars, faults: Vec::new(), warnings: Vec::new(), net: Arc::default() }
    }

    pub(super) fn read(mut self) -> Result<Config, ConfigErrors> {
        self.refuse_unknown();
        let port = self.port();
        let public_origin = self.public_origin();
        let skew = self.duration("CLOCK_SKEW", Duration::from_secs(300));
        let sessions = self.sessions(skew);
        let keys = self.keys(&sessions);
        let refresh_skew = self.duration("REFRESH_SKEW", Duration::from_secs(60));
        let authority = self.authority();
        let client = self.client(authority.as_ref());
        let apis = Arc::new(self.apis());
        let response_mode = self.response_mode();
        let cookies = self.cookies(public_origin.as_ref(), response_mode);
        let spa = self.spa(public_origin.as_ref());
        let auth = public_origin.and_then(|origin| self.auth(origin, response_mode, &apis));
        let log = self.log();
        match (port, auth, authority, client, keys, cookies) {
            (Some(port), Some(auth), Some(authority), Some(client), Some(keys), Some(cookies))
                if self.faults.is_empty() =>
            {
                let tokens = tokens::Config {
                    scopes: auth.scopes.clone(),
                    apis: Arc::clone(&apis),
                    skew: refresh_skew.as_secs(),
                };
                let provider = provider::Config { authority, client, clock_skew: skew.as_secs() };
                Ok(Config {
                    port,
                    auth,
                    provider,
                    keys,
                    cookies,
                    sessions,
                    tokens,
                    apis,
                    spa,
                    log,
                    net: self.net,
                    warnings: self.warnings,
                })
            }
            _ => Err(ConfigErrors(self.faults)),
        }
    }

    pub(super) fn read_keys(mut self) -> Result<Keys, ConfigErrors> {
        self.refuse_unknown();
        let skew = self.duration("CLOCK_SKEW", Duration::from_secs(300));
        let sessions = self.sessions(skew);
        match self.keys(&sessions) {
            Some(keys) if self.faults.is_empty() => Ok(keys),
            _ => Err(ConfigErrors(self.faults)),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.vars.get(&format!("{PREFIX}{name}"))
    }

    fn fault(&mut self, name: &str, problem: impl Into<String>) {
        self.faults.push(ConfigError { name: format!("{PREFIX}{name}"), problem: problem.into() });
    }

    fn or_record<T>(&mut self, name: &str, outcome: Result<T, impl Into<String>>) -> Option<T> {
        outcome.map_err(|problem| self.fault(name, problem)).ok()
    }

    fn required(&mut self, name: &str) -> Option<&'a str> {
        let value = self.get(name);
        if value.is_none() {
            self.fault(name, "is required");
        }
        value
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.get(name) else { return default };
        let parsed =
            humantime::parse_duration(text).ok().filter(|duration| (1..=LONGEST).contains(&duration.as_secs()));
        self.or_record(name, parsed.ok_or("is a duration from a second to a year, such as 90s, 5m or 8h"))
            .unwrap_or(default)
    }

    fn refuse_unknown(&mut self) {
        let ours: Vec<&str> = self.vars.0.keys().filter_map(|name| name.strip_prefix(PREFIX)).collect();
        for name in ours {
            if !SETTINGS.iter().chain([&STORE]).any(|setting| setting.name == name) {
                self.fault(name, "is an unknown setting; see docs/configuration.md");
            }
        }
        if self.get(STORE.name).is_some_and(|store| store != "cookie") {
            self.fault(STORE.name, "is cookie; other stores are not built yet");
        }
    }

    fn port(&mut self) -> Option<u16> {
        const NAME: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
        let port = functions::port(self.vars.get(NAME));
        port.map_err(|problem| self.faults.push(ConfigError { name: NAME.to_owned(), problem: problem.to_owned() }))
            .ok()
    }

    fn public_origin(&mut self) -> Option<Origin> {
        let text = self.required("PUBLIC_ORIGIN")?;
        let origin = self.or_record("PUBLIC_ORIGIN", Origin::parse(text))?;
        let host = origin.url().host_str().unwrap_or_default();
        if SHARED_HOSTS.iter().any(|shared| host.ends_with(shared)) {
            self.warnings.push(format!(
                "{PREFIX}PUBLIC_ORIGIN: other customers' hosts are same-site with this one; use a domain of your own"
            ));
        }
        Some(origin)
    }

    fn sessions(&mut self, clock_skew: Duration) -> Limits {
        let idle = self.duration("SESSION_IDLE", Duration::from_secs(30 * 60));
        let max = self.duration("SESSION_MAX", Duration::from_secs(8 * 3_600));
        if idle > max {
            self.fault("SESSION_IDLE", format!("is longer than {PREFIX}SESSION_MAX"));
        }
        Limits { idle, max, clock_skew }
    }

    fn apis(&mut self) -> ApiMap {
        let file = app_root(self.vars).join("apis.json");
        let json = match self.get("APIS") {
            Some(json) => json.to_owned(),
            None => match std::fs::read_to_string(&file) {
                Ok(json) => json,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => GRAPH.to_owned(),
                Err(_) => {
                    self.fault("APIS", "is not set, and apis.json cannot be read");
                    return ApiMap::default();
                }
            },
        };
        match ApiMap::parse(&json) {
            Ok(apis) => apis,
            Err(faults) => {
                for problem in faults {
                    self.fault("APIS", format!("(or apis.json): {problem}"));
                }
                ApiMap::default()
            }
        }
    }

    fn response_mode(&mut self) -> ResponseMode {
        match self.get("RESPONSE_MODE") {
            None | Some("query") => ResponseMode::Query,
            Some("form_post") => ResponseMode::FormPost,
            Some(_) => {
                self.fault("RESPONSE_MODE", "is query or form_post");
                ResponseMode::Query
            }
        }
    }

    fn cookies(
        &mut self,
        public_origin: Option<&Origin>,
        response_mode: ResponseMode,
    ) -> Option<cookie::SessionCookies> {
        let name = self.get("COOKIE_NAME").unwrap_or("cloakroom");
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.len() > 64 || name.starts_with("__") || !name.bytes().all(word) {
            self.fault(
                "COOKIE_NAME",
                "is at most 64 letters, digits, hyphens, underscores and dots, without the prefix",
            );
        }
        let domain = self.get("COOKIE_DOMAIN").map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
        if let (Some(domain), Some(origin)) = (&domain, public_origin) {
            let is_parent = match origin.url().host() {
                Some(Host::Domain(host)) => host == domain || host.ends_with(&format!(".{domain}")),
                _ => false,
            };
            if !is_parent || !domain.contains('.') {
                self.fault("COOKIE_DOMAIN", format!("is the domain of {PREFIX}PUBLIC_ORIGIN or a parent of it"));
            }
        }
        let prefix = if domain.is_some() { "__Secure-" } else { "__Host-Http-" };
        let login_same_site = if response_mode == ResponseMode::FormPost { SameSite::None } else { SameSite::Lax };
        let budget = self
            .get("COOKIE_BUDGET")
            .map_or(Some(7_000), |text| text.parse().ok().filter(|bytes| (1_000..=16_000).contains(bytes)));
        let budget = self.or_record("COOKIE_BUDGET", budget.ok_or("is a number of bytes from 1000 to 16000"))?;
        Some(cookie::SessionCookies {
            name: format!("{prefix}{name}"),
            domain,
            same_site: self.same_site(),
            login_same_site,
            budget,
        })
    }

    fn same_site(&mut self) -> SameSite {
        match self.get("SAMESITE") {
            None | Some("strict") => SameSite::Strict,
            Some("lax") => SameSite::Lax,
            Some("none") => {
                self.warnings
                    .push(format!("{PREFIX}SAMESITE=none sends the session cookie with requests from any site"));
                SameSite::None
            }
            Some(_) => {
                self.fault("SAMESITE", "is strict, lax or none");
                SameSite::Strict
            }
        }
    }

    fn auth(&mut self, public_origin: Origin, response_mode: ResponseMode, apis: &Arc<ApiMap>) -> Option<auth::Config> {
        let routes = apis.iter().map(|api| api.route.clone());
        let own = ["/auth", "/health", "/api", "/rotate-keys"].map(str::to_owned);
        let reserved: Vec<String> = own.into_iter().chain(routes).collect();
        let (origins, return_uri) = self.origins(public_origin, &reserved)?;
        let scopes = self.scopes()?;
        Some(auth::Config { origins, return_uri, scopes, response_mode, reserved, apis: Arc::clone(apis) })
    }

    fn scopes(&mut self) -> Option<Vec<String>> {
        let text = self.get("SCOPES").unwrap_or("openid profile email offline_access");
        let scopes: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let good = scopes.iter().any(|scope| scope == "openid") && text.is_ascii();
        self.or_record("SCOPES", good.then_some(scopes).ok_or("is scopes separated by spaces, openid among them"))
    }

    fn log(&mut self) -> telemetry::Config {
        let Some(text) = self.get("LOG") else { return telemetry::Config::default() };
        self.or_record("LOG", telemetry::Config::parse(text)).unwrap_or_default()
    }
}
