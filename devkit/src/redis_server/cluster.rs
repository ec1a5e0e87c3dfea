//! A cluster of servers, and moving its slots.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Options, PATIENCE, RedisServer, Reply};
use crate::web::free_port;

/// A cluster divides its keys into this many slots.
const SLOTS: usize = 16_384;

/// Servers that form a cluster: first the primaries, which share the slots evenly, then their replicas.
#[derive(Debug)]
pub struct Cluster {
    pub servers: Vec<RedisServer>,
    primaries: usize,
    tls: bool,
    /// The ports on which the servers talk to each other. By default they are among those that the system gives to
    /// connections.
    bus_ports: Vec<u16>,
}

impl Cluster {
    /// Starts a cluster with that many primaries, each with that many replicas, and waits until all servers agree that
    /// it works.
    ///
    /// # Errors
    /// A server does not start, or they do not agree.
    pub fn start(primaries: usize, replicas: usize, options: &Options) -> io::Result<Self> {
        let lines = ["cluster-enabled yes", "cluster-node-timeout 1000", "cluster-config-file nodes.conf"];
        let tls = options.tls.is_some();
        let tls_line = tls.then_some("tls-cluster yes");
        let options = lines.into_iter().chain(tls_line).fold(options.clone(), Options::line);
        let all = primaries * (1 + replicas);
        let bus_ports: Vec<u16> = (0..all).map(|_| free_port()).collect::<io::Result<_>>()?;
        let start = |port| RedisServer::start(&options.clone().line(format!("cluster-port {port}")));
        let servers = bus_ports.iter().map(start).collect::<io::Result<_>>()?;
        let cluster = Self { servers, primaries, tls, bus_ports };
        cluster.share_slots()?;
        cluster.introduce()?;
        cluster.wait_until("cluster_known_nodes", &all.to_string())?;
        for (at, replica) in cluster.servers.iter().enumerate().skip(primaries) {
            ok(replica.command(&["CLUSTER", "REPLICATE", &cluster.id(at % primaries)?]))?;
        }
        cluster.wait_until("cluster_state", "ok")?;
        cluster.wait_until("cluster_size", &primaries.to_string())?;
        cluster.wait_until_replicated()?;
        Ok(cluster)
    }

    fn share_slots(&self) -> io::Result<()> {
        for (at, server) in self.servers.iter().enumerate().take(self.primaries) {
            let [first, last] = [at, at + 1].map(|at| at * SLOTS / self.primaries);
            let range = [first.to_string(), (last - 1).to_string()];
            ok(server.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]))?;
            ok(server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]))?;
        }
        Ok(())
    }

    fn introduce(&self) -> io::Result<()> {
        let (first, bus) = (self.port(0), self.bus_ports[0].to_string());
        for server in &self.servers[1..] {
            ok(server.command(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus]))?;
        }
        Ok(())
    }

    /// Waits until every server reports this value in `CLUSTER INFO`.
    fn wait_until(&self, name: &str, value: &str) -> io::Result<()> {
        let line = format!("{name}:{value}\r\n");
        for server in &self.servers {
            wait_for(&line, || Ok(server.command(&["CLUSTER", "INFO"])?.text().contains(&line)))?;
        }
        Ok(())
    }

    fn wait_until_replicated(&self) -> io::Result<()> {
        for replica in &self.servers[self.primaries..] {
            let is_linked = || Ok(replica.command(&["INFO", "replication"])?.text().contains("master_link_status:up"));
            wait_for("replication", is_linked)?;
        }
        Ok(())
    }

    /// The port that the servers use for commands among each other.
    fn port(&self, server: usize) -> String {
        let server = &self.servers[server];
        if self.tls { server.tls_port() } else { server.port() }.to_string()
    }

    /// The id of a server in the cluster.
    ///
    /// # Errors
    /// It does not reply.
    pub fn id(&self, server: usize) -> io::Result<String> {
        Ok(self.servers[server].command(&["CLUSTER", "MYID"])?.text())
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// No reply.
    pub fn slot(&self, key: &str) -> io::Result<usize> {
        let slot = self.servers[0].command(&["CLUSTER", "KEYSLOT", key])?.text();
        slot.parse().map_err(io::Error::other)
    }

    /// The primary that had a slot at the start.
    #[must_use]
    pub fn first_owner(&self, slot: usize) -> usize {
        (0..self.primaries).rfind(|at| at * SLOTS / self.primaries <= slot).unwrap_or(0)
    }

    /// Starts to move a slot: `from` redirects with `ASK` for keys that it does not have.
    ///
    /// # Errors
    /// A server rejects it.
    pub fn begin_move(&self, slot: usize, from: usize, to: usize) -> io::Result<()> {
        let (slot, source, target) = (slot.to_string(), self.id(from)?, self.id(to)?);
        ok(self.servers[to].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]))?;
        ok(self.servers[from].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]))
    }

    /// Moves one key of a slot that is being moved.
    ///
    /// # Errors
    /// A server rejects it.
    pub fn move_key(&self, key: &str, from: usize, to: usize) -> io::Result<()> {
        let port = self.port(to);
        ok(self.servers[from].command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]))
    }

    /// Ends the move of a slot: `from` redirects with `MOVED`.
    ///
    /// # Errors
    /// A server rejects it.
    pub fn end_move(&self, slot: usize, from: usize, to: usize) -> io::Result<()> {
        let (slot, target) = (slot.to_string(), self.id(to)?);
        for server in [to, from] {
            ok(self.servers[server].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]))?;
        }
        Ok(())
    }
}

/// Waits until a server's state is as expected.
///
/// # Errors
/// It does not become so.
pub(super) fn wait_for(what: &str, mut condition: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let started = Instant::now();
    while !condition()? {
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("never: {what}")));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn ok(reply: io::Result<Reply>) -> io::Result<()> {
    match reply? {
        Reply::Error(text) => Err(io::Error::other(text)),
        _ => Ok(()),
    }
}
