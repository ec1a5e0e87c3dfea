use super::*;

const SHIPPED: &str = include_str!("../../../apis.json");

#[test]
fn the_shipped_map_is_graph() {
    let apis = parse(SHIPPED).unwrap();
    assert_eq!(apis.len(), 1);
    assert_eq!((apis[0].name.as_str(), apis[0].route.as_str()), ("graph", "/graph"));
    assert_eq!(apis[0].timeouts.total, Some(Duration::from_secs(100)));
    assert_eq!(sign_in_api(&apis).map(|api| api.name.as_str()), Some("graph"));
}

#[test]
fn all_faults_are_told_at_once_by_name() {
    let json = r#"{
        "Bad Name": {"base": "https://a.example", "allow": ["GET /"]},
        "plain": {"base": "http://a.example", "allow": []},
        "secret": {"base": "https://a.example", "allow": ["GET /"], "request_headers": ["Authorization"]},
        "slow": {"base": "https://a.example", "allow": ["GET /"], "timeouts": {"total": "soon"}},
        "x": {"base": "https://a.example", "allow": ["GET /"], "route": "/auth"}
    }"#;
    let faults = parse(json).unwrap_err().join("\n");
    for part in [
        "Bad Name: a name",
        "plain: base is",
        "plain: allow",
        "secret: request_headers",
        "slow: timeouts.total",
        "x: route is",
    ] {
        assert!(faults.contains(part), "{part} in\n{faults}");
    }
}

#[test]
fn unknown_members_and_shared_routes_are_faults() {
    assert!(parse(r#"{"a": {"base": "https://a.example", "allow": ["GET /"], "bass": 1}}"#).is_err());
    let two = r#"{"a": {"base": "https://a.example", "allow": ["GET /"], "route": "/graph"},
                  "b": {"base": "https://a.example", "allow": ["GET /"], "route": "/graph"}}"#;
    assert!(parse(two).unwrap_err()[0].contains("is a's"));
}

fn base() -> Base {
    Base::parse("https://graph.example/v1.0").unwrap()
}

fn uri(base: &Base, raw: &str, query: Option<&str>) -> String {
    base.uri(&ProvenPath::parse(raw).unwrap(), query).unwrap().to_string()
}

#[test]
fn addresses_are_the_base_and_what_came() {
    assert_eq!(uri(&base(), "/me", None), "https://graph.example/v1.0/me");
    assert_eq!(uri(&base(), "/", None), "https://graph.example/v1.0");
    assert_eq!(uri(&base(), "//evil/x", None), "https://graph.example/v1.0//evil/x");
    assert_eq!(uri(&base(), "/a%20b", Some("$filter=a%2Fb&x")), "https://graph.example/v1.0/a%20b?$filter=a%2Fb&x");
    assert_eq!(uri(&Base::parse("https://a.example").unwrap(), "", None), "https://a.example/");
    assert_eq!(uri(&Base::parse("https://a.example").unwrap(), "//evil", None), "https://a.example//evil");
}

#[test]
fn bases_are_secure_and_bare() {
    assert!(Base::parse("http://127.0.0.1:9/x").is_ok());
    for bad in [
        "http://a.example",
        "https://u@a.example",
        "https://a.example?x",
        "https://a.example#x",
        "a.example",
        "file:///x",
    ] {
        assert!(Base::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_locations_inside_the_base_are_ours() {
    let relative = |location: &str| base().relative(location);
    assert_eq!(relative("https://graph.example/v1.0/me?x#y").as_deref(), Some("/me?x#y"));
    assert_eq!(relative("/v1.0/me").as_deref(), Some("/me"));
    for outside in [
        "https://evil.example/v1.0/me",
        "/v1.0x/me",
        "/beta/me",
        "//evil/v1.0/me",
        "https://graph.example/v1.0/../beta",
        "me",
    ] {
        assert_eq!(relative(outside), None, "{outside}");
    }
}
