//! The tables of what was measured on the real call sequence.

/// Raw path, as decoded by Kestrel, as forwarded, as proxied.
pub(crate) const PATHS: &[(&str, &str, &str, &str)] = &[
    same("/graph/users('x@y.z')"),
    same("/graph/a:b"),
    same("/graph//a"),
    same("/graph/me;x=1"),
    same("/graph/a+b"),
    ("/graph/[1]", "/graph/[1]", "/graph/[1]", "/graph/%5B1%5D"),
    ("/graph/%5B1%5D", "/graph/[1]", "/graph/[1]", "/graph/%5B1%5D"),
    ("/graph/a%20b", "/graph/a b", "/graph/a%20b", "/graph/a%20b"),
    ("/graph/%C3%A9", "/graph/é", "/graph/%C3%A9", "/graph/%C3%A9"),
    ("/graph/%c3%a9", "/graph/é", "/graph/%C3%A9", "/graph/%C3%A9"),
    (
        "/graph/%22%3C%3E%7C%5E%60%7B%7D",
        "/graph/\"<>|^`{}",
        "/graph/%22%3C%3E%7C%5E%60%7B%7D",
        "/graph/%22%3C%3E%7C%5E%60%7B%7D",
    ),
    ("/graph/a%2Fb", "/graph/a%2Fb", "/graph/a%2Fb", "/graph/a%252Fb"),
    ("/graph/a%252Fb", "/graph/a%2Fb", "/graph/a%2Fb", "/graph/a%252Fb"),
    ("/graph/%2541", "/graph/%41", "/graph/A", "/graph/%2541"),
    ("/graph/%252e%252e/admin", "/graph/%2e%2e/admin", "/admin", "/graph/%252e%252e/admin"),
    ("/graph/%2e%2e/graph/x", "/graph/x", "/graph/x", "/graph/x"),
    ("/graph/a%3Fb", "/graph/a?b", "/graph/a", "/graph/a%3Fb"),
    ("/graph/a%23b", "/graph/a#b", "/graph/a", "/graph/a%23b"),
    ("/graph/a%5Cb", "/graph/a\\b", "/graph/a/b", "/graph/a%5Cb"),
    ("/graph/a%25b", "/graph/a%b", "/graph/a%25b", "/graph/a%25b"),
];

/// Raw query and the one that a forwarded request has.
pub(crate) const QUERIES: &[(&str, &str)] = &[
    ("a=1&A=2", "A=1,2"),
    ("a=1&b=3&A=2", "A=1,2&b=3"),
    ("flag", "flag="),
    ("=v", "=v"),
    ("a=1+2", "a=1%202"),
    ("a=b=c", "a=b%3Dc"),
    ("a=%ff%zz", "a=%25ff%25zz"),
    ("$filter=name%20eq%20'a%20b'%2Bc,d/%C3%A9~(x)*!:@;", "$filter=name%20eq%20%27a%20b%27%2Bc,d%2F%C3%A9~(x)*!%3A@;"),
    ("return_to=%2Fa%3Fb%23c%26d", "return_to=%2Fa%3Fb%23c%26d"),
];

const fn same(path: &'static str) -> (&'static str, &'static str, &'static str, &'static str) {
    (path, path, path, path)
}
