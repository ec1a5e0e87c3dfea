//! Method and path patterns of an API (contract 10.1), compiled into one tree of segments so that the cost of a check
//! does not grow with their number.

use std::collections::BTreeMap;

use http::Method;
use smallvec::SmallVec;

#[derive(Debug)]
pub struct AllowList {
    /// The first is the root. Nodes refer to each other by index.
    nodes: Vec<Node>,
}

/// One state of the match: the patterns with the same segments so far.
#[derive(Debug, Default)]
struct Node {
    /// The next node by a literal segment. Comparing the few short names costs less than hashing one.
    literal: BTreeMap<String, usize>,
    /// The next node by `*`: any segment that is not empty.
    any_one: Option<usize>,
    /// The node of a following `**`, which is reached without consuming a segment.
    any_number: Option<usize>,
    /// Whether this is the node of a `**`, which consumes every further segment.
    repeats: bool,
    /// The methods of the patterns that end here; `None` stands for any.
    methods: Vec<Option<Method>>,
}

/// The nodes that a path may be at; rarely more than four.
type Reached = SmallVec<[usize; 4]>;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The path is allowed with other methods: the value of the `Allow` header.
    MethodNotAllowed(String),
    NotFound,
}

impl AllowList {
    /// Compiles lines such as `GET /me/**`. In the path, `*` is one segment and `**` any number of segments, including
    /// none; the method `*` is any method.
    ///
    /// # Errors
    /// The line that is invalid, and why.
    pub fn compile(lines: &[String]) -> Result<Self, String> {
        if lines.is_empty() {
            return Err("allow must have at least one line such as GET /me/**".to_owned());
        }
        let mut tree = Self { nodes: vec![Node::default()] };
        for (index, line) in lines.iter().enumerate() {
            let (method, segments) = parse(line).map_err(|why| format!("allow[{index}]: {why}"))?;
            let end = segments.into_iter().fold(0, |node, segment| tree.grow(node, segment));
            if let Some(node) = tree.nodes.get_mut(end) {
                node.methods.push(method);
            }
        }
        Ok(tree)
    }

    /// The node that follows `from` by a segment of a pattern; added if it does not exist.
    fn grow(&mut self, from: usize, segment: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(from) else { return from };
        // `**/**` is the same as `**`.
        if segment == "**" && node.repeats {
            return from;
        }
        let next = match segment {
            "**" => *node.any_number.get_or_insert(new),
            "*" => *node.any_one.get_or_insert(new),
            name => *node.literal.entry(name.to_owned()).or_insert(new),
        };
        if next == new {
            self.nodes.push(Node { repeats: segment == "**", ..Node::default() });
        }
        next
    }

    /// Checks a method and a decoded path.
    #[must_use]
    pub fn check(&self, method: &Method, path: &str) -> Verdict {
        let ends = self.matching(path);
        let allowed = || ends.iter().filter_map(|end| self.nodes.get(*end)).flat_map(|node| &node.methods);
        if allowed().next().is_none() {
            return Verdict::NotFound;
        }
        // TRACE would echo the access token; CONNECT has no path to check. No pattern allows them, not even `*`.
        if *method == Method::TRACE || *method == Method::CONNECT {
            return Verdict::MethodNotAllowed(allow_header(allowed()));
        }
        // Contract 3.30: HEAD is accepted wherever GET is.
        let equivalent = if *method == Method::HEAD { &Method::GET } else { method };
        let fits = |of: &Option<Method>| of.as_ref().is_none_or(|allowed| allowed == equivalent || allowed == method);
        if allowed().any(fits) { Verdict::Allowed } else { Verdict::MethodNotAllowed(allow_header(allowed())) }
    }

    /// The nodes that a path ends at.
    fn matching(&self, path: &str) -> Reached {
        let Some(segments) = path.strip_prefix('/') else { return Reached::new() };
        let mut current = Reached::new();
        self.enter(&mut current, 0);
        for segment in segments.split('/') {
            let mut next = Reached::new();
            for at in current {
                let Some(node) = self.nodes.get(at) else { continue };
                if node.repeats {
                    self.enter(&mut next, at);
                }
                if let Some(any_one) = node.any_one
                    && !segment.is_empty()
                {
                    self.enter(&mut next, any_one);
                }
                if let Some(literal) = node.literal.get(segment) {
                    self.enter(&mut next, *literal);
                }
            }
            current = next;
        }
        current
    }

    /// Adds a node, and the `**` after it, which also matches no segment.
    fn enter(&self, reached: &mut Reached, node: usize) {
        if !reached.contains(&node) {
            reached.push(node);
            if let Some(any_number) = self.nodes.get(node).and_then(|node| node.any_number) {
                self.enter(reached, any_number);
            }
        }
    }
}

fn allow_header<'a>(allowed: impl Iterator<Item = &'a Option<Method>>) -> String {
    let mut names: Vec<&str> = allowed.flatten().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The method, and the segments of the path.
fn parse(line: &str) -> Result<(Option<Method>, Vec<&str>), &'static str> {
    let (method, path) = line.split_once(' ').ok_or("must be a method, a space and a path")?;
    let method = match method {
        "*" => None,
        "TRACE" | "CONNECT" => return Err("TRACE and CONNECT cannot be allowed"),
        name if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => {
            Some(Method::from_bytes(name.as_bytes()).map_err(|_| "not a valid method")?)
        }
        _ => return Err("the method must be in upper case, or * for any"),
    };
    let segments = path.strip_prefix('/').ok_or("the path must begin with /")?;
    if path.contains(['?', '#', '\\', '%']) || path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err("the path must be decoded, without %, query, fragment, backslash, space or control characters");
    }
    let segments: Vec<&str> = segments.split('/').collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(". and .. segments never match; remove them");
    }
    if segments.iter().any(|segment| segment.contains('*') && !matches!(*segment, "*" | "**")) {
        return Err("* and ** must be whole segments");
    }
    Ok((method, segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(lines: &[&str]) -> AllowList {
        AllowList::compile(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn check(lines: &[&str], method: &str, path: &str) -> Verdict {
        allowed(lines).check(&Method::from_bytes(method.as_bytes()).unwrap(), path)
    }

    #[test]
    fn a_star_matches_one_segment_and_two_stars_any_number() {
        for (pattern, path, fits) in [
            ("/me", "/me", true),
            ("/me", "/me/", false),
            ("/me", "/Me", false),
            ("/me", "/me2", false),
            ("/me/**", "/me", true),
            ("/me/**", "/me/", true),
            ("/me/**", "/me/a/b", true),
            ("/me/**", "/mea", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a//c", false),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**/c", "/a/b/cc", false),
            ("/**", "/", true),
            ("/**", "/anything/at all", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/users('x.y')", "/users('x.y')", true),
            ("/users('x.y')", "/users('x-y')", false),
            ("/é", "/é", true),
        ] {
            let expected = if fits { Verdict::Allowed } else { Verdict::NotFound };
            assert_eq!(check(&[&format!("GET {pattern}")], "GET", path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_wrong_method_gets_the_allowed_ones_and_a_wrong_path_does_not() {
        let lines = ["GET /me", "PATCH /me", "* /any"];
        assert_eq!(check(&lines, "HEAD", "/me"), Verdict::Allowed, "HEAD is accepted where GET is");
        assert_eq!(check(&lines, "POST", "/me"), Verdict::MethodNotAllowed("GET, HEAD, PATCH".to_owned()));
        assert_eq!(check(&lines, "FOO", "/any"), Verdict::Allowed);
        for never in ["TRACE", "CONNECT"] {
            assert!(matches!(check(&lines, never, "/any"), Verdict::MethodNotAllowed(_)), "{never}");
        }
        assert_eq!(check(&lines, "GET", "/other"), Verdict::NotFound);
        assert_eq!(check(&["PATCH /me"], "HEAD", "/me"), Verdict::MethodNotAllowed("PATCH".to_owned()));
    }

    #[test]
    fn an_invalid_line_is_named_in_its_error() {
        for bad in [
            "/me",
            "get /me",
            "GET me",
            "GET /a*",
            "GET /a?b",
            "GET /..",
            "GET /%41",
            "TRACE /a",
            "CONNECT /a",
            "GET  /me",
            " /me",
        ] {
            let error = AllowList::compile(&["GET /".to_owned(), bad.to_owned()]).unwrap_err();
            assert!(error.starts_with("allow[1]: ") && !error.contains(bad), "{bad}: {error}");
        }
        assert!(AllowList::compile(&[]).is_err());
    }

    #[test]
    fn a_thousand_patterns_with_stars_are_checked_quickly() {
        for shape in ["/users/*/things-{}/**", "/**/things-{}/**", "/**/{}/**/**/x"] {
            let lines: Vec<String> =
                (0..1_000).map(|number| format!("GET {}", shape.replace("{}", &number.to_string()))).collect();
            let allowed = AllowList::compile(&lines).unwrap();
            assert_eq!(
                allowed.check(&Method::GET, "/users/ada/things-999/a/b"),
                match shape {
                    "/**/{}/**/**/x" => Verdict::NotFound,
                    _ => Verdict::Allowed,
                }
            );
            assert_eq!(allowed.check(&Method::GET, "/users/ada/things-1000"), Verdict::NotFound);
        }
    }

    /// The meaning of one pattern, by the simplest possible implementation.
    fn matches(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => {
                matches(rest, path) || path.split_first().is_some_and(|(_, path)| matches(pattern, path))
            }
            (["*", pattern @ ..], [segment, path @ ..]) => !segment.is_empty() && matches(pattern, path),
            ([name, pattern @ ..], [segment, path @ ..]) => name == segment && matches(pattern, path),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn the_tree_agrees_with_matching_each_pattern(
            patterns in proptest::collection::vec("(/(a|b|\\*|\\*\\*)?){1,5}", 1..6),
            path in "(/(a|b|c)?){1,6}",
        ) {
            let lines: Vec<String> = patterns.iter().map(|pattern| format!("GET {pattern}")).collect();
            let segments: Vec<&str> = path[1..].split('/').collect();
            let split = |pattern: &String| matches(&pattern[1..].split('/').collect::<Vec<_>>(), &segments);
            let expected = patterns.iter().any(split);
            let found = AllowList::compile(&lines).unwrap().check(&Method::GET, &path) == Verdict::Allowed;
            proptest::prop_assert_eq!(found, expected, "{:?} {}", lines, path);
        }
    }
}
