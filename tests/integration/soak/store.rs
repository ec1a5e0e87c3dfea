//! All tabs of some users call the API through four instances over one Redis whenever their access tokens have
//! expired: each expiry costs one token request (contract 15.10), at a provider whose refresh tokens work once and
//! which revokes the grant of one that is used again. No user is signed out or gets another user's token (contract
//! 7.14), and Redis keeps the records and no lock (contract 15.5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::clock;
use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::static_key::StaticKey;
use cloakroom::keyring::{Purpose, Ring};
use cloakroom::secret::Key32;
use cloakroom::session::companion::hash_to_text;
use cloakroom::session::handle::Handle;
use cloakroom::session::payload::Session;
use cloakroom::session::seal::Times;
use cloakroom::session::sealer::Sealer;
use devkit::commands::stack::free_port;
use devkit::provider::{CLIENT_ID, Endpoint, Fault, Options};
use devkit::redis_server::{Connection as RedisConnection, RedisServer, Reply};
use futures_util::future::join_all;

use super::{ADA, figure};
use crate::app::{Gateway, KEY, PATIENCE, TestApp};
use crate::raw::Connection;
use crate::visitor::CALL;

const USERS: [&str; 3] = [ADA, "grace.hopper@contoso.example", "alan.turing@contoso.example"];
/// Of each user. Half of an instance's 90 places may wait for a token (contract 22.1): 45 for 38 tabs at a time.
const TABS: usize = 50;
const INSTANCES: usize = 4;
const COOKIE: &str = "__Host-Http-cloakroom";
/// How long a token request takes: meanwhile the calls at the other instances come.
const TOKEN_REQUEST: Duration = Duration::from_millis(30);
/// A run with so many problems ends.
const TOO_MANY: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_costs_one_token_request_on_four_instances() {
    run(5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: cargo dev soak store"]
async fn long() {
    run(1_000).await;
}

async fn run(rounds: usize) {
    let redis = RedisServer::start(&devkit::redis_server::Options::default()).unwrap();
    let options = Options { one_time_refresh: true, ..Options::new("http://x") };
    let builder = TestApp::builder().set("STORE", redis.url()).set("LOG", "warn,json");
    let app = builder.provider(options).start().await;
    app.provider.fault(&[Endpoint::Token], Fault::Delay(TOKEN_REQUEST));
    let ports: Vec<u16> = (1..INSTANCES).map(|_| free_port().unwrap()).collect();
    let others: Vec<Gateway> = ports.iter().map(|port| Gateway::start(&app.settings, *port)).collect();
    let ports: Vec<u16> = ports.into_iter().chain([app.port]).collect();
    let records = Records { redis: redis.connect().unwrap(), sealer: sealer().await };
    let mut soak = Soak { records, users: Vec::new(), seen: Seen::default() };
    for user in USERS {
        let cookie = app.signed_in(user).await.cookie_header();
        let handle = soak.records.handle(&cookie).await;
        let tabs = (0..TABS).map(|_| ports.iter().map(|port| Connection::to(*port)).collect()).collect();
        soak.users.push(User { name: user, cookie, handle, token: String::new(), tabs });
    }
    let (before, started) = (app.provider.token_requests(), Instant::now());
    for round in 0..rounds {
        let expected = app.provider.token_requests() + USERS.len() as u64;
        tokio::time::timeout(PATIENCE, soak.round(round)).await.expect("a round ends");
        let requests = app.provider.token_requests();
        soak.seen.expect(requests == expected, Kind::TokenRequests, || format!("{round}: {requests}, not {expected}"));
        if soak.seen.problems.len() >= TOO_MANY {
            break;
        }
    }
    soak.tell(app.provider.token_requests() - before, started.elapsed());
    let logs: Vec<String> = others.iter().map(Gateway::log).chain([app.log()]).collect();
    assert!(soak.seen.problems.is_empty(), "{:#?}\n{}", soak.seen.problems, logs.join("\n"));
}

/// What may not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    TokenRequests,
    Responses,
    OtherUsers,
    OlderTokens,
    Locks,
    Records,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::TokenRequests, "rounds with more or fewer token requests than sessions"),
    (Kind::Responses, "responses other than 200"),
    (Kind::OtherUsers, "calls with the token of another user"),
    (Kind::OlderTokens, "expiries with calls that had an earlier or a second token"),
    (Kind::Locks, "locks left behind by a round"),
    (Kind::Records, "records lost, or not written once by a round"),
];

#[derive(Debug, Default)]
struct Seen {
    rounds: usize,
    calls: usize,
    problems: Vec<(Kind, String)>,
}

impl Seen {
    fn expect(&mut self, holds: bool, kind: Kind, what: impl FnOnce() -> String) {
        if !holds {
            self.problems.push((kind, what()));
        }
    }
}

struct User {
    name: &'static str,
    cookie: String,
    handle: Handle,
    /// The token of the last round.
    token: String,
    /// Each with a connection to every instance.
    tabs: Vec<Vec<Connection>>,
}

struct Soak {
    records: Records,
    users: Vec<User>,
    seen: Seen,
}

impl Soak {
    /// All access tokens expire, and all tabs call, each through another instance than in the round before.
    async fn round(&mut self, round: usize) {
        self.seen.rounds += 1;
        let mut generations = Vec::new();
        for user in &self.users {
            generations.push(self.records.expire(&user.handle).await);
        }
        let calls = join_all(self.users.iter_mut().map(|user| user.call(round))).await;
        for (user, calls) in self.users.iter_mut().zip(calls) {
            self.seen.calls += calls.len();
            user.check(round, calls, &mut self.seen);
        }
        // At once: what is left behind expires.
        let locks = self.records.keys("l");
        self.seen.expect(locks.is_empty(), Kind::Locks, || format!("{round}: {locks:?}"));
        let records = self.records.keys("s").len();
        self.seen.expect(records == USERS.len(), Kind::Records, || format!("{round}: {records} records"));
        for (user, before) in self.users.iter().zip(generations) {
            let after = self.records.session(&user.handle).await.map(|(session, _)| session.generation);
            self.seen.expect(after == before.map(|before| before + 1), Kind::Records, || {
                format!("{round}: generation {before:?} of {} is followed by {after:?}", user.name)
            });
        }
    }

    fn tell(&mut self, token_requests: u64, time: Duration) {
        let rounds = self.seen.rounds;
        figure("rounds of 50 tabs of three users on four instances", rounds, "1000");
        figure("calls", self.seen.calls, "-");
        figure("expiries of an access token", rounds * USERS.len(), "-");
        figure("token requests", token_requests, "as many");
        figure("attempts to take a lock", self.records.attempts(), "-");
        for (kind, what) in KINDS {
            let count = self.seen.problems.iter().filter(|(of, _)| *of == kind).count();
            figure(what, count, "0");
        }
        figure("time", format!("{:.0} s", time.as_secs_f64()), "-");
    }
}

impl User {
    /// Calls from all tabs at once. Returns each status, with the token that reached the API or the code of the error.
    async fn call(&mut self, round: usize) -> Vec<(u16, String)> {
        let mut headers = vec![("cookie", self.cookie.as_str())];
        headers.extend(CALL);
        let calls = self.tabs.iter_mut().enumerate().map(async |(tab, connections)| {
            let response = connections[(tab + round) % INSTANCES].get("/graph/echo/tab", &headers).await.unwrap();
            match response.status {
                200 => (200, token(&response.json())),
                status => (status, response.code().to_owned()),
            }
        });
        join_all(calls).await
    }

    fn check(&mut self, round: usize, calls: Vec<(u16, String)>, seen: &mut Seen) {
        let mut tokens = BTreeSet::new();
        for (status, text) in calls {
            seen.expect(status == 200, Kind::Responses, || format!("{round}: {status} {text} for {}", self.name));
            if status == 200 {
                tokens.insert(text);
            }
        }
        for token in &tokens {
            let of = user_of(token);
            seen.expect(of == self.name, Kind::OtherUsers, || format!("{round}: {of} for {}", self.name));
        }
        let is_new = tokens.len() == 1 && !tokens.contains(&self.token);
        seen.expect(is_new, Kind::OlderTokens, || format!("{round}: {} tokens of {}", tokens.len(), self.name));
        self.token = tokens.pop_first().unwrap_or_default();
    }
}

/// The bearer token of a request that the API returned.
fn token(echo: &serde_json::Value) -> String {
    let headers: Vec<(String, String)> = serde_json::from_value(echo["headers"].clone()).unwrap();
    let headers: BTreeMap<String, String> = headers.into_iter().collect();
    headers["authorization"].strip_prefix("Bearer ").unwrap().to_owned()
}

/// The user that an access token was issued for.
fn user_of(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    claims["upn"].as_str().unwrap().to_owned()
}

/// The records of the sessions, opened by their cookies and the key.
struct Records {
    redis: RedisConnection,
    sealer: Sealer,
}

async fn sealer() -> Sealer {
    let day = Duration::from_secs(86_400);
    let parameters = Parameters { propagation: day, life: day, retention: day };
    let ring = Ring::new(Arc::new(StaticKey::new(&Key32::new(KEY))), parameters, day);
    ring.refresh(clock::now()).await;
    Sealer::new(ring, CLIENT_ID.to_owned(), 300)
}

impl Records {
    async fn handle(&self, cookies: &str) -> Handle {
        let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
        let (_, sealed) = pairs.find(|(name, _)| *name == COOKIE).unwrap();
        let opened = self.sealer.unseal(Purpose::Session, COOKIE, sealed.as_bytes(), clock::now()).await.unwrap();
        Handle::decode(opened.payload()).unwrap()
    }

    async fn session(&mut self, handle: &Handle) -> Option<(Session, Times)> {
        let name = hash_to_text(&handle.hash());
        let Reply::Text(sealed) = self.redis.command(&["HGET", &record(&name), "v"]).unwrap() else { return None };
        let opened = self.sealer.unseal_record(&name, Some(&handle.secret), &sealed, clock::now()).await.unwrap();
        Some((Session::decode(opened.payload()).unwrap(), opened.times))
    }

    /// Lets the access tokens of a session expire now, so that no run waits for it. Returns the generation.
    async fn expire(&mut self, handle: &Handle) -> Option<u64> {
        let (mut session, times) = self.session(handle).await?;
        let now = clock::now();
        session.access_tokens.iter_mut().for_each(|token| token.expires_at = now);
        let (key, name) = (self.sealer.key(now).await.unwrap(), hash_to_text(&handle.hash()));
        let sealed = self.sealer.seal_record(&key, &name, Some(&handle.secret), times, &session.encode());
        self.redis.command(&["HSET", &record(&name), "v", &sealed]).unwrap();
        Some(session.generation)
    }

    fn keys(&mut self, kind: &str) -> Vec<String> {
        self.redis.command(&["KEYS", &format!("cloakroom:{kind}:*")]).unwrap().texts()
    }

    /// How often an instance found the generation that it had read and tried to take the lock: nothing else is set.
    fn attempts(&mut self) -> u64 {
        let stats = self.redis.command(&["INFO", "commandstats"]).unwrap().text();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
        calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
    }
}

fn record(name: &str) -> String {
    format!("cloakroom:s:{{{name}}}")
}
