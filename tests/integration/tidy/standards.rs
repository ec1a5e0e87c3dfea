//! The table of the standards (`docs/standards.md`): every requirement has a row, and each row a test or a reason.

use std::collections::BTreeSet;

use super::{assert_none, files, quoted, read};

/// The ids of all requirements, one per line, in the order of the table.
const IDS: &str = "tests/vectors/requirements.txt";
const PAGE: &str = "docs/standards.md";
/// How a row begins that has a reason instead of a test.
const REASON: &str = "does not apply: ";

/// The names of the functions that are tests, by their attribute.
fn tests(code: &str) -> BTreeSet<String> {
    let is_test = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in code.lines().map(str::trim_start) {
        if is_test(line) {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            found.insert(rest.chars().take_while(|one| one.is_alphanumeric() || *one == '_').collect());
            marked = false;
        }
    }
    found
}

/// The columns of the rows that have an id.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    rows.filter(|columns| columns[0].starts_with(|one: char| one.is_ascii_uppercase()))
}

/// What is wrong with the table.
fn findings(page: &str, ids: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let have: Vec<&str> = rows(page).map(|columns| columns[0]).collect();
    let all: Vec<&str> = ids.lines().collect();
    found.extend(all.iter().filter(|id| !have.contains(id)).map(|id| format!("add a row for {id}")));
    found.extend(have.iter().filter(|id| !all.contains(id)).map(|id| format!("add {id} to {IDS}, or remove its row")));
    if found.is_empty() && have != all {
        found.push(format!("order the rows as in {IDS}, each id once"));
    }
    for columns in rows(page) {
        let (id, proof) = (columns[0], columns[columns.len() - 1]);
        let is_reason = proof.strip_prefix(REASON).is_some_and(|reason| !reason.is_empty());
        let cited: Vec<&str> = if is_reason { Vec::new() } else { quoted(proof).collect() };
        if !is_reason && cited.is_empty() {
            found.push(format!("{id}: cite the test that proves it, or write \"{REASON}\" and the reason"));
        }
        let missing = cited.into_iter().filter(|name| !tests.contains(*name));
        found.extend(missing.map(|name| format!("{id}: there is no test {name}; cite the one that proves this now")));
    }
    found
}

#[test]
fn faults_of_the_table_of_standards_are_found() {
    const IDS: &str = "A1-1\nA1-2\nA1-3";
    let tests = tests(
        "#[test]\nfn holds() {}\n#[tokio::test(flavor = \"x\")]\n#[cfg(unix)]\nasync fn holds_too() {}\nfn not() {}",
    );
    let page = |rows: &[&str]| format!("| id | requirement | proof |\n|---|---|---|\n{}\n", rows.join("\n"));
    let good = ["| A1-1 | a | `holds`, `holds_too` |", "| A1-2 | b | does not apply: `x` |", "| A1-3 | c | `holds` |"];
    assert_eq!(findings(&page(&good), IDS, &tests), [""; 0]);
    for (changed, expected) in [
        (vec![good[0], good[2]], "add a row for A1-2"),
        (vec![good[0], good[1], good[2], "| B2-1 | d | `holds` |"], "add B2-1 to"),
        (vec![good[1], good[0], good[2]], "order the rows"),
        (vec![good[0], good[1], good[2], good[2]], "order the rows"),
        (vec![good[0], good[1], "| A1-3 | c | |"], "A1-3: cite"),
        (vec![good[0], good[1], "| A1-3 | c | by design |"], "A1-3: cite"),
        (vec![good[0], good[1], "| A1-3 | c | does not apply:  |"], "A1-3: cite"),
        (vec![good[0], good[1], "| A1-3 | c | `holds`, `not` |"], "A1-3: there is no test not"),
    ] {
        let found = findings(&page(&changed), IDS, &tests);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{changed:?}: {found:?}");
    }
}

#[test]
fn the_table_of_standards_is_complete() {
    let tests: BTreeSet<String> = files("", ".rs").iter().flat_map(|(_, text)| tests(text)).collect();
    let found = findings(&read(PAGE), &read(IDS), &tests);
    assert_none(&found.iter().map(|what| format!("{PAGE}: {what}")).collect::<Vec<_>>());
}
