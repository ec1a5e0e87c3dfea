use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::*;

const OID: &str = "00000000-0000-0000-0000-000000000001";
const SUB: &str = "the-subject";
const LATEST: UnixSeconds = 1_000;

fn parse(text: &str) -> Option<Revocations> {
    Revocations::parse(text, LATEST).ok()
}

#[test]
fn a_session_that_began_at_or_before_a_time_has_ended() {
    let list = parse(r#"{"all": 100, "users": {"the-subject": 200, "other": 900}}"#).unwrap();
    let is_revoked = |at, oid, sub| list.is_revoked(at, oid, sub);
    assert!(is_revoked(100, None, "x") && !is_revoked(101, None, "x"));
    assert!(is_revoked(200, None, SUB) && !is_revoked(201, None, SUB));
    assert!(is_revoked(200, Some(OID), SUB) && !is_revoked(201, Some(OID), SUB));
    let by_oid = Revocations::ending(&Target::User(OID.to_owned()), 301);
    assert!(by_oid.is_revoked(300, Some(OID), SUB) && !by_oid.is_revoked(301, Some(OID), SUB));
    assert!(!by_oid.is_revoked(300, None, SUB) && !by_oid.is_revoked(300, Some(SUB), "other"));
    let none = Revocations::default();
    assert!(!none.is_revoked(0, Some(OID), SUB));
}

/// Contract 16.6: a session that begins in the second of the command is a new one.
#[test]
fn a_new_entry_is_the_second_before() {
    for target in [Target::All, Target::User(SUB.to_owned())] {
        let list = Revocations::ending(&target, 500);
        assert!(list.is_revoked(499, None, SUB) && !list.is_revoked(500, None, SUB), "{target:?}");
    }
}

/// Contract 16.5: either member may be absent; everything else is a failure, never an empty list.
#[test]
fn what_is_not_a_list_is_malformed() {
    assert_eq!(parse("{}"), Some(Revocations::default()));
    assert_eq!(parse(r#"{"all": 7}"#).unwrap().all(), Some(7));
    assert_eq!(parse(r#"{"users": {"a": 7, "b": 8}}"#).unwrap().users(), 2);
    let rows = [
        "",
        " ",
        "null",
        "[]",
        "7",
        "\"{}\"",
        "{} {}",
        r#"{"all": null}"#,
        r#"{"users": null}"#,
        r#"{"users": []}"#,
        r#"{"users": {"a": null}}"#,
        r#"{"all": "7"}"#,
        r#"{"all": 7.5}"#,
        r#"{"all": -7}"#,
        r#"{"all": 7, "all": 8}"#,
        r#"{"users": {"a": 8, "a": 7}}"#,
        r#"{"user": {"a": 7}}"#,
        r#"{"all": 18446744073709551616}"#,
    ];
    for text in rows {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn a_time_in_the_future_is_malformed() {
    assert!(parse(r#"{"all": 1000, "users": {"a": 1000}}"#).is_some());
    assert!(parse(r#"{"all": 1001}"#).is_none());
    assert!(parse(r#"{"users": {"a": 1001}}"#).is_none());
}

#[test]
fn the_problem_has_the_position_and_nothing_of_the_list() {
    let SourceUnavailable(problem) = Revocations::parse(r#"{"users": {"ada": "x"}}"#, LATEST).unwrap_err();
    assert!(problem.contains("line 1 column") && !problem.contains("ada"), "{problem}");
}

#[test]
fn a_list_over_20_kb_is_refused_with_advice() {
    let list = |users: usize| {
        let users = (0..users).map(|number| (format!("{number:036}"), 1_790_000_000)).collect();
        Revocations { all: None, users }
    };
    let largest = to_json(&list(399)).unwrap().len();
    assert!((19_950..=LARGEST).contains(&largest), "{largest}");
    let SourceUnavailable(problem) = to_json(&list(400)).unwrap_err();
    assert!(problem.contains("sessions end --all"), "{problem}");
}

#[test]
fn an_addition_drops_what_does_not_matter_any_more() {
    let addition = |target: &Target| Addition::new(target, 900, 300, 50);
    let stored = r#"{"all": 610, "users": {"old": 599, "kept": 700, "in-all": 610, "just-kept": 611}}"#;
    let list = addition(&Target::User(SUB.to_owned())).to(Some(stored)).unwrap();
    assert_eq!(to_json(&list).unwrap(), r#"{"all":610,"users":{"just-kept":611,"kept":700,"the-subject":899}}"#);
    let all = addition(&Target::All).to(Some(stored)).unwrap();
    assert_eq!(to_json(&all).unwrap(), r#"{"all":899}"#);
    let expired = r#"{"all": 598, "users": {"old": 599, "kept": 600}}"#;
    let list = addition(&Target::User(SUB.to_owned())).to(Some(expired)).unwrap();
    assert_eq!(to_json(&list).unwrap(), r#"{"users":{"kept":600,"the-subject":899}}"#);
    assert_eq!(to_json(&addition(&Target::All).to(None).unwrap()).unwrap(), r#"{"all":899}"#);
    assert!(addition(&Target::All).to(Some("{")).is_err(), "malformed is never empty");
    assert!(addition(&Target::All).to(Some(r#"{"all": 951}"#)).is_err(), "nor is the future");
}

fn list() -> impl Strategy<Value = Revocations> {
    let users = btree_map("[a-d]", 0..LATEST, 0..5);
    (option::of(0..LATEST), users).prop_map(|(all, users)| Revocations { all, users })
}

fn user() -> impl Strategy<Value = (UnixSeconds, Option<String>, String)> {
    (0..LATEST + 10, option::of("[a-e]"), "[a-e]")
}

proptest! {
    #[test]
    fn what_is_written_is_read(list in list()) {
        prop_assert_eq!(parse(&to_json(&list).unwrap()), Some(list));
    }

    /// Whatever the order in which writers merge, the result is the same, and ends what either list ends.
    #[test]
    fn merging_is_the_union(a in list(), b in list(), c in list(), (at, oid, sub) in user()) {
        let merge = |one: &Revocations, other: &Revocations| one.clone().merge(other.clone());
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        prop_assert!(merge(&a, &a) == a);
        let is_revoked = |list: &Revocations| list.is_revoked(at, oid.as_deref(), &sub);
        prop_assert_eq!(is_revoked(&merge(&a, &b)), is_revoked(&a) || is_revoked(&b));
    }

    /// Pruning revives no session that can still be alive.
    #[test]
    fn pruning_changes_nothing_for_living_sessions(list in list(), keep_from in 0..LATEST, (at, oid, sub) in user()) {
        prop_assume!(at >= keep_from);
        let is_revoked = |list: &Revocations| list.is_revoked(at, oid.as_deref(), &sub);
        prop_assert_eq!(is_revoked(&list.clone().prune(keep_from)), is_revoked(&list));
    }

    #[test]
    fn parsing_never_panics(text in ".{0,60}") {
        let _ = parse(&text);
    }
}
