use super::*;

const SHIPPED: &str = include_str!("../../apis.json");

#[test]
fn the_shipped_map_is_microsoft_graph() {
    let map = ApiMap::parse(SHIPPED).unwrap();
    assert_eq!(map.iter().len(), 1);
    let graph = map.get("graph").unwrap();
    assert_eq!(graph.route, "/graph");
    assert_eq!(graph.timeouts.total, Some(Duration::from_secs(100)));
    assert_eq!(graph.locations, Locations::Base, "a Location of a 202 is a path below the version");
    assert_eq!(map.sign_in_api().map(|api| api.name.as_str()), Some("graph"));
}

#[test]
fn all_errors_are_reported_at_once_with_the_name() {
    let json = r#"{
        "Bad Name": {"base": "https://a.example", "allow": ["GET /"]},
        "plain": {"base": "http://a.example", "allow": []},
        "secret": {"base": "https://a.example", "allow": ["GET /"], "request_headers": ["Authorization"]},
        "slow": {"base": "https://a.example", "allow": ["GET /"], "timeouts": {"total": "soon"}},
        "x": {"base": "https://a.example", "allow": ["GET /"], "route": "/auth"}
    }"#;
    let errors = ApiMap::parse(json).unwrap_err().join("\n");
    for part in [
        "Bad Name: the name must",
        "plain: base must",
        "plain: allow",
        "secret: request_headers",
        "slow: timeouts.total",
        "x: route must",
    ] {
        assert!(errors.contains(part), "{part} in\n{errors}");
    }
}

#[test]
fn unknown_members_and_duplicate_routes_are_errors() {
    assert!(ApiMap::parse(r#"{"a": {"base": "https://a.example", "allow": ["GET /"], "bass": 1}}"#).is_err());
    let two = r#"{"a": {"base": "https://a.example", "allow": ["GET /"], "route": "/graph"},
                  "b": {"base": "https://a.example", "allow": ["GET /"], "route": "/graph"}}"#;
    assert!(ApiMap::parse(two).unwrap_err()[0].contains("already used by a"));
}

#[test]
fn the_sign_in_api_is_the_stated_one_else_the_only_one_else_graph() {
    let sign_in_api = |entries: &[(&str, Option<bool>)]| {
        let entry = |(name, sign_in): &(&str, Option<bool>)| {
            let api = serde_json::json!({"base": "https://a.example", "allow": ["GET /"], "sign_in": sign_in});
            ((*name).to_owned(), api)
        };
        let json = serde_json::Value::Object(entries.iter().map(entry).collect()).to_string();
        ApiMap::parse(&json).map(|map| map.sign_in_api().map(|api| api.name.clone()))
    };
    let some = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(sign_in_api(&[("a", None)]), some("a"));
    assert_eq!(sign_in_api(&[("a", Some(false))]), Ok(None));
    assert_eq!(sign_in_api(&[("a", None), ("b", None)]), Ok(None));
    assert_eq!(sign_in_api(&[("a", None), ("graph", None)]), some("graph"));
    assert_eq!(sign_in_api(&[("a", None), ("graph", Some(false))]), Ok(None));
    assert_eq!(sign_in_api(&[("a", Some(true)), ("graph", None)]), some("a"));
    assert!(sign_in_api(&[("a", Some(true)), ("b", Some(true))]).is_err());
}
