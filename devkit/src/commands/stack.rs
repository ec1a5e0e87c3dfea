//! The whole application on this machine: provider, Graph, vault or key file, and the host with the gateway.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;

use super::Result;
use crate::graph::{Graph, GraphOptions};
use crate::host::{Host, Mode, Options as HostOptions};
use crate::identity::{self, Identity};
use crate::os;
use crate::provider::{self, Provider};
use crate::redis_server::{self, RedisServer};
use crate::vault::{self, Vault};
pub use crate::web::free_port;
use crate::web::{client, random_text};

/// Prefix of the gateway's settings.
const PREFIX: &str = "CLOAKROOM_";
/// Longest wait for the first key to reach the gateway.
const FIRST_KEY_TIMEOUT: Duration = Duration::from_secs(30);
/// The secret whose versions are the key ring.
const KEY_SECRET: &str = "cloakroom-keys";

#[derive(Debug, Clone)]
pub struct Options {
    /// The project: the folder of `host.json`.
    pub root: PathBuf,
    /// The gateway's binary, if not the one of `host.json`.
    pub binary: Option<PathBuf>,
    pub keys: Keys,
    pub store: Store,
    /// How the host calls the gateway, if not as in `host.json`.
    pub mode: Option<Mode>,
    /// Ports of host, provider and Graph; 0 is any.
    pub ports: [u16; 3],
    /// Whether to print the log of host and gateway.
    pub print: bool,
}

/// The key source of the gateway.
#[derive(Debug, Clone)]
pub enum Keys {
    /// A file with one key, created if missing.
    File(PathBuf),
    /// A key that is new with every start, for systems without key files.
    Static,
    /// A vault, the certificate of whose authority is written to this file. The host's timer creates the first key.
    Vault(PathBuf),
}

/// Where the gateway stores sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Store {
    #[default]
    Cookie,
    /// In a Redis server that is empty at first, keeps its data in memory, and ends with the backends.
    Redis,
}

/// A vault that is empty at first and keeps its versions in memory, and the identity that has access to it.
#[derive(Clone, Debug)]
pub struct VaultAccess {
    pub identity: Identity,
    pub vault: Vault,
    authority: PathBuf,
}

impl VaultAccess {
    /// Starts both, and writes the certificate of the vault's authority to a file.
    ///
    /// # Errors
    /// No port is free, or the file cannot be written.
    pub async fn start(authority: &Path) -> io::Result<Self> {
        let identity = Identity::start(identity::Options::default()).await?;
        let vault = Vault::start(vault::Options::new(&identity)).await?;
        create_parent(authority)?;
        vault.write_ca(authority)?;
        Ok(Self { identity, vault, authority: authority.to_owned() })
    }

    /// The variables with which an app finds its keys.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let own =
            [("CLOAKROOM_KEY_VAULT_URL", self.vault.url()), ("SSL_CERT_FILE", self.authority.display().to_string())];
        self.identity.env().into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Adds a key as an emergency rotation does: it seals 30 s later. Returns the version's id.
    pub fn put_key(&self) -> String {
        self.vault.put_with(KEY_SECRET, &random_text(32), |version| {
            version.content_type = Some("application/vnd.cloakroom.key".to_owned());
            version.tags.insert("activate".to_owned(), "now".to_owned());
        })
    }

    /// The number of versions in the key ring.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.vault.versions(KEY_SECRET).len()
    }
}

/// Everything that a host and its gateway connect to, and the settings for that.
pub struct Backends {
    /// The origin of the application, on the host's port.
    pub origin: String,
    pub provider: Provider,
    pub graph: Graph,
    /// With [`Keys::Vault`].
    pub vault: Option<VaultAccess>,
    /// With [`Store::Redis`].
    pub redis: Option<RedisServer>,
    /// The gateway's settings.
    pub settings: BTreeMap<String, String>,
}

impl Backends {
    /// Starts them. The host's port must be given in the options.
    ///
    /// # Errors
    /// A port is taken, a file cannot be written, or there is no `redis-server`.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let [host_port, provider_port, graph_port] = options.ports;
        // Another site than the provider's, so that SameSite acts as in production.
        let origin = format!("http://localhost:{host_port}");
        let provider = provider::Options { addr: loopback(provider_port), ..provider::Options::new(&origin) };
        let provider = Provider::start(provider).await?;
        let graph = GraphOptions { addr: loopback(graph_port), ..GraphOptions::new(&provider.issuer()) };
        let graph = Graph::start(graph).await?;
        let mut settings = settings(&origin, &provider, &graph, options.binary.as_deref());
        let vault = match &options.keys {
            Keys::File(path) => {
                make_key_file(path)?;
                settings.insert("CLOAKROOM_KEY_FILE".to_owned(), path.display().to_string());
                None
            }
            Keys::Static => {
                settings.insert("CLOAKROOM_ENC_KEY".to_owned(), random_text(32));
                None
            }
            Keys::Vault(authority) => {
                let vault = VaultAccess::start(authority).await?;
                settings.extend(vault.variables());
                // So short that the effect of a rotation is visible within seconds.
                for (name, value) in [("CLOCK_SKEW", "1s"), ("KEY_PROPAGATION", "5s"), ("KEY_REFRESH", "2s")] {
                    settings.insert(format!("{PREFIX}{name}"), value.to_owned());
                }
                Some(vault)
            }
        };
        let redis = match options.store {
            Store::Cookie => None,
            Store::Redis => {
                let start = || RedisServer::start(&redis_server::Options::default());
                let redis = tokio::task::spawn_blocking(start).await??;
                settings.insert(format!("{PREFIX}STORE"), redis.url());
                Some(redis)
            }
        };
        Ok(Self { origin, provider, graph, vault, redis, settings })
    }

    /// The text of a `local.settings.json` for the real host.
    #[must_use]
    pub fn local_settings(&self, port: u16) -> String {
        let file = json!({"IsEncrypted": false, "Values": self.settings, "Host": {"LocalHttpPort": port}});
        format!("{file:#}\n")
    }
}

/// The backends with a host and its gateway. Dropping it stops everything.
pub struct LocalStack {
    pub backends: Backends,
    pub host: Host,
    print: bool,
}

impl LocalStack {
    /// Starts everything and waits until the gateway is ready.
    ///
    /// # Errors
    /// A port is taken, the project cannot be read, or the gateway does not start.
    pub async fn start(mut options: Options) -> Result<Self> {
        if options.ports[0] == 0 {
            options.ports[0] = free_port()?;
        }
        let backends = Backends::start(&options).await?;
        let mut env = cleared_local_settings(&options.root);
        env.extend(backends.settings.clone());
        let host = HostOptions {
            port: options.ports[0],
            mode: options.mode,
            env,
            print: options.print,
            ..HostOptions::new(&options.root)
        };
        let stack = Self { backends, host: Host::start(host).await?, print: options.print };
        let ready = match stack.host.wait_ready().await {
            Ok(()) if stack.backends.vault.is_some() => stack.make_first_key().await,
            ready => ready.map_err(Into::into),
        };
        ready.map_err(|error| stack.with_log(&error.to_string()))?;
        Ok(stack)
    }

    /// A failure with the log of the host, unless that is printed anyway.
    pub(super) fn with_log(&self, failure: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let lines = if self.print { Vec::new() } else { self.host.logs() };
        lines.iter().map(|line| line.text.as_str()).chain([failure]).collect::<Vec<_>>().join("\n").into()
    }

    /// Runs the timer function now, as a deployment does.
    async fn make_first_key(&self) -> Result<()> {
        let host = format!("http://{}", self.host.addr());
        let function = format!("{host}/admin/functions/rotate_keys");
        let run = client::send("POST", &function, &[], r#"{"input": null}"#).await?;
        if run.status() != StatusCode::ACCEPTED {
            return Err(format!("the function rotate_keys cannot be run: {}", run.status()).into());
        }
        let started = Instant::now();
        loop {
            let ready = client::send("GET", &format!("{host}/health/ready"), &[], "").await?;
            if ready.status() == StatusCode::OK {
                return Ok(());
            }
            if started.elapsed() > FIRST_KEY_TIMEOUT {
                return Err("the gateway did not become ready with keys from the vault".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The gateway's settings without those of its keys.
fn settings(origin: &str, provider: &Provider, graph: &Graph, binary: Option<&Path>) -> BTreeMap<String, String> {
    let apis = json!({"graph": {
        "route": "/graph",
        "base": graph.base(),
        "scopes": [format!("{}/User.Read", provider::GRAPH)],
        "allow": ["GET /me", "GET /me/**"],
        "request_headers": ["ConsistencyLevel", "Prefer"],
        "sign_in": true,
    }});
    let executable = "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath";
    let binary = binary.map(|binary| (executable, binary.display().to_string()));
    let pairs = [
        ("AzureWebJobsDisableHomepage", "true".to_owned()),
        // The real host needs storage for timers, else it warns.
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

/// The gateway's settings of the developer's own `local.settings.json`, emptied, since they are for another tenant.
fn cleared_local_settings(root: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root.join("local.settings.json")).unwrap_or_default();
    let settings: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let values = settings["Values"].as_object().into_iter().flatten();
    values.filter(|(name, _)| name.starts_with(PREFIX)).map(|(name, _)| (name.clone(), String::new())).collect()
}

/// Creates a key file with one key that seals at once, readable by its owner only, if it is missing.
///
/// # Errors
/// The file cannot be written.
pub fn make_key_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    create_parent(path)?;
    write_private(path, &key_file(1).to_string())
}

/// A key file whose keys were created one second apart, long ago.
pub(super) fn key_file(keys: u32) -> serde_json::Value {
    let key = |number: u32| {
        json!({
            "id": format!("{:032x}", rand::random::<u128>()),
            "value": random_text(32),
            "enabled": true, "created": number, "not_before": null, "expires": null, "tags": {},
        })
    };
    json!({"keys": (0..keys).map(key).collect::<Vec<_>>()})
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Writes a file that only its owner can read, replacing an older one.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut options = os::private_file_options();
    options.write(true).create(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
