//! Method and path patterns of the API map, compiled into one automaton: the cost of a look-up does not grow with them.

use http::Method;
use regex_automata::dfa::{Automaton, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternSet};

/// Most bytes of memory for the automaton of one API.
const SIZE_LIMIT: usize = 8 * 1_024 * 1_024;

/// What an API allows.
#[derive(Debug)]
pub struct Allowed {
    methods: Vec<Option<Method>>,
    automaton: dense::DFA<Vec<u32>>,
}

/// What the patterns say of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Allowed,
    /// The path may be called, but with these methods.
    OtherMethods(String),
    /// The path may not be called.
    NoPath,
}

impl Allowed {
    /// Compiles lines such as `GET /me/**`. `*` is one segment, `**` any number, none included; a method `*` is any.
    ///
    /// # Errors
    /// Which line is wrong and how.
    pub fn compile(lines: &[String]) -> Result<Self, String> {
        let parsed = lines.iter().map(|line| parse(line)).collect::<Result<Vec<_>, _>>()?;
        if parsed.is_empty() {
            return Err("allow needs at least one line".to_owned());
        }
        let (methods, patterns): (Vec<_>, Vec<_>) = parsed.into_iter().unzip();
        let automaton = dense::Builder::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .configure(dense::Config::new().match_kind(MatchKind::All).dfa_size_limit(Some(SIZE_LIMIT)))
            .build_many(&patterns)
            .map_err(|_| "the patterns are too many or too long together".to_owned())?;
        Ok(Self { methods, automaton })
    }

    /// Judges a call by its method and its decoded path.
    #[must_use]
    pub fn judge(&self, method: &Method, path: &str) -> Verdict {
        let mut matching = PatternSet::new(self.methods.len());
        let input = Input::new(path).anchored(Anchored::Yes);
        // A quit byte is the only failure, and there are none.
        let _ = self.automaton.try_which_overlapping_matches(&input, &mut matching);
        if matching.is_empty() {
            return Verdict::NoPath;
        }
        let allowed: Vec<&Option<Method>> =
            matching.iter().filter_map(|pattern| self.methods.get(pattern.as_usize())).collect();
        // HEAD goes with GET.
        // TRACE would echo our token, and CONNECT has no path that could be judged: no pattern allows them.
        if *method == Method::TRACE || *method == Method::CONNECT {
            return Verdict::OtherMethods(allow_header(&allowed));
        }
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        let fits =
            |allowed: &&Option<Method>| allowed.as_ref().is_none_or(|allowed| allowed == wanted || allowed == method);
        if allowed.iter().any(fits) { Verdict::Allowed } else { Verdict::OtherMethods(allow_header(&allowed)) }
    }
}

fn allow_header(allowed: &[&Option<Method>]) -> String {
    let mut names: Vec<&str> = allowed.iter().filter_map(|method| method.as_ref()).map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The method, and the path as a regular expression over its segments.
fn parse(line: &str) -> Result<(Option<Method>, String), String> {
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
    if segments.is_empty() {
        return Ok((method, "/\\z".to_owned()));
    }
    let mut pattern = String::new();
    for segment in segments.split('/') {
        match segment {
            "**" => pattern.push_str("(?:/[^/]*)*"),
            "*" => pattern.push_str("/[^/]+"),
            "." | ".." => return Err(wrong("dot segments never match")),
            name if name.contains('*') => return Err(wrong("* and ** stand for whole segments")),
            name => {
                pattern.push('/');
                pattern.extend(name.bytes().map(|byte| format!("\\x{byte:02x}")));
            }
        }
    }
    Ok((method, pattern + "\\z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(lines: &[&str]) -> Allowed {
        Allowed::compile(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn judge(lines: &[&str], method: &str, path: &str) -> Verdict {
        allowed(lines).judge(&Method::from_bytes(method.as_bytes()).unwrap(), path)
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
            let expected = if fits { Verdict::Allowed } else { Verdict::NoPath };
            assert_eq!(judge(&[&format!("GET {pattern}")], "GET", path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn methods_are_told_apart_from_paths() {
        let lines = ["GET /me", "PATCH /me", "* /any"];
        assert_eq!(judge(&lines, "HEAD", "/me"), Verdict::Allowed, "HEAD goes with GET");
        assert_eq!(judge(&lines, "POST", "/me"), Verdict::OtherMethods("GET, HEAD, PATCH".to_owned()));
        assert_eq!(judge(&lines, "FOO", "/any"), Verdict::Allowed);
        for never in ["TRACE", "CONNECT"] {
            assert!(matches!(judge(&lines, never, "/any"), Verdict::OtherMethods(_)), "{never}");
        }
        assert_eq!(judge(&lines, "GET", "/other"), Verdict::NoPath);
        assert_eq!(judge(&["PATCH /me"], "HEAD", "/me"), Verdict::OtherMethods("PATCH".to_owned()));
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
}
