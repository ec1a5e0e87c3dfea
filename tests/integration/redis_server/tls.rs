//! TLS: whose certificate is accepted (contract 15.15).

use std::sync::Arc;

use cloakroom::net::OutboundClients;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::Client;
use devkit::redis_server::{Authority, Cluster, Options, RedisServer};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{config, eventually, get, set};

/// Connections that trust this authority.
pub fn trusting(authority: &Authority) -> Arc<OutboundClients> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let tls =
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    Arc::new(OutboundClients::with_tls(Arc::new(tls)))
}

/// A client that uses TLS and this host name.
fn client(host: &str, port: u16, net: &Arc<OutboundClients>) -> Arc<Client> {
    Client::new(Config { host: host.to_owned(), tls: true, ..config(port) }, Arc::clone(net))
}

#[tokio::test]
async fn certificate_and_host_name_are_verified() {
    let (trusted, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let named = RedisServer::start(&Options::default().tls(&trusted, &["localhost"])).unwrap();
    let misnamed = RedisServer::start(&Options::default().tls(&trusted, &["redis.example"])).unwrap();
    let forged = RedisServer::start(&Options::default().tls(&other, &["localhost"])).unwrap();
    let addressed = RedisServer::start(&Options::default().tls(&trusted, &["127.0.0.1"])).unwrap();
    let net = trusting(&trusted);
    for (at, (host, server, problem)) in [
        ("localhost", &named, None),
        ("127.0.0.1", &addressed, None),
        ("127.0.0.1", &named, Some("not valid for name")),
        ("localhost", &misnamed, Some("not valid for name")),
        ("localhost", &forged, Some("invalid peer certificate: BadSignature")),
    ]
    .into_iter()
    .enumerate()
    {
        let key = at.to_string();
        let client = client(host, server.tls_port(), &net);
        assert_eq!(set(&client, &key, "1").await.is_ok(), problem.is_none(), "{host} {problem:?}");
        if let Some(problem) = problem {
            let found = client.check().await.unwrap_err();
            assert!(found.contains("no TLS connection") && found.contains(problem), "{found}");
            assert_eq!(server.command(&["GET", &key]).unwrap().text(), "Nil", "nothing was sent");
        }
    }
}

/// A server without TLS, and TLS towards it.
#[tokio::test]
async fn nothing_is_sent_to_a_server_without_tls() {
    let server = RedisServer::start(&Options::default()).unwrap();
    let client = client("localhost", server.port(), &trusting(&Authority::new().unwrap()));
    assert!(set(&client, "a", "1").await.is_err());
    assert_eq!(server.command(&["GET", "a"]).unwrap().text(), "Nil");
}

/// Contract 15.15: servers of a cluster are named by address, and their certificates have the name of the URL only.
#[tokio::test]
async fn servers_of_a_cluster_must_have_the_name_of_the_url() {
    let trusted = Authority::new().unwrap();
    let cluster = Cluster::start(3, 0, &Options::default().tls(&trusted, &["localhost"])).unwrap();
    let client = client("localhost", cluster.servers[0].tls_port(), &trusting(&trusted));
    for number in 0..20 {
        let key = format!("key-{number}");
        set(&client, &key, "1").await.unwrap();
        assert_eq!(get(&client, &key).await.unwrap().as_deref(), Some("1"));
    }
    let sizes = cluster.servers.iter().map(|server| server.command(&["DBSIZE"]).unwrap().text());
    assert!(sizes.into_iter().all(|size| size != "0"), "each server has keys");
}

/// Contract 15.15: a server of a cluster whose certificate has its address but not the name of the URL.
#[tokio::test]
async fn a_server_of_a_cluster_with_another_name_is_not_used() {
    let trusted = Authority::new().unwrap();
    let cluster = Cluster::start(3, 0, &Options::default().tls(&trusted, &["localhost"])).unwrap();
    let owned_by = |server: usize| {
        let owner = |key: &String| cluster.first_owner(cluster.slot(key).unwrap());
        (0..).map(|number| format!("{{{number}}}")).find(|key| owner(key) == server).unwrap()
    };
    let (right, wrong) = (owned_by(1), owned_by(2));
    let other = RedisServer::start(&Options::default().tls(&trusted, &["127.0.0.1"])).unwrap();
    for file in ["leaf.pem", "key.pem"] {
        std::fs::copy(other.folder().join(file), cluster.servers[2].folder().join(file)).unwrap();
    }
    cluster.servers[2].kill();
    cluster.servers[2].start_again().unwrap();
    let state = || cluster.servers.iter().map(|server| server.command(&["CLUSTER", "INFO"]).unwrap().text());
    eventually("the cluster is up", async || state().all(|state| state.contains("cluster_state:ok"))).await;
    // The keys of its check begin with the prefix.
    let client = |prefix: &str| {
        let config = config(cluster.servers[0].tls_port());
        let config = Config { host: "localhost".to_owned(), tls: true, prefix: prefix.to_owned(), ..config };
        Client::new(config, trusting(&trusted))
    };
    assert_eq!(client(&right).check().await, Ok(()));
    let problem = client(&wrong).check().await.unwrap_err();
    assert!(problem.contains("no TLS connection") && problem.contains("not valid for name"), "{problem}");
}
