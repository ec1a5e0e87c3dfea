//! Repairs `Content-Disposition` values with other bytes than visible ASCII, as file services send them (contract
//! 10.9a, RFC 6266, RFC 8187).
//!
//! The published parsers either follow the rules of mail or reject what the rule here accepts, and none writes the
//! header again.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Most characters of a file name, which is what file systems accept.
const NAME_CHARACTERS: usize = 255;
/// Most characters after the last dot that count as an extension.
const EXTENSION_CHARACTERS: usize = 32;
/// All but `attr-char` (RFC 8187 section 3.2.1).
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value in visible ASCII: the type, the parameters that are ASCII, and the file name in both forms. `None` if it
/// cannot be parsed.
pub(super) fn rewrite(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).map_or_else(|_| latin1(value), Cow::Borrowed);
    let (kind, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let kind = kind.trim();
    if !is_token(kind) {
        return None;
    }
    let (mut rewritten, mut plain, mut extended) = (kind.to_owned(), None, None);
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() || parameter.starts_with(';') {
            rest = parameter;
            continue;
        }
        let (name, after) = parameter.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        if !is_token(&name) {
            return None;
        }
        let (value, after) = take_value(after.trim_start())?;
        rest = after;
        match name.as_str() {
            "filename" if plain.is_none() => plain = Some(value),
            "filename*" if extended.is_none() => extended = decode_extended(&value),
            "filename" | "filename*" => {}
            _ if is_token(&value) => rewritten.push_str(&format!("; {name}={value}")),
            _ if is_visible(&value) => rewritten.push_str(&format!("; {name}={}", quoted(&value))),
            _ => {}
        }
    }
    let mut names = extended.into_iter().chain(plain).map(|name| shorten(&safe(&name)));
    if let Some(name) = names.find(|name| !name.is_empty()) {
        let ascii = |character: char| matches!(character, ' '..='~') && !matches!(character, '"' | '%');
        let fallback: String = name.chars().map(|of| if ascii(of) { of } else { '_' }).collect();
        let encoded = utf8_percent_encode(&name, NOT_ATTR_CHAR);
        rewritten.push_str(&format!("; filename=\"{fallback}\"; filename*=UTF-8''{encoded}"));
    }
    Some(rewritten)
}

fn latin1(bytes: &[u8]) -> Cow<'static, str> {
    Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect())
}

/// The value at the beginning of a text, and what follows it: nothing, or from the next `;`.
fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(text) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find(';').unwrap_or(text.len()));
        let value = value.trim_end();
        return (!value.is_empty() && !value.contains('"')).then(|| (value.to_owned(), after));
    };
    let (mut value, mut characters) = (String::new(), text.chars());
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
    let after = characters.as_str().trim_start();
    (after.is_empty() || after.starts_with(';')).then_some((value, after))
}

/// `charset'language'percent-encoded` (RFC 8187 section 3.2). `None` if the charset or its bytes are others.
fn decode_extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes: Cow<'_, [u8]> = percent_decode_str(encoded).into();
    if charset.eq_ignore_ascii_case("utf-8") {
        return String::from_utf8(bytes.into_owned()).ok();
    }
    (charset.eq_ignore_ascii_case("iso-8859-1") && encoded.is_ascii()).then(|| latin1(&bytes).into_owned())
}

/// Without what separates folders, and without what a file manager would not show or show in another order.
fn safe(name: &str) -> String {
    let unsafe_in_a_name = |character: char| {
        let bidirectional = matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        bidirectional || character.is_control() || matches!(character, '/' | '\\')
    };
    name.chars().map(|character| if unsafe_in_a_name(character) { '_' } else { character }).collect()
}

/// At most 255 characters, of which the extension is kept.
fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME_CHARACTERS {
        return name.to_owned();
    }
    let extension = name.rfind('.').map(|at| name.split_at(at).1).unwrap_or_default();
    let length = extension.chars().count();
    let (extension, length) = if length > EXTENSION_CHARACTERS { ("", 0) } else { (extension, length) };
    name.chars().take(NAME_CHARACTERS - length).chain(extension.chars()).collect()
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<String> {
        rewrite(value.as_bytes())
    }

    #[test]
    fn a_name_is_written_in_both_forms() {
        let expected = "attachment; filename=\"caf_.txt\"; filename*=UTF-8''caf%C3%A9.txt";
        assert_eq!(of("attachment; filename=\"café.txt\"").as_deref(), Some(expected));
        assert_eq!(of("attachment;filename=café.txt").as_deref(), Some(expected));
        assert_eq!(rewrite(b"attachment; filename=\"caf\xe9.txt\"").as_deref(), Some(expected), "ISO 8859-1");
        let both = "attachment; FileName=\"ü\"; filename*=UTF-8''caf%C3%A9.txt";
        assert_eq!(of(both).as_deref(), Some(expected), "filename* counts");
        let latin = "attachment; filename=\"ü\"; filename*=iso-8859-1'fr'caf%E9.txt";
        assert_eq!(of(latin).as_deref(), Some(expected));
        let invalid = "attachment; filename=\"café.txt\"; filename*=UTF-8''%ff";
        assert_eq!(of(invalid).as_deref(), Some(expected), "an invalid filename* counts as absent");
        let empty = "attachment; filename=\"café.txt\"; filename*=UTF-8''";
        assert_eq!(of(empty).as_deref(), Some(expected), "so does an empty one");
    }

    #[test]
    fn other_parameters_stay_if_they_are_ascii() {
        assert_eq!(of("inline; size=3; a=\"b \\\" c\"; ü=x").as_deref(), None, "the name of a parameter is a token");
        assert_eq!(of("inline; size=3; a=\"b \\\" c\"; t=ü;").as_deref(), Some("inline; size=3; a=\"b \\\" c\""));
    }

    #[test]
    fn what_is_dangerous_in_a_name_is_replaced() {
        let expected = "attachment; filename=\"a_b_c_d_e__.t\"; filename*=UTF-8''a_b_c_d%22e%25%C3%BC.t";
        assert_eq!(of("attachment; filename=\"a/b\\\\c\u{202e}d\\\"e%ü.t\"").as_deref(), Some(expected));
        let injected = of("attachment; filename*=UTF-8''ü%0d%0aX:1").unwrap();
        assert!(injected.contains("%C3%BC__X%3A1"), "{injected}");
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let rewritten = of(&format!("attachment; filename=\"{}ü.tar\"", "a".repeat(300))).unwrap();
        assert!(rewritten.contains(&format!("\"{}.tar\"", "a".repeat(251))), "{rewritten}");
    }

    #[test]
    fn what_cannot_be_parsed_is_removed() {
        for value in ["ü", "", "attachment; filename=\"ü", "attachment; ü", "a b; filename=ü", "attachment; filename="]
        {
            assert_eq!(of(value), None, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_result_is_visible_ascii(value in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let value = [b"attachment; filename=", value.as_slice()].concat();
            if let Some(rewritten) = rewrite(&value) {
                proptest::prop_assert!(is_visible(&rewritten), "{:?}", rewritten);
            }
        }
    }
}
