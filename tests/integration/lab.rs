//! The gateway as a library with its stand-ins: each entry point takes the time, so that no test waits for it.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use cloakroom::app::App;
use cloakroom::clock;
use cloakroom::config::Config;
use cloakroom::error::Error;
use cloakroom::keyring::KeySource;
use cloakroom::places::{Class, Limits, Place, Places};
use cloakroom::proxy::forward::Call;
use cloakroom::reply::{Reply, full};
use cloakroom::server;
use cloakroom::telemetry::TraceContext;
use devkit::graph::{Graph, GraphOptions};
use devkit::provider::{Options, Provider};
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::app::{api_map, settings};
use crate::session_stores::{Shared, SharedStore};
use crate::visitor::Visitor;

pub const ADA: &str = "ada.lovelace@contoso.example";
pub const ORIGIN: &str = "http://localhost:7071";

/// The gateway with its stand-ins, but without a socket.
pub struct Lab {
    pub app: Arc<App>,
    pub provider: Provider,
    pub graph: Graph,
    /// The store of all its instances, unless that is the cookie.
    pub shared: Option<Arc<Shared>>,
    vars: BTreeMap<String, String>,
}

/// A browser's cookies.
pub type Jar = BTreeMap<String, String>;

impl Lab {
    pub async fn new(options: Options, changes: &[(&str, &str)]) -> Self {
        Self::start(options, changes, None).await
    }

    /// The same over the double of a store behind a handle.
    pub async fn with_shared_store(options: Options, changes: &[(&str, &str)]) -> Self {
        Self::start(options, changes, Some(Arc::default())).await
    }

    async fn start(options: Options, changes: &[(&str, &str)], shared: Option<Arc<Shared>>) -> Self {
        let provider = Provider::start(options).await.unwrap();
        let graph = Graph::start(GraphOptions::new(&provider.issuer())).await.unwrap();
        let mut vars = settings(ORIGIN, &provider);
        vars.insert("CLOAKROOM_APIS".to_owned(), api_map(&graph.base()).to_string());
        vars.extend(changes.iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), (*value).to_owned())));
        let app = loaded(config(&vars), shared.as_ref()).await;
        Self { app, provider, graph, shared, vars }
    }

    /// Puts another instance of the gateway in place of this one; returns the one before.
    pub async fn replace_instance(&mut self) -> Arc<App> {
        let app = loaded(config(&self.vars), self.shared.as_ref()).await;
        std::mem::replace(&mut self.app, app)
    }

    /// Puts an instance with other settings in place of this one.
    pub async fn change_settings(&mut self, changes: &[(&str, &str)]) {
        let changes = changes.iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), (*value).to_owned()));
        self.vars.extend(changes);
        self.replace_instance().await;
    }

    /// Puts an instance with another key source in place of this one.
    pub async fn use_keys(&mut self, source: Arc<dyn KeySource>) {
        let mut config = config(&self.vars);
        config.keys.source = source;
        self.app = loaded(config, self.shared.as_ref()).await;
    }

    /// Serves this instance over a socket; returns a visitor of it. Its public origin stays [`ORIGIN`].
    pub async fn visitor(&self) -> Visitor {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(server::run(listener, Arc::clone(&self.app), pending()));
        Visitor::new(&format!("http://127.0.0.1:{port}"))
    }

    /// Starts a sign-in; returns the address of the redirect.
    pub async fn begin(&self, jar: &mut Jar, query: &str, now: u64) -> Result<String, Error> {
        let reply = self.app.auth.login(&headers(jar), query, now).await?;
        keep(jar, reply.headers().get_all(SET_COOKIE));
        Ok(location(&reply))
    }

    /// Sends the callback; returns the address of the redirect.
    pub async fn come_back(&self, jar: &mut Jar, params: &str, now: u64) -> String {
        let reply = self.app.auth.callback(&Method::GET, &headers(jar), params, || (), now).await.unwrap();
        keep(jar, reply.headers().get_all(SET_COOKIE));
        location(&reply).trim_end_matches('#').to_owned()
    }

    pub async fn signed_in(&self, now: u64) -> Jar {
        let mut jar = Jar::new();
        self.sign_in(&mut jar, ADA, now).await;
        jar
    }

    pub async fn sign_in(&self, jar: &mut Jar, user: &str, now: u64) {
        let away = self.begin(jar, "", now).await.unwrap();
        let callback = self.provider.sign_in(&away, user).unwrap();
        assert_eq!(self.come_back(jar, &callback.form(), now).await, "/");
    }

    pub async fn session(&self, jar: &Jar, now: u64) -> Value {
        json(self.app.auth.session(&headers(jar), now).await.unwrap()).await
    }

    pub async fn is_signed_in(&self, jar: &Jar, now: u64) -> bool {
        self.session(jar, now).await["authenticated"].as_bool().unwrap()
    }

    /// A call to the API; returns whether its response wrote the session.
    pub async fn call(&self, jar: &mut Jar, now: u64) -> Result<bool, Error> {
        let reply = self.get(jar, "/graph/me", None, now).await?;
        Ok(reply.headers().contains_key(SET_COOKIE))
    }

    /// A successful `GET` of a path of the API.
    pub async fn get(&self, jar: &mut Jar, path: &str, query: Option<&str>, now: u64) -> Result<Reply, Error> {
        let headers = headers(jar);
        let trace = &TraceContext::from_headers(&headers);
        let call =
            Call { method: &Method::GET, path, query, headers: &headers, trace, place: &place(Class::Proxied), now };
        let reply = self.app.proxy.call(call, full(Bytes::new())).await.map_err(|rejected| {
            keep(jar, &rejected.cookies);
            rejected.error
        })?;
        assert_eq!(reply.status(), 200);
        keep(jar, reply.headers().get_all(SET_COOKIE));
        Ok(reply)
    }

    /// `POST /auth/refresh`.
    pub async fn refresh(&self, jar: &mut Jar, now: u64) -> Result<(), Error> {
        let reply = self.app.auth.refresh(&headers(jar), &place(Class::SignIn), now).await.map_err(|rejected| {
            keep(jar, &rejected.cookies);
            rejected.error
        })?;
        keep(jar, reply.headers().get_all(SET_COOKIE));
        Ok(())
    }

    /// `POST /auth/logout` by a page.
    pub async fn log_out(&self, jar: &mut Jar, now: u64) {
        let reply = self.app.auth.logout(&headers(jar), full(Bytes::new()), &place(Class::SignIn), now).await.unwrap();
        keep(jar, reply.headers().get_all(SET_COOKIE));
    }

    pub async fn logout_page(&self, jar: &Jar, query: &str, now: u64) -> (u16, String) {
        self.try_logout_page(jar, query, now).await.unwrap()
    }

    pub async fn try_logout_page(&self, jar: &Jar, query: &str, now: u64) -> Result<(u16, String), Error> {
        let reply = self.app.auth.logout_page(&headers(jar), query, &place(Class::SignIn), now).await?;
        Ok((reply.status().as_u16(), location(&reply)))
    }
}

/// The place of a request on an instance without others.
fn place(class: Class) -> Place {
    Places::new(&Limits::default()).arrived(class)
}

fn config(vars: &BTreeMap<String, String>) -> Config {
    Config::from_vars(&vars.clone().into_iter().collect()).unwrap()
}

async fn loaded(config: Config, shared: Option<&Arc<Shared>>) -> Arc<App> {
    let app = match shared {
        Some(shared) => {
            App::with_store(config, |sealer, _| Arc::new(SharedStore::new(Arc::clone(shared), Arc::clone(sealer))))
        }
        None => App::new(config),
    };
    tokio::join!(app.ring.refresh(clock::now()), app.revocations.refresh(clock::now()));
    app
}

pub async fn json(reply: Reply) -> Value {
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn headers(jar: &Jar) -> HeaderMap {
    let cookie = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let pairs = [(COOKIE.as_str(), cookie.as_str()), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
    let line =
        |(name, value): (&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}

fn keep<'a>(jar: &mut Jar, lines: impl IntoIterator<Item = &'a HeaderValue>) {
    for line in lines {
        let line = line.to_str().unwrap();
        let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
        if line.contains("Max-Age=0") {
            jar.remove(name);
        } else {
            jar.insert(name.to_owned(), value.to_owned());
        }
    }
}

fn location(reply: &Reply) -> String {
    reply.headers().get(LOCATION).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}
