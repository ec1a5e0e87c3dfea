use super::*;

/// Rows of a table by strace 6.1.
const FEW: &str = "    calls syscall
--------- ------------------
        9 futex
      409 writev
      307 statx
      420 recvfrom
       53 epoll_wait
       24 accept4
--------- ------------------
     1222 total
";
const MANY: &str = "    calls syscall
--------- ------------------
     6409 writev
        8 futex
     6427 recvfrom
      561 epoll_wait
      307 statx
       24 accept4
        3 sched_yield
--------- ------------------
    13739 total
";

#[test]
fn the_calls_of_a_start_are_subtracted() {
    let table = per_call(&parse(FEW).unwrap(), &parse(MANY).unwrap());
    let expected = [("epoll_wait", 508.0), ("recvfrom", 6_007.0), ("sched_yield", 3.0), ("writev", 6_000.0)];
    assert_eq!(table, expected.map(|(name, calls)| (name.to_owned(), calls / f64::from(CALLS))).into());
}

#[test]
fn tables_that_are_cut_off_or_unknown_are_errors() {
    for (what, with) in [
        ("calls syscall", "calls errors syscall"),
        ("      409 writev\n", ""),
        ("409 writev", "410 writev"),
        ("409 writev", "writev"),
        ("409 writev", "409 writev 1"),
        ("     1222 total\n", ""),
    ] {
        let text = FEW.replacen(what, with, 1);
        assert_ne!(text, FEW);
        assert!(parse(&text).is_err(), "{what} as {with:?}");
    }
    assert!(parse("").is_err());
}
