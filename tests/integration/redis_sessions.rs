//! Sessions in a real Redis (contract section 15): journeys of the real binary, what is stored, moving, and outages.

mod acl;
mod clusters;
mod contents;
mod faults;
mod journeys;
mod lifetimes;
mod monitor;
mod moving;
mod other_instances;
mod outages;
mod size;
mod workload_identity;
mod writes;

use std::collections::BTreeMap;

use devkit::commands::stack::free_port;
use devkit::redis_server::{Options, RedisServer};

use crate::app::{Builder, Gateway, TestApp};
use crate::visitor::Visitor;

pub const ADA: &str = "ada.lovelace@contoso.example";
pub const COOKIE: &str = "__Host-Http-cloakroom";

/// A server that keeps its data when it is stopped.
fn redis() -> RedisServer {
    RedisServer::start(&Options::default().line("save 3600 1")).unwrap()
}

fn builder(redis: &RedisServer) -> Builder {
    TestApp::builder().set("STORE", redis.url())
}

/// One more instance of an app's gateway, with other settings by their names without prefix.
struct Instance {
    gateway: Gateway,
    port: u16,
}

impl Instance {
    fn start(app: &TestApp, changes: &[(&str, &str)]) -> Self {
        let changes = changes.iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), (*value).to_owned()));
        let settings: BTreeMap<String, String> = app.settings.clone().into_iter().chain(changes).collect();
        let port = free_port().unwrap();
        Self { gateway: Gateway::start(&settings, port), port }
    }

    /// A browser with these cookies that reaches this instance.
    fn visitor(&self, browser: &Visitor) -> Visitor {
        browser.at(self.port)
    }
}

/// The keys that begin with `cloakroom:` and this.
fn keys(redis: &RedisServer, kind: &str) -> Vec<String> {
    redis.command(&["KEYS", &format!("cloakroom:{kind}:*")]).unwrap().texts()
}

/// The key of the only record.
fn only_record(redis: &RedisServer) -> String {
    let mut records = keys(redis, "s");
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

/// `H` of a browser's session, by its companion.
fn hash(browser: &Visitor) -> String {
    browser.jar[&format!("{COOKIE}-id")].split('.').next().unwrap().to_owned()
}

async fn is_signed_in(visitor: &mut Visitor) -> bool {
    visitor.fetch("GET", "/auth/session").await.json()["authenticated"] == true
}
