mod authorization;
mod routes;

use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Graph, GraphOptions};
use crate::provider::{Options, Provider};
use crate::web::client;

const ADA: &str = "ada.lovelace@contoso.example";

struct Pair {
    provider: Provider,
    graph: Graph,
    token: String,
}

impl Pair {
    async fn start() -> Self {
        let provider = Provider::start(Options::new("http://localhost:7071")).await.unwrap();
        let graph = Graph::start(GraphOptions::new(&provider.issuer())).await.unwrap();
        let token = provider.access_token(ADA, "User.Read").unwrap();
        Self { provider, graph, token }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[(AUTHORIZATION.as_str(), bearer.as_str())], headers].concat();
        self.bare(method, path, &headers, body).await.unwrap()
    }

    async fn bare(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Response<Bytes>> {
        client::send(method, &format!("{}{path}", self.graph.base()), headers, body.to_owned()).await
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.send("GET", path, &[], "").await
    }

    async fn raw(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.graph.addr()).await.unwrap();
        let head = format!("{head}Host: x\r\nAuthorization: Bearer {}\r\n\r\n", self.token);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

fn json(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}
