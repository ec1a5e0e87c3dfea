//! Many refreshes at once against a provider whose refresh tokens are good for once, and whose answers come in any
//! order.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;
use crate::keyring::Ring;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::net::OutboundClients;
use crate::oidc::client::{Client, ClientAuthentication};
use crate::oidc::discovery::{Authority, Tenants};
use crate::oidc::provider;
use crate::secret::{ExposeSecret, Key32};
use crate::session::payload::Session;
use crate::session::{Limits, cookie};

const APIS: [&str; 2] = ["one", "two"];

/// A token endpoint that knows of each user which refresh token comes next: `r.<user>.<number>`.
#[derive(Debug, Default)]
struct Double {
    next: Mutex<HashMap<String, u64>>,
    redemptions: AtomicU64,
    reused: AtomicU64,
    /// The API that nobody consented to: its scopes are left out of the answer, and the refresh token is spent.
    refused: Mutex<Option<&'static str>>,
}

impl Double {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let double = Arc::new(Self::default());
        let serving = Arc::clone(&double);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream, addr));
            }
        });
        (double, addr)
    }

    /// One connection, request after request.
    async fn serve(self: Arc<Self>, mut stream: TcpStream, addr: SocketAddr) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut read = Vec::new();
        loop {
            let head = loop {
                if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                    break end + 4;
                }
                if stream.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            };
            let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let end = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
            while read.len() < end {
                stream.read_buf(&mut read).await?;
            }
            let (status, body) = self.answer(&text, &read[head..end], addr).await;
            read.drain(..end);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await?;
        }
    }

    async fn answer(&self, head: &str, body: &[u8], addr: SocketAddr) -> (&'static str, String) {
        let origin = format!("http://{addr}");
        if head.starts_with("get /.well-known") {
            let metadata = serde_json::json!({
                "issuer": origin, "authorization_endpoint": origin, "jwks_uri": format!("{origin}/keys"),
                "token_endpoint": format!("{origin}/token"),
            });
            return ("200 OK", metadata.to_string());
        }
        if head.starts_with("get") {
            return ("200 OK", r#"{"keys":[]}"#.to_owned());
        }
        let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let mut parts = form["refresh_token"].splitn(3, '.').skip(1).map(str::to_owned);
        let (user, number) = (parts.next().unwrap(), parts.next().unwrap().parse::<u64>().unwrap());
        pause().await;
        let fits = {
            let mut next = self.next.lock().unwrap();
            let expected = next.entry(user.clone()).or_default();
            let fits = *expected == number;
            *expected += u64::from(fits);
            fits
        };
        if !fits {
            self.reused.fetch_add(1, Ordering::SeqCst);
            return ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned());
        }
        self.redemptions.fetch_add(1, Ordering::SeqCst);
        pause().await;
        let api = form["scope"].rsplit(' ').next().unwrap();
        // Over at once, so that every call wants a new one.
        let refused = *self.refused.lock().unwrap() == Some(api);
        let tokens = serde_json::json!({
            "scope": if refused { "openid" } else { form["scope"].as_str() }, "access_token": format!("a.{user}.{api}.{number}"), "token_type": "Bearer", "expires_in": 0,
            "refresh_token": format!("r.{user}.{}", number + 1),
        });
        ("200 OK", tokens.to_string())
    }

    fn redemptions_of(&self, user: &str) -> u64 {
        self.next.lock().unwrap().get(user).copied().unwrap_or_default()
    }
}

/// Lets others go first, sometimes for long.
async fn pause() {
    for _ in 0..rand::random_range(0..8) {
        tokio::task::yield_now().await;
    }
    if rand::random_range(0..200) == 0 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..4))).await;
    }
}

fn tokens(addr: SocketAddr) -> Arc<TokenService> {
    let day = Duration::from_secs(86_400);
    let parameters = Parameters { propagation: day, life: day, retention: day };
    let ring = Ring::new(Arc::new(StaticKey::new(&Key32::new([7; 32]))), parameters, day);
    let cookies = cookie::SessionCookies::new(cookie::Settings {
        name: "__Host-Http-x".to_owned(),
        domain: None,
        same_site: cookie::SameSite::Strict,
        login_same_site: cookie::SameSite::Lax,
        budget: 7_000,
    });
    let limits = Limits { idle: day, max: day, clock_skew: Duration::from_secs(300) };
    let sessions = Sessions::new(ring, cookies, limits, "client".to_owned());
    let authority = Authority { url: Url::parse(&format!("http://{addr}")).unwrap(), tenants: Tenants::Unchecked };
    let client = Client { id: "client".to_owned(), authentication: ClientAuthentication::Secret("secret".into()) };
    let config = provider::Config { authority, client, clock_skew: 300 };
    let provider = Provider::new(config, Arc::new(OutboundClients::default()));
    let api = |name: &str| {
        let json = serde_json::json!({"base": "https://a.example", "allow": ["GET /"], "scopes": [name]});
        (name.to_owned(), json)
    };
    let apis = ApiMap::parse(&serde_json::Value::from_iter(APIS.map(api)).to_string()).unwrap();
    let config = Config { scopes: vec!["openid".to_owned()], apis: Arc::new(apis), skew: 60 };
    TokenService::new(config, Arc::new(provider), Arc::new(sessions))
}

/// A cookie as the sign-in left it: every tab that shows it is behind.
fn signed_in(user: &str) -> OpenSession {
    let who = User { sub: user.to_owned(), ..User::default() };
    let session = Session {
        refresh_token: Some(format!("r.{user}.0").as_str().into()),
        ..Session::new(rand::random(), who, clock::now())
    };
    OpenSession::new(session, clock::now() + 86_400)
}

/// One tab that calls until its user's refresh tokens were redeemed so often.
async fn tab(tokens: Arc<TokenService>, double: Arc<Double>, open: OpenSession, redemptions: u64) {
    let user = open.session.user.sub.clone();
    while double.redemptions_of(&user) < redemptions {
        let api = APIS[usize::from(rand::random::<bool>())];
        pause().await;
        let token = tokens.for_call(&open, api, clock::now()).await.unwrap();
        let text = token.token.expose_secret();
        assert!(text.starts_with(&format!("a.{user}.{api}.")), "{user} got {text} for {api}");
        assert!(matches!(token, Cow::Owned(_)), "new");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_20_000_interleaved_refreshes_nobody_gets_anothers_token_and_no_refresh_token_goes_twice() {
    let (double, addr) = Double::start().await;
    let tokens = tokens(addr);
    let mut tabs = Vec::new();
    for user in ["ada", "grace"] {
        let open = signed_in(user);
        for _ in 0..3 {
            tabs.push(tokio::spawn(tab(Arc::clone(&tokens), Arc::clone(&double), open.clone(), 10_000)));
        }
    }
    for tab in tabs {
        tab.await.unwrap();
    }
    assert!(double.redemptions.load(Ordering::SeqCst) >= 20_000);
    assert_eq!(double.reused.load(Ordering::SeqCst), 0);
    assert!(tokens.flights().is_empty(), "what has landed is forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_ended_while_the_provider_was_asked_gets_no_token() {
    let (double, addr) = Double::start().await;
    let tokens = tokens(addr);
    let open = signed_in("ada");
    let queue = tokens.sessions.cache.queue(&open);
    let turn = queue.lock().await;
    let (waiting, shown) = (Arc::clone(&tokens), open.clone());
    let call = tokio::spawn(async move { waiting.for_call(&shown, "one", clock::now()).await.map(|_| ()) });
    while tokens.flights().is_empty() {
        tokio::task::yield_now().await;
    }
    tokens.sessions.end(&open, clock::now());
    drop(turn);
    assert_eq!(call.await.unwrap(), Err(Error::SessionExpired));
    assert_eq!(double.redemptions.load(Ordering::SeqCst), 0, "its turn came too late");
    assert!(tokens.flights().is_empty());
}

#[tokio::test]
async fn a_scope_that_was_not_granted_costs_no_refresh_token() {
    let (double, addr) = Double::start().await;
    let tokens = tokens(addr);
    let open = signed_in("ada");
    *double.refused.lock().unwrap() = Some("two");
    let refused = tokens.for_call(&open, "two", clock::now()).await.unwrap_err();
    assert_eq!(refused, Error::ConsentRequired("/auth/login?api=two".into()));
    assert_eq!(tokens.status(&open, "two", clock::now()), Status::Requires(RequiredInteraction::Consent));
    assert!(tokens.for_call(&open, "one", clock::now()).await.is_ok(), "the next refresh token was kept");
    *double.refused.lock().unwrap() = None;
    assert!(tokens.for_call(&open, "two", clock::now()).await.is_ok());
    assert_eq!(tokens.status(&open, "two", clock::now()), Status::Ok);
    assert_eq!(double.reused.load(Ordering::SeqCst), 0);
}

/// Kilobytes of memory that this process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: cargo dev soak refreshes"]
async fn memory_does_not_grow_over_100_000_refreshes() {
    let (double, addr) = Double::start().await;
    let tokens = tokens(addr);
    let users: Vec<OpenSession> = (0..1_000).map(|number| signed_in(&format!("user-{number}"))).collect();
    let mut figures = Vec::new();
    for rounds in [20, 100] {
        let tabs = users.chunks(125).map(|users| {
            let (tokens, double, users) = (Arc::clone(&tokens), Arc::clone(&double), users.to_vec());
            tokio::spawn(async move {
                for open in users {
                    tab(Arc::clone(&tokens), Arc::clone(&double), open, rounds).await;
                }
            })
        });
        for tab in tabs.collect::<Vec<_>>() {
            tab.await.unwrap();
        }
        figures.push((double.redemptions.load(Ordering::SeqCst), resident()));
    }
    let [(first, before), (last, after)] = figures[..] else { unreachable!() };
    println!("figure\tmemory after {first} refreshes\t{before} kB\t-");
    println!("figure\tmemory after {last} refreshes\t{after} kB\t-");
    assert!(last >= 100_000);
    assert!(after < before + 4_096, "{before} kB, then {after} kB");
    assert!(tokens.flights().is_empty());
}
