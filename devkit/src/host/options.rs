//! How to run a host, and why it may not.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

/// How HTTP functions reach the handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// `enableForwardingHttpRequest`: made anew and buffered, with the original `Host`.
    Forward,
    /// `enableProxyingHttpRequest`: streamed by YARP, with `X-Forwarded-*`.
    Proxy,
    /// Neither: told in JSON, as every function is that has more than one trigger and one response.
    Payload,
}

/// What becomes of the function key that the host sees in the parameter `code` of an anonymous function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeLookup {
    /// Its lookup takes so long.
    Delay(Duration),
    /// Its lookup fails, and the request with it: 500.
    Fail,
}

/// How to run a host.
#[derive(Clone, Debug)]
pub struct Options {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    /// Where to listen.
    pub address: IpAddr,
    /// Where to listen; 0 is any free port.
    pub port: u16,
    /// Overrides the mode of `host.json`.
    pub mode: Option<Mode>,
    /// Further app settings. They go before `local.settings.json`, may override `host.json`
    /// (`AzureFunctionsJobHost__a__b`) and reach the handler.
    pub env: BTreeMap<String, String>,
    /// Whether this process's environment counts as app settings; otherwise only its `PATH` does.
    pub inherit_env: bool,
    /// The only functions to load.
    pub functions: Option<Vec<String>>,
    /// The key that functions with another level than `anonymous` ask for; without one, none is asked for.
    pub key: Option<String>,
    /// Simulates the lookup of function keys that `?code=` brings about.
    pub code_lookup: Option<CodeLookup>,
    /// On [`Host::stop`](super::Host::stop), SIGTERM and so much time come before SIGKILL, as on Flex Consumption.
    pub platform_sigterm: Option<Duration>,
    /// Adds the headers that the front end of App Service adds.
    pub front_end_azure: bool,
    /// Accepts connections at once, but starts the handler so much later.
    pub cold_start: Option<Duration>,
    /// More requests at a time are answered 429.
    pub max_outstanding: Option<usize>,
    /// Whether to print all lines; they are collected in any case.
    pub print: bool,
}

impl Options {
    /// A quiet host on any port of 127.0.0.1, with a clean environment.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            mode: None,
            env: BTreeMap::new(),
            inherit_env: false,
            functions: None,
            key: None,
            code_lookup: None,
            platform_sigterm: None,
            front_end_azure: false,
            cold_start: None,
            max_outstanding: None,
            print: false,
        }
    }
}

/// Why a host does not run.
#[derive(Debug)]
pub enum HostError {
    /// `host.json` or `local.settings.json` cannot be used.
    Configuration(String),
    /// The project cannot be read, or the port is taken.
    Io(std::io::Error),
    /// The host has shut down.
    ShutDown,
}

impl fmt::Display for HostError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(reason) => formatter.write_str(reason),
            Self::Io(error) => error.fmt(formatter),
            Self::ShutDown => formatter.write_str("the host has shut down"),
        }
    }
}

impl std::error::Error for HostError {}

impl From<std::io::Error> for HostError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
