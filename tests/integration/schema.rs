//! The published schema of the API map agrees with the parser.

use cloakroom::api_map::ApiMap;
use serde_json::{Value, json};

use crate::app::ROOT;

fn validator() -> jsonschema::Validator {
    let text = std::fs::read_to_string(format!("{ROOT}/docs/apis.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// An API with some members set; null removes a required one.
fn map(name: &str, members: &Value) -> Value {
    let mut api = json!({"base": "https://a.example/v1", "allow": ["GET /me"]});
    for (member, value) in members.as_object().unwrap() {
        api[member] = value.clone();
    }
    if api["base"].is_null() {
        api.as_object_mut().unwrap().remove("base");
    }
    json!({name: api})
}

/// Valid entries: a name, and members in addition to the required ones.
fn good() -> Vec<(&'static str, Value)> {
    vec![
        ("a", json!({})),
        ("a-1", json!({"route": "/graph"})),
        ("a", json!({"route": "/api/x.y_z-1"})),
        ("a", json!({"route": null, "resource": null, "sign_in": null, "max_body": null})),
        ("a", json!({"base": "http://127.0.0.1:8080/x"})),
        ("a", json!({"base": "http://localhost"})),
        ("a", json!({"base": "http://[::1]:1"})),
        ("a", json!({"scopes": ["api://x/Y.Z", "https://graph.microsoft.com/.default"], "resource": "api://x"})),
        ("a", json!({"allow": ["* /**", "GET /a/*/b", "HEAD /", "PATCH /x"]})),
        ("a", json!({"csrf": "fetch-metadata"})),
        ("a", json!({"csrf": "header", "sign_in": false, "max_body": 0})),
        ("a", json!({"request_headers": ["ConsistencyLevel", "Prefer", "X-My-Header"]})),
        ("a", json!({"timeouts": {"connect": "500ms", "first_byte": "1m 30s", "total": null}})),
        ("a", json!({"timeouts": {"idle": "5s"}})),
        ("a", json!({"timeouts": {}})),
        ("a", json!({"response_headers": ["X-My-Header", "ETag", "REQ_ID"]})),
        ("a", json!({"locations": "base", "cache": "private"})),
        ("a", json!({"locations": null, "cache": "none"})),
    ]
}

/// Entries with one error each.
fn bad() -> Vec<(&'static str, Value)> {
    vec![
        ("A", json!({})),
        ("a b", json!({})),
        ("", json!({})),
        ("a", json!({"base": null})),
        ("a", json!({"bass": "https://a.example"})),
        ("a", json!({"route": "/auth"})),
        ("a", json!({"route": "/api/"})),
        ("a", json!({"route": "/api/.."})),
        ("a", json!({"route": "/api/a/b"})),
        ("a", json!({"base": "http://a.example"})),
        ("a", json!({"base": "https://u@a.example"})),
        ("a", json!({"base": "https://a.example?x"})),
        ("a", json!({"base": "https://a.example#x"})),
        ("a", json!({"base": "ftp://a.example"})),
        ("a", json!({"scopes": ["a b"]})),
        ("a", json!({"scopes": [""]})),
        ("a", json!({"scopes": "x"})),
        ("a", json!({"allow": []})),
        ("a", json!({"allow": ["GET"]})),
        ("a", json!({"allow": ["GET me"]})),
        ("a", json!({"allow": ["G T /me"]})),
        ("a", json!({"csrf": "off"})),
        ("a", json!({"request_headers": ["a b"]})),
        ("a", json!({"request_headers": ["under_score"]})),
        ("a", json!({"sign_in": "yes"})),
        ("a", json!({"timeouts": {"total": "soon"}})),
        ("a", json!({"timeouts": {"total": 5}})),
        ("a", json!({"timeouts": {"idle": 5}})),
        ("a", json!({"timeouts": {"read": "5s"}})),
        ("a", json!({"response_headers": ["a b"]})),
        ("a", json!({"response_headers": ["Set-Cookie"]})),
        ("a", json!({"response_headers": ["CDN-Cache-Control"]})),
        ("a", json!({"locations": "host"})),
        ("a", json!({"cache": "public"})),
        ("a", json!({"max_body": -1})),
        ("a", json!({"max_body": "1"})),
    ]
}

#[test]
fn schema_and_parser_agree() {
    let schema = validator();
    for (cases, expected) in [(good(), true), (bad(), false)] {
        for (name, members) in cases {
            let map = map(name, &members);
            assert_eq!(ApiMap::parse(&map.to_string()).is_ok(), expected, "the parser on {map}");
            assert_eq!(schema.is_valid(&map), expected, "the schema on {map}");
        }
    }
    for shipped in [format!("{ROOT}/apis.json"), format!("{ROOT}/docs/configuration.md")] {
        let text = std::fs::read_to_string(&shipped).unwrap();
        let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
        let maps = if shipped.ends_with(".json") { vec![&*text] } else { blocks.collect() };
        assert!(!maps.is_empty());
        for map in maps {
            assert!(schema.is_valid(&serde_json::from_str(map).unwrap()), "{shipped}: {map}");
            ApiMap::parse(map).unwrap();
        }
    }
}
