use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::origin::Origin;
use crate::secret::ExposeSecret;

const NOW: u64 = 1_790_000_000;
const ISSUER: &str = "https://login.example/realm";

fn transaction(seed: u64) -> Transaction {
    let return_to = ReturnTo::parse("/inbox?a=b", &Origin::parse("https://app.example.org").unwrap(), &[]).unwrap();
    Transaction::new(&return_to, ISSUER, NOW * SECOND + 70_000, &mut StdRng::seed_from_u64(seed))
}

fn cookie(transaction: &Transaction) -> String {
    format!("__Host-Http-cloakroom-login-{}", transaction.state.id())
}

#[test]
fn every_sign_in_has_its_own_random_values() {
    let (one, same, other) = (transaction(1), transaction(1), transaction(2));
    assert_eq!(one.state.0, same.state.0, "all randomness comes from the generator");
    let values = |of: &Transaction| {
        let (id, secret) = of.state.0.split_at(ID);
        [id.to_owned(), secret.to_owned(), of.nonce(), URL_SAFE_NO_PAD.encode(*of.verifier)]
    };
    let mut all: Vec<String> = values(&one).into_iter().chain(values(&other)).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn a_payload_decodes_to_the_same_transaction() {
    let one = Transaction {
        api: Some("graph".to_owned()),
        replaces: Some([7; 16]),
        only_sub: Some("ada".to_owned()),
        required_acr: AcrValues::parse("c1 c2"),
        max_age: MaxAge::new(300),
        persist: Persist::Yes,
        ..transaction(1)
    };
    let (payload, cookie) = (one.encode(), cookie(&one));
    let decode = |payload: &[u8]| Transaction::decode(payload, &cookie, NOW);
    let decoded = decode(&payload).unwrap();
    assert_eq!(decoded.encode(), payload);
    assert_eq!((decoded.state.as_str(), decoded.begun), (one.state.as_str(), one.begun));
    assert_eq!(decoded.return_to, "/inbox?a=b");
    assert_eq!((decoded.required_acr, decoded.max_age), (AcrValues::parse("c1 c2"), MaxAge::new(300)));
    assert!(decode(&[&[VERSION + 1], &payload[1..]].concat()).is_none(), "another version is invalid");
    assert!(decode(&payload[..payload.len() - 1]).is_none());
    assert!(decode(&[]).is_none());
}

/// Known answer (contract 5.8): what the release before this version wrote, byte by byte.
#[test]
fn a_transaction_of_version_2_is_read_and_counts_as_the_configured_issuers() {
    let (state, nonce) = (format!("{}{}A", "i".repeat(11), "s".repeat(21)), "bm5ubm5ubm5ubm5ubm5ubg");
    let verifier = "A".repeat(43);
    let mut payload = vec![2, 33];
    payload.extend(state.as_bytes());
    payload.push(22);
    payload.extend(nonce.as_bytes());
    payload.push(43);
    payload.extend(verifier.as_bytes());
    payload.extend(b"\x06/inbox\x01\x05graph\x01");
    payload.extend([7; 16]);
    payload.extend(b"\x01\x03ada\xf0\xa2\x04");
    let read = Transaction::decode(&payload, "", NOW).unwrap();
    assert_eq!(read.state.as_str(), state);
    assert_eq!((read.nonce().as_str(), read.verifier().expose_secret()), (nonce, verifier.as_str()));
    assert_eq!((read.return_to.as_str(), read.api.as_deref()), ("/inbox", Some("graph")));
    assert_eq!((read.replaces, read.only_sub.as_deref(), read.begun), (Some([7; 16]), Some("ada"), 70_000));
    assert!(read.is_for(ISSUER) && read.is_for("https://other.example"));
}

/// The sign-in of the known answers, and its payload up to the issuer.
fn known_answer() -> (Transaction, Vec<u8>) {
    let one = Transaction {
        state: State::new("iiiiiiiiiii", [1; 16]),
        nonce: [2; 16],
        verifier: Zeroizing::new([3; 32]),
        api: Some("graph".to_owned()),
        issuer: Some([4; 8]),
        ..transaction(1)
    };
    let mut payload = Vec::new();
    payload.extend([1; 16]);
    payload.extend([2; 16]);
    payload.extend([3; 32]);
    payload.extend(b"\x0a/inbox?a=b\x01\x05graph\0\0\xf0\xa2\x04");
    (one, payload)
}

/// Known answer (contract 5.8): what the version before wrote. Its sign-ins asked for no session that lasts.
#[test]
fn a_transaction_of_version_3_is_read() {
    let (one, known) = known_answer();
    for (issuer, form) in [(Some([4; 8]), [&[1][..], &[4; 8]].concat()), (None, vec![0])] {
        let payload = [&[3], &known[..], &form, &[0, 0]].concat();
        let read = Transaction::decode(&payload, &cookie(&one), NOW).unwrap();
        assert_eq!((read.persist, read.issuer, read.max_age), (Persist::No, issuer, None));
        assert_eq!(Transaction { issuer: one.issuer, ..read }.encode(), one.encode());
    }
}

/// Known answer (contract 5.8): what other instances of this release write and read.
#[test]
fn the_binary_form_of_version_4_stays_as_it_is() {
    let (one, known) = known_answer();
    let user = [&[2][..], &[9; 12]].concat();
    for (persist, end) in [(Persist::No, &[0][..]), (Persist::Yes, &[1]), (Persist::IfUser([9; 12]), &user)] {
        let one = Transaction { persist, ..one.clone() };
        let payload = [&[4], &known[..], &[4; 8], &[0, 0], end].concat();
        assert_eq!(one.encode().as_slice(), payload);
        let decode = |payload: &[u8]| Transaction::decode(payload, &cookie(&one), NOW);
        assert_eq!(decode(&payload).unwrap().persist, persist);
        assert!(decode(&payload[..payload.len() - end.len()]).is_none());
    }
}

/// A buffer that grows leaves copies of the verifier in freed memory.
#[test]
fn the_binary_form_is_allocated_once() {
    for length in [1, 20, 200, 1_024] {
        let payload = Transaction { return_to: "/".repeat(length), ..transaction(1) }.encode();
        assert_eq!(payload.capacity(), payload.len());
    }
}

#[test]
fn a_transaction_belongs_to_the_issuer_where_it_began() {
    let one = transaction(1);
    let decoded = Transaction::decode(&one.encode(), &cookie(&one), NOW).unwrap();
    assert!(decoded.is_for(ISSUER));
    assert!(!decoded.is_for("https://login.example/other"));
}

/// Contract 4.8: ten of them fit 5,000 bytes.
#[test]
fn a_transaction_with_a_return_path_of_200_bytes_takes_at_most_500_bytes_of_a_cookie_header() {
    let (return_to, api) = ("/".repeat(200), Some("graph".to_owned()));
    let one = Transaction { return_to, api, persist: Persist::Yes, ..transaction(1) };
    let sealed = crate::session::seal::sealed_len(one.encode().len());
    assert!(cookie(&one).len() + 3 + sealed <= 500, "{}", cookie(&one).len() + 3 + sealed);
}

#[test]
fn a_state_has_a_fixed_form_and_begins_with_the_id() {
    let state = transaction(1).state;
    assert_eq!(state.0.len(), STATE);
    assert_eq!(state.id().len(), ID);
    assert!(state.0.starts_with(state.id()));
    assert!(State::parse(&state.0).is_some());
    for bad in ["", "short", &"a,".repeat(20), &"é".repeat(20), &"a".repeat(STATE - 1), &"a".repeat(STATE + 1)] {
        assert!(State::parse(bad).is_none(), "{bad}");
    }
}
