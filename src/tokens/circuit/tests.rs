use proptest::prelude::*;

use super::*;
use Availability::{Down, RateLimited, Unknown, Up};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A circuit that three failures in a row have opened.
fn opened(now: Instant) -> Circuit {
    let mut circuit = Circuit::default();
    let changes = [(); 3].map(|()| send(&mut circuit, Down, now));
    assert_eq!(changes, [None, None, Some(Change::Opened(s(2)))]);
    circuit
}

fn send(circuit: &mut Circuit, result: Availability, now: Instant) -> Option<Change> {
    let refresh = circuit.admit(now).unwrap();
    circuit.record(refresh, result, now)
}

/// Contract 22.2.
#[test]
fn three_failures_in_a_row_open_it_and_its_pauses_double_up_to_15_s() {
    let mut now = Instant::now();
    let mut circuit = opened(now);
    assert_eq!(circuit.admit(now), Err(s(2)));
    assert_eq!(circuit.admit(now + s(1)), Err(s(1)));
    for pause in [2, 4, 8, 15, 15] {
        assert_eq!(circuit.admit(now + s(pause) - Duration::from_nanos(1)), Err(Duration::from_nanos(1)));
        now += s(pause);
        assert_eq!(send(&mut circuit, Down, now), None, "{pause}: it is open already");
    }
    now += s(15);
    assert_eq!(send(&mut circuit, Up, now), Some(Change::Closed));
    assert_eq!((send(&mut circuit, Down, now), send(&mut circuit, Down, now)), (None, None), "counted again");
    assert_eq!(send(&mut circuit, Down, now), Some(Change::Opened(s(2))), "and its pauses too");
}

/// Contract 22.2.
#[test]
fn a_response_between_failures_keeps_it_closed() {
    let (mut circuit, now) = (Circuit::default(), Instant::now());
    for result in [Down, Down, Up, Down, Unknown, Down, Up] {
        assert_eq!(send(&mut circuit, result, now), None);
    }
    assert_eq!(circuit.pause_left(now), None);
}

/// Contract 22.2.
#[test]
fn one_refresh_probes_at_a_time() {
    let now = Instant::now();
    let mut circuit = opened(now);
    let later = now + s(2);
    let probe = circuit.admit(later).unwrap();
    assert_eq!(circuit.admit(later), Err(Duration::ZERO));
    assert_eq!(circuit.pause_left(later + s(60)), Some(Duration::ZERO));
    // A probe that was never sent leaves its turn to the next.
    assert_eq!(circuit.record(probe, Unknown, later), None);
    let probe = circuit.admit(later).unwrap();
    assert_eq!(circuit.record(probe, Up, later), Some(Change::Closed));
    assert!(circuit.admit(later).is_ok() && circuit.admit(later).is_ok());
}

/// Contract 22.2.
#[test]
fn a_429_opens_it_for_its_retry_after() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    assert_eq!(send(&mut circuit, RateLimited(s(30)), now), Some(Change::Opened(s(30))));
    assert_eq!(circuit.admit(now + s(29)), Err(s(1)));
    let now = now + s(30);
    assert_eq!(send(&mut circuit, RateLimited(s(5)), now), None);
    assert_eq!(circuit.admit(now + s(4)), Err(s(1)));
    let now = now + s(5);
    assert_eq!(send(&mut circuit, Down, now), None, "a probe that fails");
    assert_eq!(circuit.admit(now), Err(s(2)));
    let mut circuit = opened(now);
    let probe = circuit.admit(now + s(2)).unwrap();
    assert_eq!(circuit.record(probe, RateLimited(s(9)), now + s(2)), None);
    assert_eq!(circuit.admit(now + s(2)), Err(s(9)));
}

/// Sixteen refreshes that are sent at once all end in a timeout: that is one failure of the provider, not many probes.
#[test]
fn refreshes_that_were_sent_before_it_opened_prolong_nothing() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    let sent: Vec<Admitted> = (0..16).map(|_| circuit.admit(now).unwrap()).collect();
    let changes: Vec<_> = sent.iter().filter_map(|refresh| circuit.record(*refresh, Down, now + s(10))).collect();
    assert_eq!(changes, [Change::Opened(s(2))]);
    assert_eq!(circuit.pause_left(now + s(10)), Some(s(2)));
    // Nor do late ones open it again.
    let late = circuit.admit(now + s(12)).unwrap();
    assert_eq!(circuit.close(), Some(Change::Closed), "a sign-in succeeded");
    for refresh in [late].into_iter().chain(sent) {
        assert_eq!(circuit.record(refresh, Down, now + s(13)), None);
    }
    assert!(circuit.admit(now + s(13)).is_ok());
}

/// A probe that ends late must not end another one's turn.
#[test]
fn a_late_probe_does_not_end_the_turn_of_another() {
    let now = Instant::now();
    let mut circuit = opened(now);
    let first = circuit.admit(now + s(2)).unwrap();
    circuit.close();
    for _ in 0..3 {
        send(&mut circuit, Down, now + s(3));
    }
    let second = circuit.admit(now + s(5)).unwrap();
    assert_eq!(circuit.record(first, Down, now + s(5)), None);
    assert_eq!(circuit.admit(now + s(5)), Err(Duration::ZERO), "the second one still runs");
    assert_eq!(circuit.record(second, Up, now + s(5)), Some(Change::Closed));
}

/// A step of an arbitrary history.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Admit,
    /// One of the refreshes in flight ends.
    End(usize, Availability),
    SignIn,
}

fn step() -> impl Strategy<Value = Step> {
    let result = prop_oneof![
        4 => Just(Down),
        1 => Just(Up),
        1 => Just(Unknown),
        1 => (0_u64..=30).prop_map(|seconds| RateLimited(s(seconds))),
    ];
    prop_oneof![
        3 => (0_u64..20_000).prop_map(Step::Wait),
        6 => Just(Step::Admit),
        6 => (any::<usize>(), result).prop_map(|(number, result)| Step::End(number, result)),
        1 => Just(Step::SignIn),
    ]
}

proptest! {
    /// However requests overlap: it never rejects for longer than 30 s, admits one probe at a time while it is open,
    /// and closes as soon as the provider responds.
    #[test]
    fn it_always_closes_again(steps in proptest::collection::vec(step(), 0..200)) {
        let (mut circuit, mut now) = (Circuit::default(), Instant::now());
        let mut in_flight: Vec<Admitted> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Admit => {
                    let was_open = matches!(circuit.state, State::Open { .. });
                    match circuit.admit(now) {
                        Ok(refresh) => {
                            in_flight.push(refresh);
                            prop_assert!(!was_open || circuit.admit(now).is_err(), "one probe at a time");
                        }
                        Err(left) => prop_assert!(was_open && left <= s(30), "{left:?}"),
                    }
                }
                Step::End(number, result) if !in_flight.is_empty() => {
                    let refresh = in_flight.swap_remove(number % in_flight.len());
                    circuit.record(refresh, result, now);
                    prop_assert!(result != Up || circuit.pause_left(now).is_none());
                }
                Step::End(..) => {}
                Step::SignIn => {
                    circuit.close();
                    prop_assert_eq!(circuit.pause_left(now), None);
                }
            }
        }
        for refresh in in_flight {
            circuit.record(refresh, Unknown, now);
        }
        let probe = circuit.admit(now + s(30));
        prop_assert!(probe.is_ok(), "no probe is lost");
        circuit.record(probe.unwrap(), Up, now + s(30));
        prop_assert_eq!(circuit.pause_left(now), None);
    }
}
