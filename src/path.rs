//! Path prefixes, compared by whole segments (contract section 1, "under a path").

/// The rest of `path` below `prefix`: empty, or starting with `/`. `None` if `path` is not under `prefix`.
///
/// `/graph/me` is under `/graph`; `/graphs` is not.
#[must_use]
pub fn strip_prefix_segments<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::strip_prefix_segments;

    #[test]
    fn a_prefix_ends_at_a_segment_boundary() {
        for (path, prefix, rest) in [
            ("/graph", "/graph", Some("")),
            ("/graph/", "/graph", Some("/")),
            ("/graph/me", "/graph", Some("/me")),
            ("/graphs", "/graph", None),
            ("/Graph/me", "/graph", None),
            ("/", "/graph", None),
        ] {
            assert_eq!(strip_prefix_segments(path, prefix), rest, "{path} under {prefix}");
        }
    }
}
