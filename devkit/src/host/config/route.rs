//! Route templates, as ASP.NET reads them, without what no custom handler here uses.

use std::collections::BTreeMap;

use regex_lite::{Regex, escape};

/// A parsed template such as `api/{name}/{*path}`.
#[derive(Clone, Debug)]
pub(crate) struct Template(Regex);

impl Template {
    /// # Errors
    ///
    /// What in the template this stand-in does not support.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Literals ignore case, and one trailing slash is tolerated.
        let mut pattern = "(?is)^".to_owned();
        let segments: Vec<_> = text.trim_matches('/').split('/').collect();
        for (index, segment) in segments.iter().enumerate().filter(|_| segments != [""]) {
            pattern += &pattern_of(segment, index + 1 == segments.len())?;
        }
        Regex::new(&(pattern + "/?$"))
            .map(Self)
            .map_err(|error| format!("the route '{text}' is not supported: {error}"))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }

    /// The parameters of a decoded path that matches, by name. A missing optional one is left out.
    pub(super) fn parameters(&self, path: &str) -> BTreeMap<String, String> {
        let Some(captured) = self.0.captures(path) else { return BTreeMap::new() };
        let named = self.0.capture_names().flatten().filter_map(|name| Some((name, captured.name(name)?.as_str())));
        named.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The pattern of one segment and of the slash before it. Only the last one may be optional or a catch-all.
fn pattern_of(segment: &str, last: bool) -> Result<String, String> {
    let unsupported = || format!("the route segment '{segment}' is not supported by this stand-in");
    if !segment.is_empty() && !segment.contains(['{', '}']) {
        return Ok(format!("/{}", escape(segment)));
    }
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(unsupported)?;
    if let Some(name) = inner.strip_prefix('*').filter(|_| last) {
        return Ok(format!("(?:/(?<{}>.*?))?", name.trim_start_matches('*')));
    }
    let (rest, optional) = inner.strip_suffix('?').map_or((inner, ""), |rest| (rest, "?"));
    let (name, constraint) = rest.split_once(':').unwrap_or((rest, ""));
    let value = match constraint.to_ascii_lowercase().as_str() {
        _ if !optional.is_empty() && !last => return Err(unsupported()),
        "" => "[^/]+",
        "int" => "[+-]?[0-9]+",
        "alpha" => "[a-z]+",
        "guid" => "(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
        _ => return Err(unsupported()),
    };
    Ok(format!("(?:/(?<{name}>{value})){optional}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_as_in_asp_net() {
        for (template, path, expected) in [
            ("auth/login", "/auth/login", true),
            ("/auth/login/", "/AUTH/Login/", true),
            ("auth/login", "/auth", false),
            ("auth/login", "/auth/login/x", false),
            ("auth/login", "//auth/login", false),
            ("a.b", "/axb", false),
            ("api/{name}/x", "/api/a/x", true),
            ("api/{name}/x", "/api//x", false),
            ("api/{name?}", "/api", true),
            ("api/{name?}", "/api/a", true),
            ("graph/{*path}", "/graph", true),
            ("graph/{*path}", "/graph/", true),
            ("graph/{*path}", "/graph//a/b%2Fc\n", true),
            ("graph/{*path}", "/graphs", false),
            ("{*path}", "/", true),
            ("{**path}", "/a/b", true),
            ("", "/", true),
            ("", "/a", false),
            ("n/{id:int}", "/n/-12", true),
            ("n/{id:int}", "/n/1a", false),
            ("n/{id:alpha?}", "/n", true),
            ("n/{id:alpha}", "/n/a1", false),
            ("n/{id:guid}", "/n/00000000-0000-0000-0000-00000000000f", true),
            ("n/{id:guid}", "/n/0000", false),
        ] {
            assert_eq!(Template::parse(template).unwrap().matches(path), expected, "{template} against {path}");
        }
    }

    #[test]
    fn parameters_have_names() {
        for (template, path, expected) in [
            ("api/{name}/{*path}", "/API/graph/me/b%2Fc", "name=graph path=me/b%2Fc"),
            ("api/{name}/{**path}", "/api/graph", "name=graph"),
            ("api/{name}/{*path}", "/api/graph/", "name=graph"),
            ("n/{id:int?}", "/n/7", "id=7"),
            ("n/{id:int?}", "/n", ""),
        ] {
            let parameters = Template::parse(template).unwrap().parameters(path);
            let pairs: Vec<_> = parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(pairs.join(" "), expected, "{template} against {path}");
        }
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for template in ["a/{b:regex(x)}", "a/{b}.{c}", "{*p}/a", "{a?}/b", "a//b", "{a=1}", "{*p:int}", "{a}/{a}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
