//! `STORE`, `STORE_PREFIX` and `STORE_AUTH` (contract 12.11, 12.19, 15.15, 15.16).

use super::{error, parse};
use crate::secret::ExposeSecret;
use crate::store::StoreConfig;
use crate::store::redis::Config as RedisConfig;
use crate::store::redis::client::Auth;

fn redis(changes: &[(&str, &str)]) -> RedisConfig {
    match parse(changes).unwrap().store {
        StoreConfig::Redis(config) => config,
        StoreConfig::Cookie => panic!("sessions are stored in cookies"),
    }
}

fn at(url: &str) -> RedisConfig {
    redis(&[("CLOAKROOM_STORE", url)])
}

#[test]
fn the_cookie_is_the_default() {
    assert!(matches!(parse(&[]).unwrap().store, StoreConfig::Cookie));
    assert!(matches!(parse(&[("CLOAKROOM_STORE", "cookie")]).unwrap().store, StoreConfig::Cookie));
}

#[test]
fn a_redis_url_has_host_port_database_and_credentials() {
    let config = at("rediss://ada:p%40ss%2Fw%C3%B6rd@cache.example.org:6380/3\n");
    assert_eq!((config.host.as_str(), config.port, config.tls), ("cache.example.org", 6380, true));
    assert_eq!((config.database, config.prefix.as_str()), (3, "cloakroom"));
    let Auth::Password { user, password } = config.auth else { panic!("no password") };
    assert_eq!((user.as_deref(), password.expose_secret()), (Some("ada"), "p@ss/w\u{f6}rd"));
    let config = at("redis://:secret+=@127.1");
    assert_eq!((config.host.as_str(), config.port, config.tls), ("127.0.0.1", 6379, false));
    let Auth::Password { user: None, password } = config.auth else { panic!("a user") };
    assert_eq!(password.expose_secret(), "secret+=");
    assert_eq!(at("redis://[::1]:7000/").host, "::1");
    assert_eq!(at("rediss://B\u{dc}CHER.example").host, "xn--bcher-kva.example");
    assert_eq!(at("rediss://cache.example:443").port, 443, "no port of another scheme is left out");
    assert!(matches!(at("rediss://cache.example").auth, Auth::None));
}

#[test]
fn the_prefix_and_the_database_are_limited() {
    let prefix = |value: &str| parse(&[("CLOAKROOM_STORE", "redis://localhost"), ("CLOAKROOM_STORE_PREFIX", value)]);
    for good in ["a", "app:1._-", &"p".repeat(32)] {
        assert!(prefix(good).is_ok(), "{good}");
    }
    for bad in ["a b", "{a}", "\u{fc}", "a/b", &"p".repeat(33)] {
        let errors = prefix(bad).unwrap_err();
        assert_eq!(errors.0[0].name, "CLOAKROOM_STORE_PREFIX", "{bad}");
    }
}

#[test]
fn a_malformed_redis_url_is_an_error_without_the_value() {
    for bad in [
        "redis",
        "Cookie",
        "redis://",
        "redis:///0",
        "https://CANARY.example",
        "redis+sentinel://CANARY.example",
        "unix:///run/CANARY.sock",
        "redis://CANARY.example:0",
        "redis://CANARY.example:65536",
        "redis://CANARY.example/x",
        "redis://CANARY.example/-1",
        "redis://CANARY.example/0/1",
        "redis://CANARY.example/70000",
        "redis://CANARY.example?db=1",
        "redis://CANARY.example#1",
        "redis://*.CANARY.example",
        "redis://user@CANARY.example",
        "redis://user:%FF@CANARY.example",
    ] {
        let error = error(&[("CLOAKROOM_STORE", bad)]);
        assert!(error.starts_with("CLOAKROOM_STORE ") && !error.contains("CANARY"), "{bad}: {error}");
    }
    let error = error(&[("CLOAKROOM_STORE", "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/CANARY)")]);
    assert!(error.contains("Key Vault reference") && !error.contains("CANARY"), "{error}");
}

#[test]
fn debug_does_not_leak_the_password() {
    let text = format!("{:?}", at("rediss://user:CANARY@cache.example"));
    assert!(text.contains("cache.example") && !text.contains("CANARY"), "{text}");
}

/// Contract 15.16.
#[test]
fn tokens_of_entra_are_used_where_the_url_has_no_password_and_the_host_is_azures() {
    let scope = |url: &str, auth: &str| match redis(&[("CLOAKROOM_STORE", url), ("CLOAKROOM_STORE_AUTH", auth)]).auth {
        Auth::Entra { scope, .. } => Some(scope),
        _ => None,
    };
    let default = Some("https://redis.azure.com/.default".to_owned());
    for domain in
        ["redis.azure.net", "redis.cache.windows.net", "redis.cache.usgovcloudapi.net", "redis.cache.chinacloudapi.cn"]
    {
        assert_eq!(scope(&format!("rediss://x.westeurope.{domain}:10000"), "auto"), default, "{domain}");
        assert_eq!(scope(&format!("rediss://x.{domain}"), "url"), None);
        assert_eq!(scope(&format!("rediss://:key@x.{domain}"), "auto"), None);
        assert_eq!(scope(&format!("rediss://x{domain}"), "auto"), None, "another domain");
    }
    assert_eq!(scope("rediss://cache.example", "auto"), None);
    assert_eq!(scope("rediss://cache.example", "entra"), default);
    let own = "entra=api://cache/.default";
    assert_eq!(scope("rediss://cache.example", own).as_deref(), Some("api://cache/.default"));
}

/// Contract 12.19, 15.16.
#[test]
fn contradictory_settings_of_the_store_are_errors() {
    for (url, auth, name) in [
        ("redis://localhost", "entra", "CLOAKROOM_STORE"),
        ("redis://x.redis.azure.net", "auto", "CLOAKROOM_STORE"),
        ("cookie", "entra", "CLOAKROOM_STORE_AUTH"),
        ("rediss://:password@cache.example", "entra", "CLOAKROOM_STORE"),
        ("rediss://user@x.redis.azure.net", "auto", "CLOAKROOM_STORE"),
        ("rediss://cache.example", "entra=", "CLOAKROOM_STORE_AUTH"),
        ("rediss://cache.example", "entra=a b", "CLOAKROOM_STORE_AUTH"),
        ("rediss://cache.example", "none", "CLOAKROOM_STORE_AUTH"),
    ] {
        let error = error(&[("CLOAKROOM_STORE", url), ("CLOAKROOM_STORE_AUTH", auth)]);
        assert!(error.starts_with(&format!("{name} ")), "{url} {auth}: {error}");
    }
    let all = [("CLOAKROOM_STORE", "x"), ("CLOAKROOM_STORE_PREFIX", "{}"), ("CLOAKROOM_STORE_AUTH", "y")];
    assert_eq!(parse(&all).unwrap_err().0.len(), 3, "all at once");
}

/// Contract 15.15.
#[test]
fn redis_without_tls_warns_unless_it_is_on_loopback() {
    let warnings = |url: &str| parse(&[("CLOAKROOM_STORE", url)]).unwrap().warnings;
    for safe in ["redis://localhost", "redis://127.0.0.1:7000", "redis://[::1]", "rediss://cache.example", "cookie"] {
        assert_eq!(warnings(safe).len(), 0, "{safe}");
    }
    for risky in ["redis://cache.example", "redis://:CANARY@10.0.0.1"] {
        let warnings = warnings(risky);
        assert!(warnings.len() == 1 && warnings[0].contains("rediss://"), "{risky}: {warnings:?}");
        assert!(!warnings[0].contains("CANARY"));
    }
}
