use super::*;

fn count(measured: f64) -> Count {
    Count { what: "system calls", measured, bar: 4.3 }
}

#[test]
fn a_bar_is_exceeded_by_more_only() {
    let folder = Path::new("target/counts");
    assert_eq!([4.2, 4.3].map(|measured| count(measured).exceeded(folder)), [None, None]);
    let text = count(4.301).exceeded(folder).unwrap();
    assert!(text.starts_with("A proxied call costs 4.301 system calls, and the bar is 4.300. "), "{text}");
    for part in ["target/counts/callgrind.out.1", "target/counts/strace-many-1.txt", "bench/counts.rs"] {
        assert!(text.contains(part), "{text}");
    }
    // What was not measured exceeds every bar.
    assert!(count(f64::NAN).exceeded(folder).is_some());
}
