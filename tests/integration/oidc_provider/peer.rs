//! The provider's process, and a browser with cookies, redirects and forms.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devkit::provider::{CLIENT_ID, CLIENT_SECRET};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::app::{PATIENCE, ROOT};
use crate::visitor::{Response, Visitor};

/// The resource of its access tokens.
pub const RESOURCE: &str = "https://notes.example";
/// The scopes of that resource.
pub const SCOPE: &str = "https://notes.example/Notes.Read";

/// npm `oidc-provider`. It ends when its stdin closes, so dropping it stops it.
pub struct Peer {
    issuer: String,
    process: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Starts it on a port for a gateway with this public origin, with more variables.
    pub fn start(port: u16, origin: &str, variables: &[(&str, &str)]) -> Self {
        let folder = Path::new(ROOT).join("tests/peers/oidc-provider");
        let installed = folder.join("node_modules/oidc-provider").is_dir();
        assert!(installed, "the packages of {} are missing; `cargo dev test` installs them", folder.display());
        let mut process = Command::new("node")
            .args(["server.mjs", &port.to_string()])
            .current_dir(&folder)
            .env("CLIENT_ID", CLIENT_ID)
            .env("CLIENT_SECRET", CLIENT_SECRET)
            .env("REDIRECT_URI", format!("{origin}/auth/callback"))
            .env("POST_LOGOUT_REDIRECT_URI", format!("{origin}/auth/logout"))
            .env("BACKCHANNEL_LOGOUT_URI", format!("{origin}/auth/backchannel-logout"))
            .envs(variables.iter().copied())
            .env("RESOURCE", RESOURCE)
            .env("RESOURCE_SCOPES", SCOPE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node does not start: {error}; `cargo dev test` prints what it needs"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(process.stdout.take().unwrap()).lines(), Arc::clone(&output));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line)));
        Self { issuer: issuer(port), process, output }
    }

    /// How many lines of its output so far are this text.
    pub fn count(&self, line: &str) -> usize {
        self.output.lock().unwrap().iter().filter(|printed| *printed == line).count()
    }

    /// The lines of its output so far that begin with this text, without it.
    pub fn lines_after(&self, start: &str) -> Vec<String> {
        let output = self.output.lock().unwrap();
        output.iter().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    }

    /// Waits until its output has everything that happened before this call.
    pub async fn settle(&self) {
        let started = Instant::now();
        let (mark, line) = ("/settled", "GET /settled");
        let before = self.count(line);
        Visitor::new(&self.issuer).get(mark).await;
        while self.count(line) == before {
            assert!(started.elapsed() < PATIENCE, "its output has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser { visitor: Visitor::new(&self.issuer), issuer: self.issuer.clone() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The issuer of a provider on this port.
pub fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Where a navigation at the provider ended.
pub enum Place {
    /// On a page of the provider: its address and text.
    Page(Url, String),
    /// At a redirect to another origin.
    Away(String),
}

impl Place {
    /// The address on the other origin.
    pub fn away(self) -> String {
        match self {
            Self::Away(location) => location,
            Self::Page(address, text) => panic!("still at {address}: {text}"),
        }
    }
}

/// A browser on the provider's pages.
pub struct Browser {
    visitor: Visitor,
    issuer: String,
}

impl Browser {
    /// Opens an address and follows redirects within the provider.
    pub async fn visit(&mut self, address: &str) -> Place {
        let mut address = Url::parse(address).unwrap();
        let mut response = self.visitor.navigate(target(&address)).await;
        while let Some(location) = response.header("location") {
            address = address.join(location).unwrap();
            if address.origin().ascii_serialization() != self.issuer {
                return Place::Away(address.into());
            }
            response = self.visitor.navigate(target(&address)).await;
        }
        Place::Page(address, response.text())
    }

    /// Opens an address and, if that is a page with a form, fills it in.
    pub async fn fill_in(&mut self, address: &str, fields: &[(&str, &str)]) -> Place {
        let (page, text) = match self.visit(address).await {
            Place::Page(page, text) => (page, text),
            away @ Place::Away(_) => return away,
        };
        let action = attribute(&text, "<form", "action").map_or(page.clone(), |action| page.join(&action).unwrap());
        let hidden = text.split("<input ").skip(1).filter(|input| input.contains("type=\"hidden\""));
        let hidden = hidden.filter_map(|input| Some((attribute(input, "", "name")?, attribute(input, "", "value")?)));
        let body = Serializer::new(String::new()).extend_pairs(hidden).extend_pairs(fields).finish();
        let response = self.post(&action, body).await;
        let location = response.header("location").unwrap_or_else(|| panic!("{} {}", response.status, response.text()));
        match action.join(location).unwrap() {
            away if away.origin().ascii_serialization() != self.issuer => Place::Away(away.into()),
            within => self.visit(within.as_str()).await,
        }
    }

    async fn post(&mut self, action: &Url, body: String) -> Response {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
        self.visitor.send("POST", target(action), &headers, body).await
    }
}

fn target(address: &Url) -> &str {
    &address[url::Position::BeforePath..url::Position::AfterQuery]
}

/// The value of an attribute in the first tag with this start.
fn attribute(html: &str, tag: &str, name: &str) -> Option<String> {
    let tag = html.split_once(tag)?.1.split_once('>')?.0;
    let value = tag.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
    Some(value.replace("&amp;", "&"))
}
