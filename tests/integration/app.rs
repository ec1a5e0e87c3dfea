//! Runs the real binary with stand-ins for the provider, Graph and, optionally, the host, each a separate server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::commands::stack::free_port;
use devkit::graph::{Graph, GraphOptions};
use devkit::host::{Host, Mode, Options as HostOptions};
use devkit::identity::Identity;
use devkit::provider::{self, Federated, Provider};
use serde_json::json;

use crate::visitor::Visitor;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_cloakroom");
/// The project's root.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The static key of every test without another key source.
pub const KEY: [u8; 32] = [0x5A; 32];
/// The setting that makes the gateway a server of its own (contract 17.1).
pub const LISTEN: &str = "CLOAKROOM_LISTEN";
/// How long a test waits for a condition before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How requests reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Directly, at its port, as the Functions host or, with [`STANDALONE`], an ingress calls it.
    Direct,
    /// Through the host stand-in, in this mode.
    Host(Mode),
}

/// The variable that starts gateways without a host as outside Azure Functions (contract 17.1). `cargo dev test` runs
/// the journeys in both ways.
pub const STANDALONE: &str = "TEST_STANDALONE";

/// Whether gateways without a host run as outside Azure Functions.
pub fn is_standalone() -> bool {
    std::env::var_os(STANDALONE).is_some()
}

/// Directly and in both host modes; directly only where there is no host.
pub fn every_reach() -> Vec<Reach> {
    let hosts = [Mode::Forward, Mode::Proxy].map(Reach::Host);
    [Reach::Direct].into_iter().chain(hosts.into_iter().filter(|_| !is_standalone())).collect()
}

/// How to start a [`TestApp`].
pub struct Builder {
    reach: Reach,
    settings: BTreeMap<String, String>,
    provider: Option<provider::Options>,
    federated: Option<Federated>,
    tenants: Option<String>,
    is_framed: bool,
    graph_entry: serde_json::Value,
    other_apis: serde_json::Value,
    patient: bool,
    is_standalone: bool,
}

/// A running gateway with its stand-ins. Dropping it stops everything.
pub struct TestApp {
    /// The public origin.
    pub origin: String,
    /// The port that the browser connects to.
    pub port: u16,
    /// The provider.
    pub provider: Provider,
    /// The Graph stand-in.
    pub graph: Graph,
    /// The settings that the gateway is started with.
    pub settings: BTreeMap<String, String>,
    host: Option<Host>,
    gateway: Option<Gateway>,
}

impl TestApp {
    /// A gateway that is called directly, with default provider options.
    pub fn builder() -> Builder {
        Builder {
            reach: Reach::Direct,
            settings: BTreeMap::new(),
            provider: None,
            federated: None,
            tenants: None,
            is_framed: false,
            graph_entry: json!({}),
            other_apis: json!({}),
            patient: true,
            is_standalone: false,
        }
    }

    /// A gateway with all defaults.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A browser without cookies.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(&self.origin)
    }

    /// A browser whose user has signed in.
    pub async fn signed_in(&self, user: &str) -> Visitor {
        let mut visitor = self.visitor();
        let response = visitor.sign_in(&self.provider, user, "/").await;
        assert_eq!((response.status, response.header("location")), (302, Some("/")), "{}", self.log());
        visitor
    }

    /// All output of gateway and host so far.
    pub fn log(&self) -> String {
        let host = self.host.iter().flat_map(Host::logs).map(|line| line.text + "\n");
        let gateway = self.gateway.iter().map(Gateway::log);
        host.chain(gateway).collect()
    }

    /// The gateway's process.
    pub fn pid(&self) -> u32 {
        let hosted = self.host.as_ref().and_then(Host::handler_pid);
        hosted.or_else(|| self.gateway.as_ref().map(|gateway| gateway.child.id())).expect("the gateway runs")
    }

    /// The port on which the host calls the gateway.
    pub fn handler_port(&self) -> u16 {
        self.host.as_ref().map(Host::handler_port).expect("the gateway is behind a host")
    }

    /// Restarts the gateway, which must be called directly, with the current settings.
    pub fn restart(&mut self) {
        self.gateway = None;
        self.gateway = Some(Gateway::start(&self.settings, self.port));
    }

    /// Waits until the log contains a text: lines may follow the response.
    pub async fn wait_for_log(&self, text: &str) {
        wait_until_logged(|| self.log(), text, 1).await;
    }

    /// Waits until the log contains a text so many times; it must not contain it more often.
    pub async fn wait_for_log_count(&self, text: &str, count: usize) {
        wait_until_logged(|| self.log(), text, count).await;
        assert_eq!(self.log().matches(text).count(), count, "{text}: {}", self.log());
    }

    /// Waits until `/health/ready` responds with a status.
    pub async fn wait_until_ready(&self, status: u16) {
        let started = Instant::now();
        loop {
            let response = self.visitor().get("/health/ready").await;
            if response.status == status {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "`/health/ready` still responds {}: {}\n{}",
                response.status,
                response.text(),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Builder {
    /// Chooses how requests arrive.
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Sets a setting by its name without prefix; an empty value removes it.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(format!("CLOAKROOM_{name}"), value.into());
        self
    }

    /// Sets an environment variable by its full name.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_owned(), value.into());
        self
    }

    /// Uses other provider options. The addresses are filled in.
    pub fn provider(mut self, options: provider::Options) -> Self {
        self.provider = Some(options);
        self
    }

    /// Uses this managed identity, with that client id, as client assertion instead of a secret.
    pub fn federated(self, identity: &Identity, client_id: &str) -> Self {
        let builder = self.trusting(identity.issuer(), identity.principal(client_id).unwrap());
        identity.env().into_iter().fold(builder, |builder, (name, value)| builder.variable(name, value))
    }

    /// Uses client assertions of this issuer, about this subject, instead of a secret.
    pub fn trusting(mut self, issuer: String, subject: String) -> Self {
        self.federated = Some(Federated { issuer, subject, audience: "api://AzureADTokenExchange".to_owned() });
        self.set("CLIENT_SECRET", "")
    }

    /// Uses the multi-tenant issuer template and allows these tenants.
    pub fn tenants(mut self, allowed: &str) -> Self {
        self.tenants = Some(allowed.to_owned());
        self
    }

    /// Registers the front-channel logout, which the provider's sign-out page frames.
    pub fn with_frontchannel_logout(mut self) -> Self {
        self.is_framed = true;
        self
    }

    /// Changes members of Graph's entry in the API map.
    pub fn graph_entry(mut self, members: serde_json::Value) -> Self {
        self.graph_entry = members;
        self
    }

    /// Adds entries to the API map.
    pub fn other_apis(mut self, entries: serde_json::Value) -> Self {
        self.other_apis = entries;
        self
    }

    /// Starts the gateway as outside Azure Functions (contract 17.1).
    pub fn standalone(mut self) -> Self {
        self.is_standalone = true;
        self
    }

    /// Does not wait until the gateway is ready.
    pub fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Starts everything.
    pub async fn start(self) -> TestApp {
        let port = free_port().unwrap();
        let origin = format!("http://localhost:{port}");
        let mut defaults = provider::Options::new(&origin);
        if let Some(federated) = self.federated {
            defaults.clients[0].secret = None;
            defaults.clients[0].federated = Some(federated);
        }
        if self.is_framed {
            defaults.clients[0].frontchannel_logout_uri = Some(format!("{origin}/auth/frontchannel-logout"));
        }
        let options = match self.provider {
            Some(options) => provider::Options { clients: defaults.clients, ..options },
            None => defaults,
        };
        let provider = Provider::start(options).await.unwrap();
        let graph = Graph::start(GraphOptions::new(&provider.issuer())).await.unwrap();
        let mut settings = settings(&origin, &provider);
        if let Some(allowed) = self.tenants {
            settings.insert("CLOAKROOM_AUTHORITY".to_owned(), provider.authority("organizations"));
            settings.insert("CLOAKROOM_ALLOWED_TENANTS".to_owned(), allowed);
        }
        let mut map = api_map(&graph.base());
        for (name, value) in self.graph_entry.as_object().unwrap() {
            map["graph"][name] = value.clone();
        }
        for (name, entry) in self.other_apis.as_object().unwrap() {
            map[name] = entry.clone();
        }
        settings.insert("CLOAKROOM_APIS".to_owned(), map.to_string());
        settings.extend(self.settings);
        if self.is_standalone {
            settings.insert(LISTEN.to_owned(), format!("127.0.0.1:{port}"));
        }
        let mut app = TestApp { origin, port, provider, graph, settings, host: None, gateway: None };
        match self.reach {
            Reach::Direct => app.gateway = Some(Gateway::start(&app.settings, port)),
            Reach::Host(mode) => app.host = Some(host(&app.settings, port, mode).await),
        }
        if self.patient {
            app.wait_until_ready(200).await;
        }
        app
    }
}

async fn host(settings: &BTreeMap<String, String>, port: u16, mode: Mode) -> Host {
    let mut env = settings.clone();
    let executable = "AzureFunctionsJobHost__customHandler__description__defaultExecutablePath";
    env.insert(executable.to_owned(), BINARY.to_owned());
    let host = Host::start(HostOptions { port, mode: Some(mode), env, ..HostOptions::new(ROOT) }).await.unwrap();
    host.wait_ready().await.unwrap();
    host
}

/// The API map of the tests: Graph, with everything that the stand-in supports allowed.
pub fn api_map(base: &str) -> serde_json::Value {
    json!({"graph": {
        "route": "/graph",
        "base": base,
        "scopes": [format!("{}/User.Read", provider::GRAPH)],
        "allow": ["GET /me", "GET /me/**", "PATCH /me", "POST /me/sendMail", "* /echo/**", "GET /hostile", "GET /redirect",
                  "GET /slow", "GET /bytes", "GET /status/*", "GET /hang-up"],
        "request_headers": ["ConsistencyLevel", "Prefer"],
    }})
}

/// The settings of the tests.
pub fn settings(origin: &str, provider: &Provider) -> BTreeMap<String, String> {
    let pairs = [
        ("AUTHORITY", provider.issuer()),
        ("CLIENT_ID", provider::CLIENT_ID.to_owned()),
        ("CLIENT_SECRET", provider::CLIENT_SECRET.to_owned()),
        ("ENC_KEY", URL_SAFE_NO_PAD.encode(KEY)),
        ("LOG", "debug,json".to_owned()),
        ("PUBLIC_ORIGIN", origin.to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), value)).collect()
}

/// The binary, started without a host.
pub struct Gateway {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Gateway {
    /// Starts it on a port and waits until it listens.
    pub fn start(settings: &BTreeMap<String, String>, port: u16) -> Self {
        Self::start_binary(BINARY, settings, port)
    }

    /// The same with another binary.
    pub fn start_binary(binary: &str, settings: &BTreeMap<String, String>, port: u16) -> Self {
        if is_standalone() || settings.contains_key(LISTEN) {
            return Self::spawn(binary, settings, LISTEN, &format!("127.0.0.1:{port}"));
        }
        let port = port.to_string();
        Self::spawn(binary, settings, "FUNCTIONS_CUSTOMHANDLER_PORT", &port)
    }

    /// Starts it outside Functions at another address than one on 127.0.0.1.
    pub fn at(settings: &BTreeMap<String, String>, address: &str) -> Self {
        Self::spawn(BINARY, settings, LISTEN, address)
    }

    fn spawn(binary: &str, settings: &BTreeMap<String, String>, variable: &str, address: &str) -> Self {
        let mut command = Command::new(binary);
        command.current_dir(ROOT).env_clear();
        if is_standalone() {
            // A journey decides itself when its key ring has a key. Threads on a machine with one core, too.
            command.env("CLOAKROOM_KEY_ROTATE", "off").env("CLOAKROOM_THREADS", "4");
        }
        command.envs(settings).env(variable, address).stdin(Stdio::null());
        // Functions gives a port only.
        let address = if address.contains(':') { address.to_owned() } else { format!("127.0.0.1:{address}") };
        Self::start_command(&mut command, &address)
    }

    /// Runs a command that starts the gateway, and waits until it listens at the address.
    pub fn start_command(command: &mut Command, address: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), &written);
        collect(child.stderr.take().unwrap(), &written);
        let started = Instant::now();
        let port = address.rsplit(':').next().unwrap();
        let loopback = if address.starts_with("[::1]") { "[::1]" } else { "127.0.0.1" };
        while TcpStream::connect(format!("{loopback}:{port}")).is_err() {
            let text = String::from_utf8_lossy(&written.lock().unwrap()).into_owned();
            assert!(
                child.try_wait().unwrap().is_none() && started.elapsed() < PATIENCE,
                "the gateway does not listen: {text}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, written }
    }

    /// As [`TestApp::wait_for_log`].
    pub async fn wait_for_log(&self, text: &str) {
        wait_until_logged(|| self.log(), text, 1).await;
    }

    /// As [`TestApp::wait_for_log_count`].
    pub async fn wait_for_log_count(&self, text: &str, count: usize) {
        wait_until_logged(|| self.log(), text, count).await;
        assert_eq!(self.log().matches(text).count(), count, "{text}: {}", self.log());
    }

    /// All output so far. The gateway writes its log in the background, so a line may come after the response to the
    /// request that caused it.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Sends a signal and returns the exit code.
    pub fn end_by(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// A process that ends with its test.
pub struct KillOnDrop(pub Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait_until_logged(log: impl Fn() -> String, text: &str, count: usize) {
    let started = Instant::now();
    while log().matches(text).count() < count {
        assert!(started.elapsed() < PATIENCE, "{text} is not in the log {count} times:\n{}", log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap().append(&mut line);
        }
    });
}
