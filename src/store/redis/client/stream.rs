//! The byte stream to a server: TCP, or TLS with the gateway's trusted roots (contract 15.15).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::AsyncStream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::Config;
use super::address::Address;
use super::failure::Failure;
use crate::net::OutboundClients;
use crate::telemetry::spawn_blocking;

/// Bytes read at a time. The library reads 8 KB, which is one record; replies to concurrent calls come together.
const READ_BUFFER: usize = 64 * 1_024;

pub(super) type Stream = Pin<Box<dyn AsyncStream + Send + Sync>>;

/// Connects to a server. Its name is resolved each time, so that a failover by DNS is noticed.
pub(super) async fn open(server: &Address, config: &Config, net: &Arc<OutboundClients>) -> Result<Stream, Failure> {
    let tls = if config.tls { Some(tls(net).await?) } else { None };
    let addresses = lookup_host((server.host.as_str(), server.port)).await.map_err(|_| Failure::Unresolved)?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let tcp = TcpStream::connect(addresses.as_slice()).await;
    let tcp = tcp.map_err(|error| Failure::Unreachable(error.kind()))?;
    tcp.set_nodelay(true).map_err(|error| Failure::Unreachable(error.kind()))?;
    let tcp = BufReader::with_capacity(READ_BUFFER, tcp);
    let Some(tls) = tls else { return Ok(Box::pin(tcp)) };
    let name = ServerName::try_from(verified_name(server, config).to_owned());
    let name = name.map_err(|_| Failure::Tls("the host name is not valid in a certificate".to_owned()))?;
    Ok(Box::pin(TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| tls_failure(&error))?))
}

/// The name that the certificate must have: for a server of a cluster that is named by its address that of the URL,
/// because certificates of such clusters have no addresses.
fn verified_name<'a>(server: &'a Address, config: &'a Config) -> &'a str {
    let url_has_name = !Address { host: config.host.clone(), port: config.port }.is_ip();
    if server.is_ip() && url_has_name { &config.host } else { &server.host }
}

/// Reading the trusted roots blocks for tens of milliseconds.
async fn tls(net: &Arc<OutboundClients>) -> Result<Arc<ClientConfig>, Failure> {
    let net = Arc::clone(net);
    spawn_blocking(move || net.tls()).await.ok().flatten().ok_or(Failure::NoRoots)
}

fn tls_failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(error) => Failure::Tls(error.to_string()),
        None => Failure::Unreachable(error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Auth;
    use super::*;

    #[test]
    fn servers_named_by_address_must_have_the_name_of_the_url() {
        let config = |host: &str| Config {
            host: host.to_owned(),
            port: 6380,
            tls: true,
            database: 0,
            auth: Auth::None,
            prefix: String::new(),
        };
        let name = |server: &str, url: &str| {
            verified_name(&Address { host: server.to_owned(), port: 7000 }, &config(url)).to_owned()
        };
        assert_eq!(name("redis.example", "redis.example"), "redis.example");
        assert_eq!(name("10.0.0.7", "redis.example"), "redis.example");
        assert_eq!(name("fd00::7", "redis.example"), "redis.example");
        assert_eq!(name("node-7.example", "redis.example"), "node-7.example");
        assert_eq!(name("10.0.0.7", "10.0.0.1"), "10.0.0.7");
    }
}
