use proptest::prelude::*;

use super::*;
use crate::secret::Key32;
use crate::session::payload::{Claims, User};

const ISSUER: &str = "https://login.example";

fn session(oid: Option<&str>, sid: Option<&str>) -> Session {
    let (oid, provider_sid) = (oid.map(str::to_owned), sid.map(str::to_owned));
    let claims = Claims { provider_sid, ..Claims::default() }.into();
    let user = User { sub: "ada".to_owned(), oid, claims, ..User::default() };
    let handle = Some(Key32::new([8; 32]));
    Session { issuer: Some(ISSUER.to_owned()), handle, ..Session::new([5; 16], user, 1_000) }
}

fn metadata(user_agent: &[u8], indexes: Vec<Index>) -> Metadata {
    Metadata { signed_in_at: 1_000, active_at: 2_000, user_agent: UserAgent::parse(user_agent), indexes }
}

/// Known answers: other instances and releases use these names (contract 15.3, 15.4).
#[test]
fn keys_are_named_by_hashes_in_hash_tags() {
    let names = Names::new("cloakroom");
    let hash = session(None, None).hash();
    let of = names.session(&hash);
    let h = "JXjM-GRbLR3BDEZe_4Q1hZcPOn4iKWqSytVdSJonIHI";
    assert_eq!((of.member.as_str(), of.metadata.as_str()), (h, format!("{h}/m").as_str()));
    assert_eq!(of.record, format!("cloakroom:s:{{{h}}}"));
    assert_eq!(of.lock(), format!("cloakroom:l:{{{h}}}"));
    assert_eq!(of.mark(), format!("cloakroom:mv:{{{h}}}"));
    let indexes = Index::of(&session(Some("o"), Some("s")));
    let x = |value: &str| {
        let joined = [ISSUER.as_bytes(), b"\0", value.as_bytes()].concat();
        URL_SAFE_NO_PAD.encode(Sha256::digest(joined))
    };
    let expected = [("oid", "o"), ("sid", "s"), ("sub", "ada")];
    let expected = expected.map(|(kind, value)| format!("cloakroom:{kind}:{{{}}}", x(value)));
    assert_eq!(indexes.iter().map(|index| names.index(index)).collect::<Vec<_>>(), expected);
    let token = LogoutTokenId { issuer: ISSUER.to_owned(), jti: "j".to_owned() };
    assert_eq!(names.logout_token(&token), format!("cloakroom:jti:{{{}}}", x("j")));
    assert_eq!(x("ada"), "378nUAg0ryEWEGmrQ72CbKgcK70xSu7dCnJFa9bqAGI");
}

#[test]
fn a_session_is_in_the_index_that_it_is_looked_for() {
    let issuer = || ISSUER.to_owned();
    let indexes = Index::of(&session(Some("o"), Some("s")));
    for whose in [
        Whose::ObjectId { issuer: issuer(), oid: "o".to_owned() },
        Whose::ProviderSession { issuer: issuer(), sid: "s".to_owned() },
        Whose::Subject { issuer: issuer(), sub: "ada".to_owned() },
    ] {
        assert!(indexes.contains(&Index::of_whose(&whose).unwrap()), "{whose:?}");
    }
    let other = Whose::Subject { issuer: "https://other.example".to_owned(), sub: "ada".to_owned() };
    assert!(!indexes.contains(&Index::of_whose(&other).unwrap()));
    assert_eq!(Index::of_whose(&Whose::Everyone), None);
    assert_eq!(Index::of(&session(None, None)).len(), 1);
    assert_eq!(Index::of(&Session { issuer: None, ..session(Some("o"), Some("s")) }), []);
}

#[test]
fn the_hash_of_a_record_is_in_its_name() {
    let names = Names::new("a:b");
    let hash = session(None, None).hash();
    let record = names.session(&hash).record;
    assert_eq!(names.of_record(record.as_bytes()), Some(hash));
    assert_eq!(names.all_records(), "a:b:s:{*}");
    let member = names.session(&hash).member;
    let others = [format!("a:s:{{{member}}}"), format!("a:b:l:{{{member}}}"), "a:b:s:{}".to_owned(), String::new()];
    for other in others.iter().chain([&record[..record.len() - 1].to_owned(), &record.replace("{J", "{")]) {
        assert_eq!(names.of_record(other.as_bytes()), None, "{other}");
    }
}

/// Known answer (contract 5.8): the bytes of version 1, which must stay readable.
#[test]
fn metadata_has_a_known_binary_form() {
    let known = metadata(b"Browser/1", vec![Index { kind: IndexKind::Subject, hash: [7; 32] }]);
    let expected = [&[1, 0xE8, 0x07, 0xD0, 0x0F, 9][..], b"Browser/1", &[0, 0, 1], &[7; 32]].concat();
    assert_eq!(known.encode().as_slice(), expected);
    assert_eq!(Metadata::decode(&expected), Some(known));
}

#[test]
fn damaged_metadata_is_none() {
    let good = metadata(b"Browser/1", Index::of(&session(Some("o"), Some("s")))).encode();
    for length in 0..good.len() {
        assert_eq!(Metadata::decode(&good[..length]), None, "{length}");
    }
    assert_eq!(Metadata::decode(&[good.as_slice(), &[0]].concat()), None);
    assert_eq!(Metadata::decode(&[&[2], &good[1..]].concat()), None, "another version");
}

proptest! {
    #[test]
    fn any_metadata_is_read_as_it_was_written(
        signed_in_at: u64,
        active_at: u64,
        user_agent: Vec<u8>,
        oid: Option<String>,
        sid: Option<String>,
    ) {
        let indexes = Index::of(&session(oid.as_deref(), sid.as_deref()));
        let metadata = Metadata { signed_in_at, active_at, ..metadata(&user_agent, indexes) };
        prop_assert_eq!(Metadata::decode(&metadata.encode()), Some(metadata));
    }

    /// What the store holds may come from anywhere.
    #[test]
    fn no_bytes_are_a_panic(bytes: Vec<u8>) {
        let _: Option<Metadata> = Metadata::decode(&[&[VERSION], bytes.as_slice()].concat());
        let _: Option<SessionHash> = parse_member(&bytes);
        let _: Option<SessionHash> = Names::new("p").of_record(&[b"p:s:{", bytes.as_slice(), b"}"].concat());
    }

    /// Contract 15.3: a script touches one slot only.
    #[test]
    fn all_keys_of_a_session_have_its_hash_as_their_only_tag(hash: [u8; 32], prefix in "[A-Za-z0-9:._-]{1,32}") {
        let all = Names::new(&prefix);
        let names = all.session(&hash);
        for key in [&names.record, &names.lock(), &names.mark()] {
            let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            prop_assert_eq!(tag, Some((names.member.as_str(), "")));
        }
    }
}
