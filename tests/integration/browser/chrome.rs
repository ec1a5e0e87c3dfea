//! Headless Chromium, driven by its own WebDriver.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devkit::host::Mode;
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use crate::app::PATIENCE;

/// How to install the browser.
const REMEDY: &str = "`cargo dev test` installs it as root; otherwise: apt-get install chromium chromium-driver";
/// How often the driver may fail to find a free port.
const ATTEMPTS: u8 = 5;
/// The interval between two checks of a page.
const LOOK: Duration = Duration::from_millis(25);
/// Size of the window.
const WIDTH: u32 = 720;

/// One browser with its own profile. Dropping it stops it.
pub struct Chrome {
    /// For everything without a method here.
    pub client: Client,
    session: String,
    driver: Driver,
    profile: Arc<TempDir>,
}

impl Chrome {
    pub async fn start() -> Self {
        Self::with_profile(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Ends the browser and starts it again with what it kept.
    pub async fn restart(self) -> Self {
        let profile = Arc::clone(&self.profile);
        drop(self);
        Self::with_profile(profile).await
    }

    async fn with_profile(profile: Arc<TempDir>) -> Self {
        let driver = Driver::start(profile.path());
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(profile.path()))
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .unwrap_or_else(|error| panic!("Chromium does not start: {error}. {REMEDY}"));
        let session = client.session_id().await.unwrap().unwrap();
        Self { client, session, driver, profile }
    }

    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> Element {
        match self.client.wait().at_most(PATIENCE).every(LOOK).for_element(Locator::Css(css)).await {
            Ok(element) => element,
            Err(error) => panic!("no {css} at {}: {error}\n{}", self.address().await, self.text("body").await),
        }
    }

    /// Waits until the sample page shows a state.
    pub async fn shows(&self, state: &str) {
        self.find(&format!("main[data-state={state}]")).await;
    }

    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Chooses a user on the provider's page.
    pub async fn choose(&self, user: &str) {
        self.click(&format!("button[name=user][value='{user}']")).await;
    }

    /// Chooses a user, unless the provider has a session.
    pub async fn choose_if_asked(&self, user: &str) {
        let either = self.find("button[name=user], main[data-state=signed-in]").await;
        if either.tag_name().await.is_ok_and(|name| name == "button") {
            self.choose(user).await;
        }
    }

    /// Waits until the page's status has this text.
    pub async fn says(&self, text: &str) {
        let started = Instant::now();
        while self.text("#status").await != text {
            assert!(started.elapsed() < PATIENCE, "{}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The visible text of an element.
    pub async fn text(&self, css: &str) -> String {
        self.client.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }

    pub async fn address(&self) -> String {
        self.script("return location.href").await.as_str().unwrap().to_owned()
    }

    /// Runs a script on the page and returns its result.
    pub async fn script(&self, body: &str) -> Value {
        self.client.execute(body, Vec::new()).await.unwrap()
    }

    /// Runs a script that calls its last argument with the result.
    pub async fn script_with(&self, body: &str, arguments: Vec<Value>) -> Value {
        self.client.execute_async(body, arguments).await.unwrap()
    }

    /// The browser's cookies for the gateway's host.
    pub async fn cookies(&self) -> Vec<Value> {
        let all = self.devtools("Network.getAllCookies", json!({})).await["cookies"].take();
        let Value::Array(all) = all else { panic!("{all}") };
        all.into_iter().filter(|cookie| cookie["domain"].as_str().unwrap().contains("localhost")).collect()
    }

    /// New console messages since the last call, including errors, blocked loads and violations.
    pub async fn console(&self) -> Value {
        self.extension("se/log", json!({"type": "browser"})).await
    }

    /// Switches the page to dark or light.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Sets the size of a phone's screen.
    pub async fn narrow(&self) {
        let metrics = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Disconnects the network.
    pub async fn go_offline(&self) {
        let none = json!({"offline": true, "latency": 0, "throughput": 0});
        self.extension("chromium/network_conditions", json!({"network_conditions": none})).await;
    }

    /// The whole page as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let size = self.devtools("Page.getLayoutMetrics", json!({})).await["cssContentSize"].take();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let response =
            self.devtools("Page.captureScreenshot", json!({"captureBeyondViewport": true, "clip": clip})).await;
        STANDARD.decode(response["data"].as_str().unwrap()).unwrap()
    }

    /// Saves a screenshot of the page: `target/screenshots/<mode>-<state>.png`.
    pub async fn keep_picture(&self, mode: Mode, state: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let name = format!("{mode:?}-{state}.png").to_lowercase();
        std::fs::write(folder.join(name), self.picture().await).unwrap();
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.extension("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    async fn extension(&self, path: &'static str, body: Value) -> Value {
        self.client.issue_cmd(Extension { path, body }).await.unwrap()
    }

    /// Ends Chromium in an orderly way, so that no process writes to its profile any more.
    fn end_session(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.driver.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", self.session)?;
        stream.read_exact(&mut [0])
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // Killing a driver that does not respond also ends its browser.
        let _ = self.end_session();
    }
}

/// The process that drives Chromium.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// Starts it on a free port, which it prints once it listens. It chooses the port for one address family and fails
    /// if that port is in use for the other, so that another attempt may be needed.
    fn start(scratch: &Path) -> Self {
        let started = (0..ATTEMPTS).find_map(|_| Self::attempt(scratch));
        started.unwrap_or_else(|| panic!("chromedriver ended without a port. {REMEDY}"))
    }

    fn attempt(scratch: &Path) -> Option<Self> {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver does not start: {error}. {REMEDY}"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = |line: String| line.rsplit_once(" successfully on port ")?.1.trim_end_matches('.').parse().ok();
        let Some(port) = lines.find_map(port) else {
            process.wait().unwrap();
            return None;
        };
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, port })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn capabilities(profile: &Path) -> Capabilities {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--force-prefers-reduced-motion",
        "--hide-scrollbars",
        // No connection outside this machine, and none through a proxy.
        "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.push(format!("--window-size={WIDTH},1000"));
    arguments.push(format!("--user-data-dir={}", profile.display()));
    let capabilities = json!({
        // The upload host of the Graph client has a certificate of a private authority.
        "acceptInsecureCerts": true,
        "goog:chromeOptions": {"args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    });
    let Value::Object(capabilities) = capabilities else { unreachable!() };
    capabilities
}

/// A command of the driver beyond the standard.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
