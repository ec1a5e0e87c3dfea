//! The gateway with sessions in Redis under load, in turns with one whose sessions are in cookies and with a plain
//! nginx. The gateways have the same settings apart from the store. Redis uses the second core, as client and API do.

use std::path::Path;

use serde_json::{Value, json};

use super::super::Result;
use super::load::{ROUNDS, middle};
use super::peers::{OTHERS, move_to};
use super::stage::{Server, Stage, Turn, machine};
use super::verdict;
use crate::redis_server::{Options, RedisServer};

const PATH: &str = "/graph/me";
const CONNECTIONS: u32 = 16;
/// The bar for the processor time of a call with a session in Redis, over nginx's.
const STORED_BAR: f64 = 1.5;
/// The bar for what Redis adds to the processor time of a call, over nginx's.
const BAR: f64 = 0.4;

/// A turn with sessions in Redis, one with sessions in cookies, and one of nginx.
type Round = [Turn; 3];

pub(super) async fn run(binary: Option<&Path>) -> Result<()> {
    let redis = RedisServer::start(&Options::default())?;
    move_to(OTHERS, redis.process_id().ok_or("Redis has ended")?)?;
    let stage = Stage::start(binary).await?;
    let stored = stage.gateway(1, 1, &[("CLOAKROOM_STORE", redis.url())]).await?;
    let plain = stage.gateway(1, 1, &[]).await?;
    let nginx = stage.nginx(&plain)?;
    let mut rounds = Vec::new();
    let mut commands = 0;
    for round in 0..=ROUNDS {
        let before = commands_of(&redis)?;
        rounds.push(turns([&stored, &plain, &nginx], round).await?);
        // But for the command that asks for their number.
        commands += if round == 0 { 0 } else { commands_of(&redis)? - before - 1 };
    }
    rounds.remove(0);
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "store": tell(&rounds, commands)}));
    Ok(())
}

/// One turn of each, in an order that changes with the round, since an earlier turn affects a later one.
async fn turns(servers: [&Server; 3], round: usize) -> Result<Round> {
    let mut turns: [Option<Turn>; 3] = [None; 3];
    for step in 0..servers.len() {
        let at = (step + round) % servers.len();
        if let (Some(server), Some(turn)) = (servers.get(at), turns.get_mut(at)) {
            *turn = Some(server.turn(PATH, CONNECTIONS).await?);
        }
    }
    let [Some(stored), Some(plain), Some(nginx)] = turns else { return Err("a turn is missing".into()) };
    Ok([stored, plain, nginx])
}

/// Prints the figures and returns them.
fn tell(rounds: &[Round], commands: u64) -> Value {
    let processor = medians(rounds, |turn| turn.processor);
    let p99 = medians(rounds, |turn| turn.load.p99);
    let rate = medians(rounds, |turn| turn.load.rate);
    let calls: u64 = rounds.iter().map(|[stored, ..]| stored.load.calls).sum();
    println!("600 B, 16 connections ({calls} calls with Redis)      Redis   cookies     nginx");
    for (what, [stored, plain, nginx]) in
        [("processor time a call, µs", processor), ("99th percentile, µs", p99), ("calls a second", rate)]
    {
        println!("  {what:<46}{stored:>10.1}{plain:>10.1}{nginx:>10.1}");
    }
    let over = |of: fn(&Round) -> f64| middle(rounds.iter().map(of).collect());
    let plain = over(|[_, plain, nginx]| plain.processor / nginx.processor);
    let stored = over(|[stored, _, nginx]| stored.processor / nginx.processor);
    let added = over(|[stored, plain, nginx]| (stored.processor - plain.processor) / nginx.processor);
    println!("  processor time over nginx's: {plain:.3} with cookies, {stored:.3} with Redis");
    println!("    the bar with Redis is {STORED_BAR}: {}", verdict(stored <= STORED_BAR));
    println!("  what Redis adds, over nginx's: {added:.3}   the bar is {BAR}: {}", verdict(added <= BAR));
    let commands = commands as f64 / calls as f64;
    println!("  commands to Redis a call: {commands:.4}");
    json!({"processor_us": processor, "p99_us": p99, "calls_per_second": rate, "over_nginx": [stored, plain],
        "added_over_nginx": added, "commands_per_call": commands})
}

fn medians(rounds: &[Round], of: fn(&Turn) -> f64) -> [f64; 3] {
    let [mut stored, mut plain, mut nginx] = [(); 3].map(|()| Vec::new());
    for turns in rounds {
        let [first, second, third] = turns.each_ref().map(of);
        stored.push(first);
        plain.push(second);
        nginx.push(third);
    }
    [middle(stored), middle(plain), middle(nginx)]
}

/// How many commands Redis has processed.
fn commands_of(redis: &RedisServer) -> Result<u64> {
    let stats = redis.command(&["INFO", "stats"])?.text();
    let count = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    Ok(count.ok_or("Redis counts no commands")?.trim().parse()?)
}
