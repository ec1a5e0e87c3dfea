//! A simulated browser: a cookie jar, the headers that browsers add, and a record of everything received.

use std::collections::BTreeMap;

use devkit::provider::Provider;
use reqwest::Method;
use reqwest::redirect::Policy;

/// One browser. A clone is a second tab, as long as no cookies change.
#[derive(Clone)]
pub struct Visitor {
    /// Its cookies by name.
    pub jar: BTreeMap<String, String>,
    /// All received bytes, heads included.
    pub received: Vec<u8>,
    origin: String,
    user_agent: Option<String>,
    client: reqwest::Client,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// All headers of a name.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The error code of the gateway, or `-`.
    pub fn code(&self) -> &str {
        self.header("cloakroom-error").unwrap_or("-")
    }
}

/// Headers of a navigation.
pub const NAVIGATION: [(&str, &str); 4] = [
    ("accept", "text/html"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-site", "same-origin"),
];
/// Headers of a `fetch` by the page.
pub const CALL: [(&str, &str); 4] =
    [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", "same-origin"), ("x-csrf", "1")];

/// Contract 3.9a: no redirect of the callback lets the browser carry the fragment of its address over. An empty
/// fragment is removed, as pages do.
fn check_fragment(location: &mut String) {
    assert!(location.contains('#'), "{location} has no fragment");
    if location.ends_with('#') {
        location.pop();
    }
}

impl Visitor {
    pub fn new(origin: &str) -> Self {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(cloakroom::net::OutboundClients::default().tls_without_roots().unwrap())
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { jar: BTreeMap::new(), received: Vec::new(), origin: origin.to_owned(), user_agent: None, client }
    }

    /// Sends this `User-Agent` from now on.
    pub fn name_itself(&mut self, user_agent: &str) {
        self.user_agent = Some(user_agent.to_owned());
    }

    /// The same browser at another port of this machine, for example of a second instance.
    pub fn at(&self, port: u16) -> Self {
        Self { origin: format!("http://localhost:{port}"), ..self.clone() }
    }

    /// Sends a request with the cookies of the jar, and stores those of the response.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.origin));
        if !self.jar.is_empty() && !headers.iter().any(|(name, _)| *name == "cookie") {
            request = request.header("cookie", self.cookie_header());
        }
        if let Some(user_agent) = &self.user_agent {
            request = request.header("user-agent", user_agent);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut headers: Vec<_> =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        if path.starts_with("/auth/callback") {
            headers.iter_mut().filter(|(name, _)| name == "location").for_each(|(_, to)| check_fragment(to));
        }
        let body = response.bytes().await.unwrap().to_vec();
        let response = Response { status, headers, body };
        self.keep(&response);
        response
    }

    fn keep(&mut self, response: &Response) {
        for (name, value) in &response.headers {
            self.received.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        self.received.extend_from_slice(&response.body);
        for line in response.headers_named("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// The jar as one header.
    pub fn cookie_header(&self) -> String {
        self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, &[], "").await
    }

    /// Navigates to a path.
    pub async fn navigate(&mut self, path: &str) -> Response {
        self.send("GET", path, &NAVIGATION, "").await
    }

    /// A `fetch` by the page.
    pub async fn fetch(&mut self, method: &str, path: &str) -> Response {
        self.send(method, path, &CALL, "").await
    }

    /// Starts a sign-in and returns the address at the provider.
    pub async fn begin(&mut self, return_to: &str) -> String {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
        let response = self.navigate(&format!("/auth/login?{query}")).await;
        assert_eq!(response.status, 302, "{}", response.text());
        response.header("location").unwrap().to_owned()
    }

    /// Signs in at the provider; returns the response to the callback.
    pub async fn sign_in(&mut self, provider: &Provider, user: &str, return_to: &str) -> Response {
        let address = self.begin(return_to).await;
        let callback = provider.sign_in(&address, user).unwrap();
        self.come_back(&callback.location()).await
    }

    /// Follows the provider's redirect to the callback.
    pub async fn come_back(&mut self, location: &str) -> Response {
        let path =
            location.strip_prefix(&self.origin).unwrap_or_else(|| panic!("{location} is on another origin")).to_owned();
        self.send(
            "GET",
            &path,
            &[("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")],
            "",
        )
        .await
    }
}
