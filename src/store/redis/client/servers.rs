//! Which server gets a command: that of the URL, or in a cluster the primary of the slot. A cluster is detected by its
//! first redirection (contract 15.14).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join_all, select_ok};
use redis::{Cmd, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::Config;
use super::address::Address;
use super::failure::{Failed, Failure};
use super::link::Link;
use super::outages::Outages;
use super::slots::SlotMap;
use crate::net::{CONNECT, OutboundClients};

/// Most redirections of one command.
const REDIRECTIONS: u32 = 8;
/// The pause after the first `TRYAGAIN`: keys are on their way between two servers. It doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Shortest interval between two attempts to load the slots.
const RELOAD_PAUSE: Duration = Duration::from_millis(200);
/// How many keys one `SCAN` looks at.
const SCANNED: u32 = 1_000;
/// How many servers are asked for the slots at the same time.
const SOURCES: usize = 4;

#[derive(Debug)]
pub(super) struct Servers {
    config: Arc<Config>,
    net: Arc<OutboundClients>,
    outages: Arc<Outages>,
    /// That of the URL.
    first: Arc<Link>,
    cluster: SyncMutex<Cluster>,
    reload: Mutex<Reload>,
}

#[derive(Debug, Default)]
struct Cluster {
    /// `None`: as far as is known there is only one server.
    slots: Option<SlotMap>,
    links: BTreeMap<Address, Arc<Link>>,
}

/// Held while the slots are loaded.
#[derive(Debug, Default)]
struct Reload {
    last: Option<Instant>,
    /// Whether the last attempt failed, which is logged once.
    failed: bool,
}

/// A reply that is no error, and the server that sent it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) server: Arc<Address>,
    pub(super) value: Value,
}

/// Where a command is sent.
struct Route {
    link: Arc<Link>,
    /// Whether an `ASK` redirected it.
    asking: bool,
}

/// What a command has been through.
#[derive(Default)]
struct Attempts {
    redirections: u32,
    retried: bool,
}

impl Servers {
    pub(super) fn new(config: Arc<Config>, net: Arc<OutboundClients>, outages: Arc<Outages>) -> Self {
        let address = Address { host: config.host.clone(), port: config.port };
        let first = Link::new(address, Arc::clone(&config), Arc::clone(&net));
        Self { config, net, outages, first, cluster: SyncMutex::default(), reload: Mutex::default() }
    }

    /// The server of the URL.
    pub(super) fn first(&self) -> &Arc<Address> {
        &self.first.server
    }

    /// Sends a command to the primary of a slot. It is sent once more if its reply is lost.
    pub(super) async fn send(&self, slot: u16, command: &Cmd) -> Result<Reply, Failed> {
        let mut attempts = Attempts::default();
        let mut route = self.route(slot);
        loop {
            let server = Arc::clone(&route.link.server);
            let failure = match route.send(command).await {
                Ok(value) => return Ok(Reply { server, value }),
                Err(failure) => failure,
            };
            match self.next(&mut attempts, slot, &route, &failure).await {
                Some(next) => route = next,
                None => return Err(Failed { server, failure }),
            }
        }
    }

    /// The keys on all primaries that match a pattern. One may occur twice.
    pub(super) async fn scan(&self, pattern: &str) -> Result<Vec<Vec<u8>>, Failed> {
        // A server of a cluster does not redirect this command: without the slots, the keys of others would be missing.
        let failed = |failure| Failed { server: Arc::clone(self.first()), failure };
        self.replace(self.load_from(self.sources()).await.map_err(failed)?);
        let mut keys = Vec::new();
        for link in self.primaries() {
            let mut cursor = Vec::from(b"0");
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
                let page = Route { link: Arc::clone(&link), asking: false }.send(&command).await;
                let page = page.and_then(|page| redis::from_redis_value(page).map_err(|_| Failure::Malformed));
                let (next, found): (Vec<u8>, Vec<Vec<u8>>) =
                    page.map_err(|failure| Failed { server: Arc::clone(&link.server), failure })?;
                keys.extend(found);
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(keys)
    }

    /// The replies of all primaries to a command without keys; those that do not reply are left out.
    pub(super) async fn ask_all(&self, command: &Cmd) -> Vec<Reply> {
        let asked = self.primaries().into_iter().map(|link| async move {
            let server = Arc::clone(&link.server);
            let value = Route { link, asking: false }.send(command).await.ok()?;
            Some(Reply { server, value })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn primaries(&self) -> Vec<Arc<Link>> {
        let primaries: Option<BTreeSet<Address>> =
            self.cluster().slots.as_ref().map(|slots| slots.primaries().cloned().collect());
        primaries.map_or_else(
            || vec![Arc::clone(&self.first)],
            |primaries| primaries.iter().map(|primary| self.link(primary)).collect(),
        )
    }

    /// Where to send a command again after a failure, if it is worth it.
    async fn next(&self, attempts: &mut Attempts, slot: u16, route: &Route, failure: &Failure) -> Option<Route> {
        match failure {
            Failure::Moved(server) if attempts.may_redirect() => {
                self.reload(vec![Arc::clone(&route.link)]).await;
                Some(Route { link: self.link(server), asking: false })
            }
            Failure::Ask(server) if attempts.may_redirect() => Some(Route { link: self.link(server), asking: true }),
            Failure::TryAgain if attempts.may_redirect() => {
                sleep(FIRST_PAUSE * 2_u32.pow(attempts.redirections - 1)).await;
                Some(self.route(slot))
            }
            failure if failure.ends_connection() || failure.ends_route() && self.is_cluster() => {
                if std::mem::replace(&mut attempts.retried, true) {
                    return None;
                }
                if self.is_cluster() {
                    self.reload(self.sources()).await;
                }
                Some(self.route(slot))
            }
            _ => None,
        }
    }

    fn route(&self, slot: u16) -> Route {
        let primary = self.cluster().slots.as_ref().and_then(|slots| slots.primary(slot)).cloned();
        let link = primary.map_or_else(|| Arc::clone(&self.first), |primary| self.link(&primary));
        Route { link, asking: false }
    }

    fn link(&self, server: &Address) -> Arc<Link> {
        if *server == *self.first.server {
            return Arc::clone(&self.first);
        }
        let new = || Link::new(server.clone(), Arc::clone(&self.config), Arc::clone(&self.net));
        Arc::clone(self.cluster().links.entry(server.clone()).or_insert_with(new))
    }

    fn is_cluster(&self) -> bool {
        self.cluster().slots.is_some()
    }

    /// The server of the URL and some others, connected ones first, because the one that failed may be among them.
    fn sources(&self) -> Vec<Arc<Link>> {
        let mut others: Vec<_> = self.cluster().links.values().map(Arc::clone).collect();
        others.sort_by_key(|link| !link.is_connected());
        others.truncate(SOURCES - 1);
        others.push(Arc::clone(&self.first));
        others
    }

    /// Loads the slots from one of these servers, unless that was just done.
    async fn reload(&self, sources: Vec<Arc<Link>>) {
        let mut reload = self.reload.lock().await;
        if reload.last.is_some_and(|at| at.elapsed() < RELOAD_PAUSE) {
            return;
        }
        match self.load_from(sources).await {
            Ok(slots) => {
                self.replace(slots);
                reload.failed = false;
            }
            Err(failure) if !reload.failed => {
                let acl_rule = failure.acl_rule(&self.config.prefix);
                tracing::warn!(
                    error_class = failure.class(), acl_rule, problem = %failure,
                    "the slots of the session store's cluster cannot be loaded"
                );
                reload.failed = true;
            }
            Err(_) => {}
        }
        reload.last = Some(Instant::now());
    }

    /// Takes new slots, closes connections to servers that have none, and forgets that these failed.
    fn replace(&self, slots: Option<SlotMap>) {
        let primaries: BTreeSet<Address> = match &slots {
            Some(slots) => slots.primaries().cloned().collect(),
            None => BTreeSet::from([Address::clone(&self.first.server)]),
        };
        let mut cluster = self.cluster();
        cluster.links.retain(|server, _| primaries.contains(server));
        cluster.slots = slots;
        drop(cluster);
        self.outages.forget_servers(|server| primaries.contains(server));
    }

    /// The slots by the first of these servers that replies.
    async fn load_from(&self, sources: Vec<Arc<Link>>) -> Result<Option<SlotMap>, Failure> {
        let loads = sources.into_iter().map(|link| self.load(link).boxed());
        let loaded = timeout(CONNECT, select_ok(loads)).await.unwrap_or(Err(Failure::Timeout));
        loaded.map(|(slots, _)| slots)
    }

    /// `None`: the server of the URL does not belong to a cluster any more.
    async fn load(&self, link: Arc<Link>) -> Result<Option<SlotMap>, Failure> {
        let sent = link.connection().await?.send(redis::cmd("CLUSTER").arg("SLOTS"), false).await;
        match sent {
            Ok(reply) => SlotMap::read(&reply, &link.server).map(Some).ok_or(Failure::Malformed),
            Err(failure) if failure.is_unclustered() && Arc::ptr_eq(&link, &self.first) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        self.link.connection().await?.send(command, self.asking).await
    }
}

impl Attempts {
    fn may_redirect(&mut self) -> bool {
        self.redirections += 1;
        self.redirections <= REDIRECTIONS
    }
}
