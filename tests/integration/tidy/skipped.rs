//! What `cargo dev test` leaves out where a program is missing.

use devkit::commands::setup::REDIS;

use super::{assert_none, files};

/// The start of the names of a file's tests.
fn module(path: &str) -> String {
    let path = path.trim_start_matches("tests/integration/").trim_end_matches(".rs");
    path.replace('/', "::") + "::"
}

/// Otherwise `cargo dev test` would fail without `redis-server` instead of leaving them out (contract 13.2).
#[test]
fn tests_with_a_redis_server_are_left_out_without_one() {
    const SERVERS: [&str; 5] = ["RedisServer", "RedisPlace", "ClusterPlace", "Store::Redis", "\"--store\", \"redis\""];
    let with_redis = files("tests/integration/", ".rs")
        .into_iter()
        .filter(|(path, text)| !path.contains("/tidy") && SERVERS.iter().any(|server| text.contains(server)));
    let modules: Vec<String> = with_redis.map(|(path, _)| module(&path)).collect();
    assert!(modules.len() > 15, "{modules:?}");
    let is_left_out = |module: &String| REDIS.iter().any(|skip| module.starts_with(skip) || skip.starts_with(module));
    // Places of the conformance suite, which is run by the tests of `the_redis_store_`.
    let is_known = |module: &String| module == "session_stores::places::" || is_left_out(module);
    let findings: Vec<String> = modules.into_iter().filter(|module| !is_known(module)).collect();
    assert_none(&findings);
}
