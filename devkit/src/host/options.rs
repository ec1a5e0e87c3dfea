//! How to run a host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How HTTP functions reach the handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// `enableForwardingHttpRequest`: rebuilt and buffered, with the original `Host`.
    Forward,
    /// `enableProxyingHttpRequest`: streamed by YARP, with `X-Forwarded-*`.
    Proxy,
    /// Neither: sent as JSON. Every function with other bindings than one trigger and one response uses it too.
    Payload,
}

/// What the lookup of a function key does, which the parameter `code` of an anonymous function causes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeLookup {
    /// It takes this long.
    Delay(Duration),
    /// It fails, and the request with it: 500.
    Fail,
}

/// A plan on which the host answers every preflight itself, by the platform's CORS list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plan {
    FlexConsumption,
    LinuxConsumption,
}

impl Plan {
    /// The settings that the platform adds on this plan, with this `siteConfig.cors.allowedOrigins` and with
    /// `supportCredentials`; without origins there is no list. A host with these settings behaves as on the plan.
    #[must_use]
    pub fn settings(self, allowed_origins: &[&str]) -> BTreeMap<String, String> {
        let plan = match self {
            Self::FlexConsumption => vec![("WEBSITE_SKU", "FlexConsumption".to_owned())],
            Self::LinuxConsumption => {
                vec![("WEBSITE_SKU", "Dynamic".to_owned()), ("CONTAINER_NAME", "stand-in".to_owned())]
            }
        };
        let list = serde_json::Value::from(allowed_origins.to_vec()).to_string();
        let cors = [("CORS_ALLOWED_ORIGINS", list), ("CORS_SUPPORT_CREDENTIALS", "True".to_owned())];
        let cors = cors.into_iter().filter(|_| !allowed_origins.is_empty());
        plan.into_iter().chain(cors).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// How to run a host.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of `host.json`.
    pub root: PathBuf,
    /// Where to listen; 127.0.0.1 by default.
    pub address: Option<IpAddr>,
    /// Where to listen; 0 is any free port.
    pub port: u16,
    /// Overrides the mode of `host.json`.
    pub mode: Option<Mode>,
    /// Further app settings. They win over `local.settings.json`, may override `host.json`
    /// (`AzureFunctionsJobHost__a__b`) and reach the handler.
    pub env: BTreeMap<String, String>,
    /// Whether this process's environment counts as app settings; otherwise only what every process needs
    /// of it, its `PATH`.
    pub inherit_env: bool,
    /// The only functions to load.
    pub functions: Option<Vec<String>>,
    /// The key that functions with another level than `anonymous` require; without one they require none.
    pub key: Option<String>,
    /// Simulates the lookup of function keys that `?code=` causes.
    pub code_lookup: Option<CodeLookup>,
    /// On [`Host::stop`](super::Host::stop), SIGTERM and this much time come before SIGKILL, as on Flex Consumption.
    pub platform_sigterm: Option<Duration>,
    /// Adds the headers that the front end of App Service adds.
    pub front_end_azure: bool,
    /// Accepts connections at once, but starts the handler this much later.
    pub cold_start: Option<Duration>,
    /// More requests at a time get 429.
    pub max_outstanding: Option<usize>,
    /// Whether to print all lines; they are collected in any case.
    pub print: bool,
}

impl Options {
    /// A host that prints nothing, on any port of 127.0.0.1, with a clean environment.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::default() }
    }
}
