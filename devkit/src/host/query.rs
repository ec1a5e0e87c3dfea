//! The query of a forwarded request: the host parses it and writes it anew.

use super::path::{encode, unescape};

/// The query that the handler sees for a raw one. `None` when no parameter is left.
///
/// Keys that differ by case only are one key, in its first place and spelling, and their values are joined by commas.
pub(super) fn rebuild(raw: &str) -> Option<String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (decode(key), decode(value));
        match pairs.iter_mut().find(|(known, _)| known.to_uppercase() == key.to_uppercase()) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => pairs.push((key, value)),
        }
    }
    let written: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
    (!written.is_empty()).then(|| written.join("&"))
}

fn decode(text: &str) -> String {
    unescape(&text.replace('+', " "), |_| true)
}

fn escape(text: &str) -> String {
    encode(text, b"-._~!$()*,;@")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::tables::QUERIES;

    #[test]
    fn the_measured_table_is_reproduced() {
        for (raw, expected) in QUERIES {
            assert_eq!(rebuild(raw).as_deref(), Some(*expected), "{raw}");
        }
    }

    #[test]
    fn a_query_without_parameters_is_none() {
        assert_eq!(rebuild(""), None);
        assert_eq!(rebuild("&&"), None);
    }
}
