//! Route templates, as ASP.NET reads them, without what no custom handler here uses.

use std::collections::BTreeMap;

/// A parsed template such as `api/{name}/{*path}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Literal(String),
    Parameter { name: String, constraint: Option<Constraint>, optional: bool },
    CatchAll { name: String },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Constraint {
    Int,
    Alpha,
    Guid,
}

impl Template {
    /// Parses a template, or tells what in it this stand-in cannot do.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim_matches('/');
        if trimmed.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let parts = trimmed.split('/').map(part).collect::<Result<Vec<_>, _>>()?;
        let early = parts.iter().rev().skip(1);
        if early.into_iter().any(|part| matches!(part, Part::CatchAll { .. } | Part::Parameter { optional: true, .. }))
        {
            return Err(format!("the route '{text}' goes on after its end"));
        }
        Ok(Self(parts))
    }

    /// Whether a decoded path matches. Literals ignore case, and one trailing slash is tolerated.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.captures(path).is_some()
    }

    /// The parameters of a path that matches, by name. What is optional and missing is left out.
    pub(super) fn captures(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = path.split('/').skip(usize::from(path.is_empty()));
        let mut captured = BTreeMap::new();
        for part in &self.0 {
            match (part, segments.next()) {
                (Part::CatchAll { name }, Some(first)) => {
                    let rest: Vec<_> = std::iter::once(first).chain(segments).collect();
                    captured.insert(name.clone(), rest.join("/"));
                    return Some(captured);
                }
                (Part::Literal(literal), Some(segment)) if literal.to_lowercase() == segment.to_lowercase() => {}
                (Part::Parameter { name, constraint, .. }, Some(segment))
                    if !segment.is_empty() && constraint.is_none_or(|constraint| constraint.admits(segment)) =>
                {
                    captured.insert(name.clone(), segment.to_owned());
                }
                (Part::Parameter { optional: true, .. } | Part::CatchAll { .. }, None) => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(captured)
    }
}

impl Constraint {
    fn admits(self, segment: &str) -> bool {
        match self {
            Self::Int => segment.parse::<i32>().is_ok(),
            Self::Alpha => segment.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Guid => is_guid(segment),
        }
    }
}

fn part(segment: &str) -> Result<Part, String> {
    if segment.is_empty() {
        return Err("the route has an empty segment".to_owned());
    }
    if !segment.contains(['{', '}']) {
        return Ok(Part::Literal(segment.to_owned()));
    }
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let parameter = inner.filter(|inner| !inner.contains(['{', '}', '=']));
    let parameter = parameter.ok_or_else(|| format!("the segment '{segment}' is not supported by this stand-in"))?;
    if let Some(name) = parameter.strip_prefix('*') {
        let plain = !name.contains([':', '?']);
        let name = name.trim_start_matches('*').to_owned();
        return plain
            .then_some(Part::CatchAll { name })
            .ok_or_else(|| format!("'{segment}' is not supported by this stand-in"));
    }
    let optional = parameter.ends_with('?');
    let parameter = parameter.trim_end_matches('?');
    let (name, constraint) = match parameter.split_once(':') {
        None => (parameter, None),
        Some((name, rule)) => (name, Some(constraint(rule)?)),
    };
    Ok(Part::Parameter { name: name.to_owned(), constraint, optional })
}

fn constraint(name: &str) -> Result<Constraint, String> {
    match name.to_ascii_lowercase().as_str() {
        "int" => Ok(Constraint::Int),
        "alpha" => Ok(Constraint::Alpha),
        "guid" => Ok(Constraint::Guid),
        _ => Err(format!("the constraint '{name}' is not supported by this stand-in")),
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let shaped = groups == [8, 4, 4, 4, 12] || groups == [32];
    shaped && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        Template::parse(template).unwrap().matches(path)
    }

    #[test]
    fn templates_match_as_in_asp_net() {
        for (template, path, expected) in [
            ("auth/login", "/auth/login", true),
            ("/auth/login/", "/AUTH/Login/", true),
            ("auth/login", "/auth", false),
            ("auth/login", "/auth/login/x", false),
            ("auth/login", "//auth/login", false),
            ("api/{name}/x", "/api/a/x", true),
            ("api/{name}/x", "/api//x", false),
            ("api/{name?}", "/api", true),
            ("api/{name?}", "/api/a", true),
            ("graph/{*path}", "/graph", true),
            ("graph/{*path}", "/graph/", true),
            ("graph/{*path}", "/graph//a/b%2Fc", true),
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
            assert_eq!(matches(template, path), expected, "{template} against {path}");
        }
    }

    #[test]
    fn parameters_are_told_by_name() {
        let captured = |template: &str, path: &str| {
            let pairs = Template::parse(template).unwrap().captures(path).unwrap();
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(captured("api/{name}/{*path}", "/API/graph/me/b%2Fc"), "name=graph path=me/b%2Fc");
        assert_eq!(captured("api/{name}/{**path}", "/api/graph"), "name=graph");
        assert_eq!(captured("n/{id:int?}", "/n/7"), "id=7");
        assert_eq!(captured("n/{id:int?}", "/n"), "");
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for template in ["a/{b:regex(x)}", "a/{b}.{c}", "{*p}/a", "{a?}/b", "a//b", "{a=1}", "{*p:int}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
