//! Everything that a sign-in needs, on this machine: provider, Graph, keys, and the host with the gateway behind it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use crate::graph::{Graph, GraphOptions};
use crate::host::{Host, Mode, Options as HostOptions};
use crate::provider::{self, Provider};

/// Prefix of the gateway's settings.
const PREFIX: &str = "CLOAKROOM_";

/// How to set the stage.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    /// The gateway's binary.
    pub binary: PathBuf,
    /// The file of the key ring; made when it is missing.
    pub key_file: PathBuf,
    /// How the host calls the gateway; none leaves it to `host.json`.
    pub mode: Option<Mode>,
    /// Ports of host, provider and Graph; 0 is any.
    pub ports: [u16; 3],
    /// Whether to print what host and gateway write.
    pub print: bool,
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
    /// The gateway's settings.
    pub settings: BTreeMap<String, String>,
}

impl Stage {
    /// Starts everything and waits until the gateway answers the host.
    ///
    /// # Errors
    /// A port is taken, or the project cannot be read.
    pub async fn set(options: Options) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let [host_port, provider_port, graph_port] = options.ports;
        let host_port = if host_port == 0 { free_port()? } else { host_port };
        // Provider and page are on different sites, so that SameSite acts as it does in production.
        let origin = format!("http://localhost:{host_port}");
        let provider =
            Provider::start(provider::Options { addr: loopback(provider_port), ..provider::Options::new(&origin) })
                .await?;
        let graph =
            Graph::start(GraphOptions { addr: loopback(graph_port), ..GraphOptions::new(&provider.issuer()) }).await?;
        make_key_file(&options.key_file)?;
        let settings = settings(&origin, &provider, &graph, &options);
        let mut env = cleared_local_settings(&options.root);
        env.extend(settings.clone());
        let host = Host::start(HostOptions {
            port: host_port,
            mode: options.mode,
            env,
            print: options.print,
            ..HostOptions::new(&options.root)
        })
        .await?;
        host.wait_ready().await?;
        Ok(Self { origin, provider, graph, host, settings })
    }
}

/// The settings of the gateway on this stage.
fn settings(origin: &str, provider: &Provider, graph: &Graph, options: &Options) -> BTreeMap<String, String> {
    let apis = json!({"graph": {
        "route": "/graph",
        "base": graph.base(),
        "scopes": [format!("{}/User.Read", provider::GRAPH)],
        "allow": ["GET /me", "GET /me/**"],
        "request_headers": ["ConsistencyLevel", "Prefer"],
        "sign_in": true,
    }});
    let pairs = [
        (
            "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath",
            options.binary.display().to_string(),
        ),
        ("AzureWebJobsDisableHomepage", "true".to_owned()),
        ("CLOAKROOM_APIS", apis.to_string()),
        ("CLOAKROOM_AUTHORITY", provider.issuer()),
        ("CLOAKROOM_CLIENT_ID", provider::CLIENT_ID.to_owned()),
        ("CLOAKROOM_CLIENT_SECRET", provider::CLIENT_SECRET.to_owned()),
        ("CLOAKROOM_KEY_FILE", options.key_file.display().to_string()),
        ("CLOAKROOM_LOG", "info,text".to_owned()),
        ("CLOAKROOM_PUBLIC_ORIGIN", origin.to_owned()),
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
