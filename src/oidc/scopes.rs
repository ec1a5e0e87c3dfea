//! Which scopes a token request names, and which of them a response granted (contract 7.22, 7.25).

use crate::api_map::{Api, ApiMap};

/// Scopes of the protocol, which belong to no API even where one lists them.
const PROTOCOL: [&str; 2] = ["openid", "offline_access"];

/// The scopes of a token request: those of the API, and those of `SCOPES` that belong to no other API and were not left
/// out as not granted before, so that one API's token is not good for another. None is named twice.
#[must_use]
pub fn of_token_request<'a>(
    scopes: &'a [String],
    apis: &'a ApiMap,
    api: Option<&'a Api>,
    not_granted: &[String],
) -> Vec<&'a str> {
    let is_other = |other: &&Api| api.is_none_or(|api| api.name != other.name);
    let others: Vec<&Api> = apis.iter().filter(is_other).collect();
    let shared = scopes
        .iter()
        .filter(|scope| !not_granted.contains(scope) && !others.iter().any(|other| belongs(scope, &other.scopes)));
    let mut named: Vec<&str> = Vec::new();
    for scope in shared.chain(api.iter().flat_map(|api| &api.scopes)) {
        if !named.contains(&scope.as_str()) {
            named.push(scope);
        }
    }
    named
}

/// Whether a scope is that of an API that lists these: one of them, or with the same part before the last `/`.
fn belongs(scope: &str, listed: &[String]) -> bool {
    let resource = |scope: &str| scope.rsplit_once('/').map(|(resource, _)| resource.to_owned());
    let own = resource(scope);
    let same = |one: &String| one == scope || (own.is_some() && resource(one) == own);
    !PROTOCOL.contains(&scope) && listed.iter().any(same)
}

/// The requested scopes of `SCOPES` that a token response left out. Without a `scope` it granted all (RFC 6749 section
/// 5.1).
#[must_use]
pub fn not_granted(scopes: &[String], requested: &[&str], granted: Option<&str>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    let left_out = |scope: &&String| {
        requested.contains(&scope.as_str()) && last(scope) != ".default" && !contains(granted, last(scope))
    };
    scopes.iter().filter(left_out).cloned().collect()
}

/// Whether none of an API's scopes was granted: the user never consented to them.
///
/// Providers write scopes with and without the resource in front, so only the last segments are compared.
#[must_use]
pub fn lacks_all(granted: Option<&str>, scopes: &[String]) -> bool {
    let mut required = scopes.iter().map(|scope| last(scope)).filter(|scope| *scope != ".default").peekable();
    let Some(granted) = granted.filter(|_| required.peek().is_some()) else { return false };
    !required.any(|scope| contains(granted, scope))
}

fn last(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or_default()
}

fn contains(granted: &str, segment: &str) -> bool {
    granted.split_ascii_whitespace().any(|scope| last(scope) == segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    /// `notes` shares no resource with the others.
    fn apis() -> ApiMap {
        let entry = |scopes: &str| format!(r#"{{"base":"https://api.example","scopes":{scopes},"allow":["GET /"]}}"#);
        let (graph, orders) = (entry(r#"["https://graph/User.Read"]"#), entry(r#"["api://orders/read","profile"]"#));
        let notes = entry(r#"["notes.read"]"#);
        ApiMap::parse(&format!(r#"{{"graph":{graph},"orders":{orders},"notes":{notes}}}"#)).unwrap()
    }

    #[test]
    fn a_token_request_names_its_apis_scopes_and_those_that_belong_to_no_other() {
        let all = owned(&[
            "openid",
            "profile",
            "offline_access",
            "https://graph/User.Read",
            "https://graph/Mail.Read",
            "api://orders/write",
            "notes.read",
        ]);
        let apis = apis();
        let of = |api: Option<&str>, not_granted: &[&str]| {
            of_token_request(&all, &apis, api.and_then(|api| apis.get(api)), &owned(not_granted)).join(" ")
        };
        assert_eq!(of(Some("graph"), &[]), "openid offline_access https://graph/User.Read https://graph/Mail.Read");
        assert_eq!(of(Some("orders"), &[]), "openid profile offline_access api://orders/write api://orders/read");
        assert_eq!(of(Some("notes"), &[]), "openid offline_access notes.read");
        assert_eq!(of(None, &[]), "openid offline_access");
        assert_eq!(of(None, &["offline_access", "email"]), "openid");
        assert_eq!(of(None, &["openid", "offline_access"]), "");
    }

    #[test]
    fn scopes_that_a_response_left_out_are_not_granted() {
        let all = owned(&["openid", "profile", "https://graph/Mail.Read", "api://x/.default", "other"]);
        let requested = ["openid", "profile", "https://graph/Mail.Read", "api://x/.default"];
        let left_out = |granted| not_granted(&all, &requested, granted);
        assert!(left_out(None).is_empty(), "without scope, the requested ones are granted");
        assert_eq!(left_out(Some("openid Mail.Read")), ["profile"]);
        assert_eq!(left_out(Some("openid profile")), ["https://graph/Mail.Read"]);
    }

    #[test]
    fn scopes_are_compared_by_their_last_segments() {
        let graph = owned(&["https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/Mail.Read"]);
        assert!(!lacks_all(None, &graph), "without scope, the requested ones are granted");
        assert!(!lacks_all(Some("openid User.Read"), &graph));
        assert!(!lacks_all(Some("https://graph.microsoft.com/Mail.Read"), &graph));
        assert!(lacks_all(Some("openid profile"), &graph));
        assert!(!lacks_all(Some("openid"), &owned(&["api://orders/.default"])));
        assert!(!lacks_all(Some("openid"), &[]));
    }
}
