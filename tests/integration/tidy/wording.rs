//! Words that have no meaning in engineering: readers search for the standard term, which is named beside each.
//!
//! Only words without any legitimate use are listed, so that a finding is never a matter of taste.

use super::{assert_none, read, tracked};

/// Words and phrases that must not occur, with what to write instead. Word forms are listed one by one.
const REPLACEMENTS: &[(&str, &str)] = &[
    ("affair", "concern"),
    ("anew", "again"),
    ("asker", "caller or origin"),
    ("backstage", "internal"),
    ("beneath", "under"),
    ("complain", "report"),
    ("complaint", "finding"),
    ("complaints", "findings"),
    ("doubted", "rejected"),
    ("for ever", "without limit"),
    ("forgive", "accept"),
    ("forgives", "accepts"),
    ("go on", "continue, or be forwarded"),
    ("goes on", "continues, or is forwarded"),
    ("healed", "recovered"),
    ("hear", "receive or observe"),
    ("heard", "received or observed"),
    ("hears", "receives or observes"),
    ("judge", "check"),
    ("judged", "checked"),
    ("judges", "checks"),
    ("landed", "alld"),
    ("leads nowhere", "does not exist"),
    ("lender", "the type that it is"),
    ("lying", "stored"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("nobody", "no user, no client or no caller"),
    ("nonsense", "garbage"),
    ("of ours", "of the gateway"),
    ("ought", "must"),
    ("papers", "docs"),
    ("redeem", "exchange (a code) or use (a refresh token)"),
    ("redeemed", "exchanged (a code) or used (a refresh token)"),
    ("redeems", "exchanges (a code) or uses (a refresh token)"),
    ("redemption", "code exchange, refresh or token request"),
    ("redemptions", "code exchanges, refreshes or token requests"),
    ("refusal", "rejection or error"),
    ("refusals", "rejections or errors"),
    ("rim", "edge"),
    ("rubbish", "garbage"),
    ("seldom", "rarely"),
    ("spoil", "invalidate"),
    ("spoils", "invalidates"),
    ("take no part", "are ignored"),
    ("takes no part", "is ignored"),
    ("tells", "says, reports or returns"),
    ("this very", "this"),
    ("told", "reported, logged or returned"),
    ("twice over", "twice"),
    ("under way", "in progress or in flight"),
    ("unwell", "failing"),
    ("wanting", "required"),
    ("wants", "needs or requires"),
    ("went on", "continued"),
    ("wishes", "parameters"),
];
/// Names and texts of others that use such a word.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Entra's error texts.
    ("devkit/src/provider/token.rs", "redeemed"),
    ("devkit/src/provider/token.rs", "redemption"),
    // The name of a recorded response.
    ("tests/vectors/functions-host.json", "nonsense"),
    // A type of rustls.
    ("src/net.rs", "wants"),
];
/// This list itself, which is not checked.
const LIST: &str = "tests/integration/tidy/wording.rs";
/// File types with text that people read. Lockfiles are not among them.
const ENDINGS: &[&str] = &[
    ".rs",
    ".md",
    ".toml",
    ".js",
    ".mjs",
    ".html",
    ".css",
    ".svg",
    ".py",
    ".go",
    ".sh",
    ".bicep",
    ".bicepparam",
    ".yml",
    ".yaml",
    ".sample",
    "apis.json",
    "host.json",
    "function.json",
    "schema.json",
    "apis.schema.json",
    "events.schema.json",
    ".ci/run",
];

/// The words of a text in lower case with their line numbers. An empty word marks the end of a clause, so that a phrase
/// is never found across one. Identifiers are split: `snake_case` and `CamelCase` are two words each.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        let mut word = String::new();
        let mut after_lower = false;
        for one in line.chars().chain([' ']) {
            if !one.is_alphabetic() || after_lower && one.is_uppercase() {
                if !word.is_empty() {
                    found.push((number, std::mem::take(&mut word)));
                }
                if matches!(one, '.' | ',' | ';' | ':' | '(' | ')' | '"' | '`' | '|') {
                    found.push((number, String::new()));
                }
            }
            if one.is_alphabetic() {
                word.extend(one.to_lowercase());
            }
            after_lower = one.is_lowercase();
        }
    }
    found
}

/// Line numbers of a word or phrase, and what to write instead.
fn findings(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let words = words(text);
    let mut found = vec![];
    for (phrase, better) in REPLACEMENTS {
        let phrase_words: Vec<&str> = phrase.split(' ').collect();
        for window in words.windows(phrase_words.len()) {
            if window.iter().zip(&phrase_words).all(|((_, word), expected)| word == expected) {
                found.push((window[0].0, *phrase, *better));
            }
        }
    }
    found.sort_unstable();
    found
}

/// A page without the names of tests that it cites: those are checked where the tests are.
fn without_test_names(page: &str) -> String {
    let is_test = |quoted: &str| quoted.matches('_').count() > 1 && !quoted.contains(' ');
    let parts = page.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 && is_test(part) { "" } else { part }).collect::<Vec<_>>().join("`")
}

#[test]
fn words_are_found_in_prose_and_in_names() {
    let lines = |text: &str| findings(text).into_iter().map(|(line, phrase, _)| (line, phrase)).collect::<Vec<_>>();
    assert_eq!(lines("read anew\nfn is_told() {}\nstruct GoesOn;"), [(1, "anew"), (2, "told"), (3, "goes on")]);
    assert_eq!(lines("// what it goes\n// on with"), [(1, "goes on")]);
    assert_eq!(lines("where it goes. On the way, untold renewals of newspapers"), []);
}

#[test]
fn texts_use_standard_terms() {
    let mut all = vec![];
    for path in tracked() {
        if path == LIST || !ENDINGS.iter().any(|end| path.ends_with(end)) {
            continue;
        }
        let text = if path.ends_with(".md") { without_test_names(&read(&path)) } else { read(&path) };
        for (line, phrase, better) in findings(&text) {
            if !EXCEPTIONS.contains(&(path.as_str(), phrase)) {
                all.push(format!("{path}:{line}: {phrase:?}: write {better}"));
            }
        }
    }
    assert_none(&all);
}
