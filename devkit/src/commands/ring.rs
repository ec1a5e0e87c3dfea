//! A page that shows the key ring and rotates it, for `cargo dev up`. It works without JavaScript.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::{Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::stack::VaultAccess;
use crate::os;
use crate::web::{Body, Core, Handler, HangUp, Recorded, StandIn, escape, response};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f2f4f7;--card:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#d5dae0;--accent:#0b5cad;--on:#fff;--good:#1a7f47}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1e2329;--ink:#eceff2;--soft:#a3adb8;--line:#39424c;--accent:#7db8f5;--on:#0c1520;--good:#5fce8f}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:56rem;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
h1{margin:0 0 .25rem;font-size:1.4rem;line-height:1.3}
p{margin:0 0 1.25rem;color:var(--soft)}
pre{white-space:pre-wrap;border-left:.25rem solid #c4314b;padding-left:.75rem}
div{overflow-x:auto;margin-bottom:1.25rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--line)}
code{overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600;font-size:.85rem}
.active td{color:var(--good);font-weight:600}
.retired td,.revoked td,.invalid td{color:var(--soft)}
button{font:inherit;font-weight:600;color:var(--on);background:var(--accent);border:0;border-radius:.5rem;padding:.65rem 1.2rem;cursor:pointer}
button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}";

pub type RingPage = StandIn<State>;

impl StandIn<State> {
    /// Serves the page. The keys are listed by the gateway's own command, with these variables.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(
        address: SocketAddr,
        gateway: PathBuf,
        variables: BTreeMap<String, String>,
        vault: VaultAccess,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Self::serve(listener, None, State { gateway, variables, vault, core: Core::default() })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.addr().port())
    }
}

#[derive(Debug)]
pub struct State {
    gateway: PathBuf,
    variables: BTreeMap<String, String>,
    vault: VaultAccess,
    core: Core<()>,
}

impl State {
    async fn page(&self) -> Response<Body> {
        match self.list().await {
            Ok(keys) => page(StatusCode::OK, &table(&keys, self.core.clock.now())),
            Err(error) => page(StatusCode::BAD_GATEWAY, &format!("<pre role=\"alert\">{}</pre>", escape(&error))),
        }
    }

    async fn list(&self) -> Result<Vec<Value>, String> {
        let mut command = Command::new(&self.gateway);
        let needed = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(os::is_needed));
        command.args(["keys", "list", "--json"]).env_clear().envs(needed).envs(&self.variables).kill_on_drop(true);
        let output = command.output().await.map_err(|error| format!("{}: {error}", self.gateway.display()))?;
        let listed = serde_json::from_slice::<Value>(&output.stdout).ok().filter(|_| output.status.success());
        let keys = listed.and_then(|listed| listed["keys"].as_array().cloned());
        keys.ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Whether it comes from this page, since another page must not rotate keys.
    fn is_own(request: &Recorded) -> bool {
        let host = request.header("host").unwrap_or_default();
        let local = ["localhost:", "127.0.0.1:"].iter().any(|start| host.starts_with(start));
        local && request.header("origin").is_none_or(|origin| origin == format!("http://{host}"))
    }
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        Ok(match (request.method.as_str(), request.path()) {
            _ if !Self::is_own(&request) => response::empty(StatusCode::FORBIDDEN),
            ("GET", "/") => self.page().await,
            ("POST", "/rotate") => {
                self.vault.put_key();
                response::redirect(StatusCode::SEE_OTHER, "/")
            }
            _ => response::empty(StatusCode::NOT_FOUND),
        })
    }
}

fn table(keys: &[Value], now: u64) -> String {
    let row = |key: &Value| {
        let text = |name: &str| escape(key[name].as_str().unwrap_or_default());
        let time = |name: &str| key[name].as_u64().map(|time| relative_time(time, now)).unwrap_or_default();
        let (kid, state, created, activation) = (text("kid"), text("state"), time("created"), time("activation"));
        format!("<tr class=\"{state}\"><td><code>{kid}</code><td>{state}<td>{created}<td>{activation}")
    };
    let rows: String = keys.iter().map(row).collect();
    format!(
        "<div><table><tr><th scope=\"col\">Key<th scope=\"col\">State<th scope=\"col\">Created\
         <th scope=\"col\">Seals from{rows}</table></div>"
    )
}

/// A time and its distance from now.
fn relative_time(time: u64, now: u64) -> String {
    let clock = time % 86_400;
    let clock = format!("{:02}:{:02}:{:02} UTC", clock / 3600, clock / 60 % 60, clock % 60);
    let distance = match time.abs_diff(now) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    };
    if time > now { format!("{clock}, in {distance}") } else { format!("{clock}, {distance} ago") }
}

fn page(status: StatusCode, body: &str) -> Response<Body> {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"2\">\
         <title>Key ring</title><style>{STYLE}</style><main><h1>Key ring</h1>\
         <p>The versions of the secret in the vault, as <code>cloakroom keys list</code> prints them.</p>{body}\
         <p>A new version seals 30 seconds after it was created. Sessions continue: the old key opens them, and the \
         next call seals them under the new one.</p>\
         <form method=\"post\" action=\"/rotate\"><button>Rotate now</button></form></main></html>"
    );
    response::html(status, page)
}

#[cfg(test)]
#[path = "ring/tests.rs"]
mod tests;
