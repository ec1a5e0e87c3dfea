//! Method and path patterns of the API map, as one tree of segments: the cost of a look-up does not grow with them.

use std::collections::HashMap;

use http::Method;

/// What an API allows.
#[derive(Debug)]
pub struct Allowed {
    /// The first is the root. A node is named by its place.
    nodes: Vec<Node>,
}

/// Where the segments of patterns lead that have begun alike.
#[derive(Debug, Default)]
struct Node {
    /// By the segment's own name.
    named: HashMap<String, usize>,
    /// By `*`: any segment that is not empty.
    one: Option<usize>,
    /// By `**`: a node that stays for every further segment, and is reached without any.
    many: Option<usize>,
    stays: bool,
    /// The methods of the patterns that end here; none is any.
    methods: Vec<Option<Method>>,
}

/// What the patterns say of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Allowed,
    /// The path may be called, but with these methods.
    MethodNotAllowed(String),
    /// The path may not be called.
    NotFound,
}

impl Allowed {
    /// Compiles lines such as `GET /me/**`. `*` is one segment, `**` any number, none included; a method `*` is any.
    ///
    /// # Errors
    /// Which line is wrong and how.
    pub fn compile(lines: &[String]) -> Result<Self, String> {
        if lines.is_empty() {
            return Err("allow needs at least one line".to_owned());
        }
        let mut tree = Self { nodes: vec![Node::default()] };
        for line in lines {
            let (method, segments) = parse(line)?;
            let end = segments.into_iter().fold(0, |node, segment| tree.grow(node, segment));
            if let Some(node) = tree.nodes.get_mut(end) {
                node.methods.push(method);
            }
        }
        Ok(tree)
    }

    /// The node behind a segment of a pattern, made when it is not there.
    fn grow(&mut self, from: usize, segment: &str) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(from) else { return from };
        // A second `**` adds nothing.
        if segment == "**" && node.stays {
            return from;
        }
        let next = match segment {
            "**" => *node.many.get_or_insert(new),
            "*" => *node.one.get_or_insert(new),
            name => *node.named.entry(name.to_owned()).or_insert(new),
        };
        if next == new {
            self.nodes.push(Node { stays: segment == "**", ..Node::default() });
        }
        next
    }

    /// Judges a call by its method and its decoded path.
    #[must_use]
    pub fn check(&self, method: &Method, path: &str) -> Verdict {
        let ends = self.reached(path);
        let allowed = || ends.iter().filter_map(|end| self.nodes.get(*end)).flat_map(|node| &node.methods);
        if allowed().next().is_none() {
            return Verdict::NotFound;
        }
        // TRACE would echo our token, and CONNECT has no path that could be judged: no pattern allows them.
        if *method == Method::TRACE || *method == Method::CONNECT {
            return Verdict::MethodNotAllowed(allow_header(allowed()));
        }
        // HEAD goes with GET.
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let fits =
            |allowed: &Option<Method>| allowed.as_ref().is_none_or(|allowed| allowed == wanted || allowed == method);
        if allowed().any(fits) { Verdict::Allowed } else { Verdict::MethodNotAllowed(allow_header(allowed())) }
    }

    /// The nodes to which a path leads.
    fn reached(&self, path: &str) -> Vec<usize> {
        let Some(segments) = path.strip_prefix('/') else { return Vec::new() };
        let mut here = Vec::new();
        self.enter(&mut here, 0);
        for segment in segments.split('/') {
            let mut next = Vec::with_capacity(here.len());
            for at in here {
                let Some(node) = self.nodes.get(at) else { continue };
                let stays = node.stays.then_some(at);
                let one = node.one.filter(|_| !segment.is_empty());
                for reached in stays.into_iter().chain(one).chain(node.named.get(segment).copied()) {
                    self.enter(&mut next, reached);
                }
            }
            here = next;
        }
        here
    }

    /// Adds a node, and the one that its `**` reaches without a segment.
    fn enter(&self, reached: &mut Vec<usize>, node: usize) {
        for node in [Some(node), self.nodes.get(node).and_then(|node| node.many)].into_iter().flatten() {
            if !reached.contains(&node) {
                reached.push(node);
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
fn parse(line: &str) -> Result<(Option<Method>, Vec<&str>), String> {
    let wrong = |why: &str| format!("{line:?}: {why}");
    let (method, path) = line.split_once(' ').ok_or_else(|| wrong("write a method, a space and a path"))?;
    let method = match method {
        "*" => None,
        "TRACE" | "CONNECT" => return Err(wrong("TRACE and CONNECT never go on")),
        name if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => {
            Some(Method::from_bytes(name.as_bytes()).map_err(|_| wrong("no such method"))?)
        }
        _ => return Err(wrong("methods are upper case, or * for any")),
    };
    let segments = path.strip_prefix('/').ok_or_else(|| wrong("the path begins with /"))?;
    if path.contains(['?', '#', '\\', '%']) || path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err(wrong("the path is written decoded, without query, fragment, backslash or space"));
    }
    let segments: Vec<&str> = segments.split('/').collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(wrong("dot segments never match"));
    }
    if segments.iter().any(|segment| segment.contains('*') && !matches!(*segment, "*" | "**")) {
        return Err(wrong("* and ** stand for whole segments"));
    }
    Ok((method, segments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(lines: &[&str]) -> Allowed {
        Allowed::compile(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn judge(lines: &[&str], method: &str, path: &str) -> Verdict {
        allowed(lines).check(&Method::from_bytes(method.as_bytes()).unwrap(), path)
    }

    #[test]
    fn stars_stand_for_segments() {
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
            assert_eq!(judge(&[&format!("GET {pattern}")], "GET", path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn methods_are_told_apart_from_paths() {
        let lines = ["GET /me", "PATCH /me", "* /any"];
        assert_eq!(judge(&lines, "HEAD", "/me"), Verdict::Allowed, "HEAD goes with GET");
        assert_eq!(judge(&lines, "POST", "/me"), Verdict::MethodNotAllowed("GET, HEAD, PATCH".to_owned()));
        assert_eq!(judge(&lines, "FOO", "/any"), Verdict::Allowed);
        for never in ["TRACE", "CONNECT"] {
            assert!(matches!(judge(&lines, never, "/any"), Verdict::MethodNotAllowed(_)), "{never}");
        }
        assert_eq!(judge(&lines, "GET", "/other"), Verdict::NotFound);
        assert_eq!(judge(&["PATCH /me"], "HEAD", "/me"), Verdict::MethodNotAllowed("PATCH".to_owned()));
    }

    #[test]
    fn wrong_lines_are_named() {
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
            let error = Allowed::compile(&[bad.to_owned()]).unwrap_err();
            assert!(error.contains(bad.trim()) || error.contains('"'), "{error}");
        }
        assert!(Allowed::compile(&[]).is_err());
    }

    #[test]
    fn many_patterns_with_stars_are_no_trouble() {
        for shape in ["/users/*/things-{}/**", "/**/things-{}/**", "/**/{}/**/**/x"] {
            let lines: Vec<String> =
                (0..1_000).map(|number| format!("GET {}", shape.replace("{}", &number.to_string()))).collect();
            let allowed = Allowed::compile(&lines).unwrap();
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

    /// What patterns mean, said as plainly as can be.
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
        fn the_tree_says_what_each_pattern_says(
            patterns in proptest::collection::vec("(/(a|b|\\*|\\*\\*)?){1,5}", 1..6),
            path in "(/(a|b|c)?){1,6}",
        ) {
            let lines: Vec<String> = patterns.iter().map(|pattern| format!("GET {pattern}")).collect();
            let segments: Vec<&str> = path[1..].split('/').collect();
            let split = |pattern: &String| matches(&pattern[1..].split('/').collect::<Vec<_>>(), &segments);
            let expected = patterns.iter().any(split);
            let found = Allowed::compile(&lines).unwrap().check(&Method::GET, &path) == Verdict::Allowed;
            proptest::prop_assert_eq!(found, expected, "{:?} {}", lines, path);
        }
    }
}
