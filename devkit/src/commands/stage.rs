//! Everything that a sign-in needs, on this machine: provider, Graph, keys, and the host with the gateway behind it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::cloud::Cloud;
use crate::graph::{Graph, GraphOptions};
use crate::host::{Host, Mode, Options as HostOptions};
use crate::provider::{self, Provider};
use crate::web::client;

/// Prefix of the gateway's settings.
const PREFIX: &str = "CLOAKROOM_";
/// Longest wait for the first key to reach the gateway.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to set the stage.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    /// The gateway's binary; none leaves it to `host.json`.
    pub binary: Option<PathBuf>,
    /// Where the keys come from.
    pub keys: Keys,
    /// How the host calls the gateway; none leaves it to `host.json`.
    pub mode: Option<Mode>,
    /// Ports of host, provider and Graph; 0 is any.
    pub ports: [u16; 3],
    /// Whether to print what host and gateway write.
    pub print: bool,
}

/// Where the gateway's keys come from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// A file of one key; made when it is missing.
    File(PathBuf),
    /// A vault, whose authority's certificate is written to this file. The host's timer makes the first key.
    Vault(PathBuf),
}

/// The stage. Dropping it ends everything on it.
pub struct Stage {
    /// The address to open.
    pub origin: String,
    /// The provider.
    pub provider: Provider,
    /// The API.
    pub graph: Graph,
    /// The host, with the gateway behind it.
    pub host: Host,
    /// The vault and its identity, where the keys come from one.
    pub cloud: Option<Cloud>,
    /// The gateway's settings.
    pub settings: BTreeMap<String, String>,
}

/// What stands around a host and its gateway, and the settings that lead there.
pub struct Surroundings {
    /// The address to open, where the host is to listen.
    pub origin: String,
    /// The provider.
    pub provider: Provider,
    /// The API.
    pub graph: Graph,
    /// The vault and its identity, where the keys come from one.
    pub cloud: Option<Cloud>,
    /// The gateway's settings.
    pub settings: BTreeMap<String, String>,
}

impl Surroundings {
    /// Starts everything but the host, whose port must be told.
    ///
    /// # Errors
    /// A port is taken, or a file cannot be written.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let [host_port, provider_port, graph_port] = options.ports;
        // Provider and page are on different sites, so that SameSite acts as it does in production.
        let origin = format!("http://localhost:{host_port}");
        let provider =
            Provider::start(provider::Options { addr: loopback(provider_port), ..provider::Options::new(&origin) })
                .await?;
        let graph =
            Graph::start(GraphOptions { addr: loopback(graph_port), ..GraphOptions::new(&provider.issuer()) }).await?;
        let (cloud, keys) = key_source(&options.keys).await?;
        let mut settings = settings(&origin, &provider, &graph, options);
        settings.extend(keys);
        Ok(Self { origin, provider, graph, cloud, settings })
    }

    /// The settings as the real host reads them: `local.settings.json`.
    #[must_use]
    pub fn local_settings(&self, port: u16) -> String {
        let file = json!({"IsEncrypted": false, "Values": self.settings, "Host": {"LocalHttpPort": port}});
        format!("{file:#}\n")
    }
}

impl Stage {
    /// Starts everything and waits until the gateway answers the host.
    ///
    /// # Errors
    /// A port is taken, or the project cannot be read.
    pub async fn set(mut options: Options) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        if options.ports[0] == 0 {
            options.ports[0] = free_port()?;
        }
        let Surroundings { origin, provider, graph, cloud, settings } = Surroundings::start(&options).await?;
        let mut env = cleared_local_settings(&options.root);
        env.extend(settings.clone());
        let host = Host::start(HostOptions {
            port: options.ports[0],
            mode: options.mode,
            env,
            print: options.print,
            ..HostOptions::new(&options.root)
        })
        .await?;
        host.wait_ready().await.map_err(|error| with_log(&error.to_string(), &host, options.print))?;
        let stage = Self { origin, provider, graph, host, cloud, settings };
        if stage.cloud.is_some() {
            let made = stage.make_first_key().await;
            made.map_err(|error| with_log(&error.to_string(), &stage.host, options.print))?;
        }
        Ok(stage)
    }

    /// Runs the timer function as a deployment does, rather than wait for its hour.
    async fn make_first_key(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let host = format!("http://{}", self.host.addr());
        let request = Request::post(format!("{host}/admin/functions/rotate-keys"));
        let run = client::send(request.body(Full::from(r#"{"input": null}"#))?).await?;
        if run.status() != StatusCode::ACCEPTED {
            return Err(format!("the function rotate-keys cannot be run: {}", run.status()).into());
        }
        let begun = Instant::now();
        loop {
            let request = Request::get(format!("{host}/health/ready")).body(Full::default())?;
            if client::send(request).await?.status() == StatusCode::OK {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err("the gateway does not get ready with keys from the vault".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A failure of the host with its log, unless that was printed already.
pub fn with_log(what: &str, host: &Host, printed: bool) -> Box<dyn std::error::Error + Send + Sync> {
    let lines = if printed { Vec::new() } else { host.logs() };
    lines.iter().map(|line| line.text.as_str()).chain([what]).collect::<Vec<_>>().join("\n").into()
}

/// The vault, where there is one, and the settings that lead to the keys.
async fn key_source(keys: &Keys) -> io::Result<(Option<Cloud>, BTreeMap<String, String>)> {
    match keys {
        Keys::File(path) => {
            make_key_file(path)?;
            Ok((None, [("CLOAKROOM_KEY_FILE".to_owned(), path.display().to_string())].into()))
        }
        Keys::Vault(authority) => {
            let cloud = Cloud::start(authority).await?;
            let mut variables = cloud.variables();
            // Whoever watches wants to see what happens to a key within seconds; the defaults are for production.
            for (name, value) in [("CLOCK_SKEW", "1s"), ("KEY_PROPAGATION", "5s"), ("KEY_REFRESH", "2s")] {
                variables.insert(format!("{PREFIX}{name}"), value.to_owned());
            }
            Ok((Some(cloud), variables))
        }
    }
}

/// The settings of the gateway on this stage, those of its keys left out.
fn settings(origin: &str, provider: &Provider, graph: &Graph, options: &Options) -> BTreeMap<String, String> {
    let apis = json!({"graph": {
        "route": "/graph",
        "base": graph.base(),
        "scopes": [format!("{}/User.Read", provider::GRAPH)],
        "allow": ["GET /me", "GET /me/**"],
        "request_headers": ["ConsistencyLevel", "Prefer"],
        "sign_in": true,
    }});
    let executable = "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath";
    let binary = options.binary.as_ref().map(|binary| (executable, binary.display().to_string()));
    let pairs = [
        ("AzureWebJobsDisableHomepage", "true".to_owned()),
        // Timers want one. The stand-in for the host does without, and would only warn.
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true".to_owned()),
        ("CLOAKROOM_APIS", apis.to_string()),
        ("CLOAKROOM_AUTHORITY", provider.issuer()),
        ("CLOAKROOM_CLIENT_ID", provider::CLIENT_ID.to_owned()),
        ("CLOAKROOM_CLIENT_SECRET", provider::CLIENT_SECRET.to_owned()),
        ("CLOAKROOM_LOG", "info,text".to_owned()),
        ("CLOAKROOM_PUBLIC_ORIGIN", origin.to_owned()),
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
    ];
    pairs.into_iter().chain(binary).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The gateway's settings of a developer's own `local.settings.json`, emptied: they are for another tenant.
fn cleared_local_settings(root: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root.join("local.settings.json")).unwrap_or_default();
    let settings: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let values = settings.get("Values").and_then(serde_json::Value::as_object).into_iter().flatten();
    values.filter(|(name, _)| name.starts_with(PREFIX)).map(|(name, _)| (name.clone(), String::new())).collect()
}

/// A key ring of one key that seals at once, readable by its owner alone.
///
/// # Errors
/// The file cannot be written.
pub fn make_key_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let ring = json!({"keys": [{
        "id": format!("{:032x}", rand::random::<u128>()),
        "value": URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
        "enabled": true,
        "created": 0,
        "not_before": null,
        "expires": null,
        "tags": {},
    }]});
    write_private(path, &ring.to_string())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A port that was free a moment ago.
///
/// It lies below those that the system gives to outgoing connections, which would else take it in the meantime.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    let tried = (0..100).map(|_| rand::random_range(10_000..32_000));
    let free = tried.into_iter().find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}
