use std::collections::BTreeSet;

use serde_json::json;

use super::*;

#[tokio::test]
async fn requests_without_a_valid_token_get_a_challenge() {
    let Setup { vault, identity, client } = Setup::start().await;
    vault.put("ring", "value");
    let url = format!("{}/secrets/ring?api-version=7.6", vault.url());
    let expired = identity.token(KEY_VAULT);
    identity.expire_tokens();
    for token in ["", "made-up", &expired, &identity.token("https://management.azure.com")] {
        let response = client.get(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 401, "{token}");
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer authorization=\"https://login.microsoftonline.com/"), "{challenge}");
        assert!(challenge.ends_with(", resource=\"https://vault.azure.net\""), "{challenge}");
        assert_eq!(codes(&response.json().await.unwrap()).0, "Unauthorized");
    }
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(vault.count_gets(), 0);
    let good = client.get(&url).bearer_auth(identity.token(KEY_VAULT)).send().await.unwrap();
    assert_eq!(good.status(), 200);
    assert_eq!((vault.count_gets(), vault.count()), (1, 6));
}

#[tokio::test]
async fn the_challenge_has_the_configured_resource() {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let options = Options { resource: "https://vault.example".to_owned(), ..Options::new(&identity) };
    let vault = Vault::start(options).await.unwrap();
    let url = format!("{}/secrets/ring?api-version=7.6", vault.url());
    let client = trusting(&vault).build().unwrap();
    let body = client.get(&url).bearer_auth(identity.token(KEY_VAULT)).send().await.unwrap();
    assert!(body.headers()["www-authenticate"].to_str().unwrap().ends_with("resource=\"https://vault.example\""));
    let taken = client.get(&url).bearer_auth(identity.token("https://vault.example")).send().await.unwrap();
    assert_eq!(taken.status(), 404);
}

#[tokio::test]
async fn the_certificate_is_of_its_own_authority() {
    let setup = Setup::start().await;
    let other = Setup::start().await;
    assert!(other.client.get(setup.vault.url()).send().await.unwrap_err().is_connect());
    let file = tempfile::NamedTempFile::new().unwrap();
    setup.vault.write_ca(file.path()).unwrap();
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), setup.vault.ca_pem());
    let by_address = setup.vault.url().replace("localhost", "127.0.0.1");
    assert_eq!(setup.client.get(by_address).send().await.unwrap().status(), 401);
    let plain = setup.vault.url().replace("https", "http");
    assert!(setup.client.get(plain).send().await.is_err());
}

#[tokio::test]
async fn versions_are_stored_with_their_attributes() {
    let setup = Setup::start().await;
    let before = setup.vault.now();
    let body = json!({"value": "one", "contentType": "text/x", "tags": {"a": "b"},
        "attributes": {"enabled": true, "nbf": 1_700_000_000, "exp": 1_800_000_000}});
    let (status, made) = setup.call(Method::PUT, "/secrets/ring", Some(body)).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&made["value"], &made["contentType"], &made["tags"]["a"]),
        (&"one".into(), &"text/x".into(), &"b".into())
    );
    let attributes = &made["attributes"];
    assert_eq!((&attributes["nbf"], &attributes["exp"]), (&1_700_000_000.into(), &1_800_000_000.into()));
    assert!((before..=setup.vault.now()).contains(&attributes["created"].as_u64().unwrap()));
    assert_eq!(
        (&attributes["recoveryLevel"], &attributes["recoverableDays"]),
        (&"Recoverable+Purgeable".into(), &90.into())
    );
    let id = made["id"].as_str().unwrap();
    let version = id.strip_prefix(&format!("{}/secrets/ring/", setup.vault.url())).unwrap().to_owned();
    assert!(version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit()));

    let second = setup.vault.put("ring", "two");
    assert_eq!(setup.get("/secrets/ring/").await.1["value"], "two");
    assert_eq!(setup.get("/secrets/ring").await.1["value"], "two");
    assert_eq!(setup.get(&format!("/secrets/ring/{version}")).await.1, made);
    // Only the time of creation makes a version the newest.
    let third = setup.vault.put_with("ring", "three", |version| version.created -= 60);
    assert_eq!(setup.get("/secrets/ring").await.1["value"], "two");
    let ids: Vec<String> = setup.vault.versions("ring").into_iter().map(|version| version.id).collect();
    assert_eq!(ids, [version, second, third]);
}

#[tokio::test]
async fn an_update_changes_only_what_it_names() {
    let setup = Setup::start().await;
    let id = setup.vault.put_with("ring", "value", |version| {
        version.content_type = Some("text/x".to_owned());
        version.not_before = Some(5);
        version.tags.insert("a".to_owned(), "b".to_owned());
    });
    let path = format!("/secrets/ring/{id}");
    setup.vault.advance(Duration::from_secs(100));
    let (status, changed) = setup.call(Method::PATCH, &path, Some(json!({"attributes": {"enabled": false}}))).await;
    assert_eq!((status, &changed["value"]), (200, &Value::Null));
    assert_eq!((&changed["contentType"], &changed["tags"]["a"]), (&"text/x".into(), &"b".into()));
    let attributes = &changed["attributes"];
    assert_eq!((&attributes["enabled"], &attributes["nbf"]), (&false.into(), &5.into()));
    assert!(attributes["updated"].as_u64() >= attributes["created"].as_u64().map(|created| created + 100));
    let (status, body) = setup.get(&path).await;
    assert_eq!((status, codes(&body)), (403, ("Forbidden", "SecretDisabled")));
    // The newest being disabled, an older one does not take its place.
    assert_eq!(setup.get("/secrets/ring").await.0, 403);
    let body = json!({"attributes": {"enabled": true, "exp": 9}, "tags": {"c": "d"}});
    let (_, changed) = setup.call(Method::PATCH, &path, Some(body)).await;
    assert_eq!((&changed["tags"], &changed["attributes"]["exp"]), (&json!({"c": "d"}), &9.into()));
    assert_eq!(setup.get(&path).await.1["value"], "value");
    assert!(setup.vault.disable("ring", &id));
    assert_eq!(setup.get(&path).await.0, 403);
    assert!(!setup.vault.disable("ring", "none"));
}

#[tokio::test]
async fn lists_are_paged() {
    let setup = Setup::start().await;
    assert_eq!(setup.get("/secrets/ring/versions").await, (200, json!({"value": [], "nextLink": null})));
    let made: BTreeSet<String> = (0..60).map(|number| setup.vault.put("ring", &number.to_string())).collect();
    setup.vault.clear_requests();
    let (mut found, mut sizes) = (Vec::new(), Vec::new());
    let mut url = format!("{}/secrets/ring/versions?api-version=2025-07-01", setup.vault.url());
    loop {
        let token = setup.identity.token(KEY_VAULT);
        let page: Value = setup.client.get(&url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        let items = page["value"].as_array().unwrap();
        assert!(items.iter().all(|item| item.get("value").is_none() && item["attributes"]["enabled"] == true));
        sizes.push(items.len());
        found.extend(items.iter().map(|item| item["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()));
        let Some(next) = page["nextLink"].as_str() else { break };
        assert!(next.starts_with(&setup.vault.url()), "{next}");
        url = next.to_owned();
    }
    assert_eq!(sizes, [25, 25, 10]);
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), made);
    assert_eq!((setup.vault.count_lists(), setup.vault.requests().len()), (1, 3));
    assert_eq!(setup.get("/secrets/ring/versions?maxresults=1").await.1["value"].as_array().unwrap().len(), 1);
    for bad in ["0", "26", "x"] {
        assert_eq!(setup.get(&format!("/secrets/ring/versions?maxresults={bad}")).await.0, 400);
    }
    assert_eq!(setup.get("/secrets/ring/versions?$skiptoken=x").await.0, 400);
}

#[tokio::test]
async fn ids_and_links_have_the_host_of_the_request() {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let options = Options { names: vec!["x.vault.azure.net".to_owned()], ..Options::new(&identity) };
    let vault = Vault::start(options).await.unwrap();
    (0..26).for_each(|_| drop(vault.put("ring", "value")));
    let client = trusting(&vault).resolve("x.vault.azure.net", vault.addr()).build().unwrap();
    let list = client.get("https://x.vault.azure.net/secrets/ring/versions?api-version=7.6");
    let page: Value = list.bearer_auth(identity.token(KEY_VAULT)).send().await.unwrap().json().await.unwrap();
    assert!(page["value"][0]["id"].as_str().unwrap().starts_with("https://x.vault.azure.net/secrets/ring/"));
    assert!(page["nextLink"].as_str().unwrap().starts_with("https://x.vault.azure.net:443/secrets/ring/versions?"));
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let setup = Setup::start().await;
    setup.vault.put("ring", "value");
    let token = setup.identity.token(KEY_VAULT);
    let bare = format!("{}/secrets/ring", setup.vault.url());
    let response = setup.client.get(&bare).bearer_auth(token).send().await.unwrap();
    assert_eq!((response.status().as_u16(), codes(&response.json().await.unwrap()).0), (400, "BadParameter"));
    assert_eq!(codes(&setup.get("/secrets/none").await.1).0, "SecretNotFound");
    assert_eq!(setup.get("/secrets/ring/0123456789abcdef0123456789abcdef").await.0, 404);
    assert_eq!(setup.get("/secrets/ri_ng").await.0, 400);
    assert_eq!(setup.get("/keys/ring").await.0, 405);
    let put = |body| setup.call(Method::PUT, "/secrets/ring", body);
    assert_eq!(put(None).await.0, 400);
    for bad in [json!({}), json!({"value": 1}), json!({"value": "x", "attributes": {"nbf": "soon"}})] {
        assert_eq!(put(Some(bad)).await.0, 400);
    }
    assert_eq!(put(Some(json!({"value": "x".repeat(25 * 1024 + 1)}))).await.0, 400);
    assert_eq!(setup.vault.versions("ring").len(), 1);
}

#[tokio::test]
async fn forbidden_operations_are_rejected_after_the_token() {
    let setup = Setup::start().await;
    setup.vault.put("ring", "value");
    setup.vault.fault(&[Operation::List], Fault::ForbiddenByRbac);
    let (status, body) = setup.get("/secrets/ring/versions").await;
    assert_eq!((status, codes(&body)), (403, ("Forbidden", "ForbiddenByRbac")));
    assert!(body["error"]["message"].as_str().unwrap().contains("secrets/readMetadata/action"));
    assert_eq!(setup.get("/secrets/ring").await.0, 200);
    setup.vault.fault(&[Operation::Set, Operation::Update], Fault::ForbiddenByFirewall);
    let (_, body) = setup.call(Method::PUT, "/secrets/ring", Some(json!({"value": "x"}))).await;
    assert_eq!(codes(&body), ("Forbidden", "ForbiddenByFirewall"));
    assert_eq!(setup.vault.versions("ring").len(), 1);
    // A request without a token gets the challenge.
    let url = format!("{}/secrets/ring/versions?api-version=7.6", setup.vault.url());
    assert_eq!(setup.client.get(url).send().await.unwrap().status(), 401);
    setup.vault.clear_faults();
    assert_eq!(setup.get("/secrets/ring/versions").await.0, 200);
}
