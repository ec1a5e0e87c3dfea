use super::*;
use crate::session::payload::{Session, User};

fn settings() -> Settings {
    Settings {
        name: "__Host-Http-cloakroom".to_owned(),
        domain: None,
        same_site: SameSite::Strict,
        login_same_site: SameSite::Lax,
        budget: 7_000,
        persistence: Persistence::Off,
    }
}

fn cookies() -> SessionCookies {
    SessionCookies::new(settings())
}

fn headers(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
}

fn session(line: &str) -> Presented<'static> {
    match cookies().session(&headers(&[line])) {
        Presented::Sealed(sealed) => Presented::Sealed(sealed.into_owned().into()),
        Presented::Missing => Presented::Missing,
        Presented::Invalid => Presented::Invalid,
    }
}

const NAME: &str = "__Host-Http-cloakroom";

#[test]
fn only_the_exact_name_counts() {
    assert_eq!(session(&format!("x{NAME}=1; a={NAME}; {NAME}=good; {NAME}x=2")), Presented::Sealed(b"good".into()));
    assert_eq!(session(&format!("{NAME}-4=1; {NAME}-login-abc=2")), Presented::Missing);
    assert_eq!(session(""), Presented::Missing);
}

#[test]
fn several_cookies_of_one_name_are_rejected_unless_equal() {
    assert_eq!(session(&format!("{NAME}=a; {NAME}=b")), Presented::Invalid);
    assert_eq!(session(&format!("{NAME}=a; {NAME}=a")), Presented::Sealed(b"a".into()));
    let two_lines = headers(&[&format!("{NAME}=a"), &format!("{NAME}=b")]);
    assert_eq!(cookies().session(&two_lines), Presented::Invalid);
}

#[test]
fn malformed_bytes_invalidate_only_their_own_pair() {
    let malformed = HeaderValue::from_bytes(b"x=\xff\xfe; =; ;;; y; __Host-Http-cloakroom=good").unwrap();
    let headers: HeaderMap = [(COOKIE, malformed)].into_iter().collect();
    assert_eq!(cookies().session(&headers), Presented::Sealed(b"good".into()));
}

#[test]
fn a_comma_starts_no_pair() {
    assert_eq!(session(&format!("x=a, {NAME}=planted")), Presented::Missing);
}

#[test]
fn missing_extra_and_mixed_parts_are_invalid() {
    let sealed = |line: &str| session(&line.replace('N', NAME));
    assert_eq!(sealed("N=2.a; N-1=b"), Presented::Sealed(b"ab".into()));
    assert_eq!(sealed("N-1=b; N=2.a"), Presented::Sealed(b"ab".into()));
    for bad in ["N=2.a", "N=a; N-1=b", "N-1=b", "N=3.a; N-1=b", "N=2.a; N-2=b", "N=2.a; N-1=b; N-2=c"] {
        assert_eq!(sealed(bad), Presented::Invalid, "{bad}");
    }
    assert_eq!(sealed("N=5.a; N-1=b"), Presented::Invalid);
}

/// The `Cookie` header of a browser that got these lines.
fn browser(lines: &[HeaderValue]) -> String {
    let pair = |line: &HeaderValue| line.to_str().unwrap().split(';').next().unwrap().to_owned();
    let kept = lines.iter().filter(|line| !line.to_str().unwrap().contains("Max-Age=0"));
    kept.map(pair).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_session_of_any_length_is_read_as_written_and_every_line_is_short() {
    let cookies = SessionCookies::new(Settings { budget: 20_000, ..settings() });
    for length in [1, 3_799, 3_800, 3_801, 7_599, 7_600, 7_601, 11_400, 11_401, 15_200] {
        let value = "x".repeat(length);
        let lines = cookies.write_session(&value, &companion(), Life::Browser).unwrap();
        assert_eq!(lines.len(), 5, "every write sets or deletes all four, and sets the companion");
        assert!(lines.iter().all(|line| line.len() < 4_096), "{length}");
        assert_eq!(session(&browser(&lines)), Presented::Sealed(value.into_bytes().into()), "{length}");
    }
    assert_eq!(cookies.write_session(&"x".repeat(15_201), &companion(), Life::Browser), Err(TooLarge));
}

#[test]
fn the_budget_counts_names_and_separators() {
    let overhead = NAME.len() + 3 + 2 + NAME.len() + 2 + 3;
    let write = |length| cookies().write_session(&"x".repeat(length), &companion(), Life::Browser);
    assert!(write(7_000 - overhead).is_ok(), "the companion is not counted");
    assert_eq!(write(7_001 - overhead), Err(TooLarge));
}

#[test]
fn a_deletion_repeats_every_attribute() {
    let (name, domain) = ("__Secure-x".to_owned(), Some("example.org".to_owned()));
    let persistence = Persistence::On;
    let cookies =
        SessionCookies::new(Settings { name, domain, login_same_site: SameSite::None, persistence, ..settings() });
    let lines = cookies.delete_session();
    assert_eq!(lines.len(), 5);
    for (line, name, same_site) in [(&lines[1], "__Secure-x-1", "Strict"), (&lines[4], "__Secure-x-id", "None")] {
        let expected = format!(
            "{name}=; Path=/; Secure; HttpOnly; SameSite={same_site}; Domain=example.org; Max-Age=0; \
             Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert_eq!(line, &expected);
    }
    let written = cookies.write_session("sealed", &companion(), Life::Browser).unwrap();
    let expected =
        format!("__Secure-x-id={}; Path=/; Secure; HttpOnly; SameSite=None; Domain=example.org", companion().value());
    assert_eq!(written[4], expected);
}

fn companion() -> Companion {
    Companion::of(&Session::new([5; 16], User::default(), 0))
}

/// Contract 4.11.
#[test]
fn several_companions_say_nothing_unless_they_are_equal() {
    let value = companion().value();
    let presented = |lines: &[&str]| cookies().presented_companion(&headers(lines));
    let pair = format!("{NAME}-id={value}");
    assert_eq!(presented(&[&pair]), Some(companion()));
    assert_eq!(presented(&[&pair, &pair]), Some(companion()));
    assert_eq!(presented(&[&format!("{NAME}-id=x; {pair}")]), None);
    assert_eq!(presented(&[&format!("{NAME}-idx={value}; x{NAME}-id={value}; {NAME}={value}")]), None);
}

#[test]
fn a_login_transaction_is_found_by_its_id() {
    let cookies = cookies();
    let line = cookies.set(&cookies.login("abc"), "sealed");
    assert_eq!(line, "__Host-Http-cloakroom-login-abc=sealed; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
    let headers = headers(&[&format!("{NAME}-login-abc=sealed; {NAME}-login-def=other")]);
    assert_eq!(cookies.login_value(&headers, "abc"), Some(b"sealed".as_slice()));
    assert_eq!(cookies.login_value(&headers, "ab"), None);
    assert_eq!(cookies.logins(&headers).len(), 2);
}

#[test]
fn the_oldest_login_transactions_are_deleted_first() {
    let mut present = vec![("c", 10, Some(3)), ("a", 10, None), ("b", 10, Some(2))];
    present.extend((4..11).map(|begun| ("d", 10, Some(begun))));
    assert_eq!(surplus_logins(present.clone(), 10), ["a"]);
    assert_eq!(surplus_logins(present[..9].to_vec(), 10), [""; 0]);
    assert_eq!(surplus_logins(vec![("a", 2_500, Some(1)), ("b", 2_400, Some(2))], 500), ["a"]);
}

/// Settings, what the user asked, and the seconds that are left, one for each write.
fn writes() -> impl proptest::strategy::Strategy<Value = Vec<(Persistence, bool, u64)>> {
    let persistence = proptest::sample::select(vec![Persistence::Ask, Persistence::Off, Persistence::On]);
    proptest::collection::vec((persistence, proptest::bool::ANY, 1_u64..40_000_000), 1..20)
}

/// Contract 16.11, and 7.8 for what does not change.
#[test]
fn the_setting_decides_at_each_write_how_long_the_browser_keeps_a_session() {
    use Persistence::{Ask, Off, On};
    let life = |persistence, persist, now| {
        let session = Session { persist, ..Session::new([5; 16], User::default(), 0) };
        let cookies = SessionCookies::new(Settings { persistence, ..settings() });
        cookies.session_life(&OpenSession::new(session, 28_800), now)
    };
    for (persistence, persist) in [(Off, false), (Off, true), (Ask, false)] {
        assert_eq!(life(persistence, persist, 0), Life::Browser, "{persistence:?} {persist}");
    }
    for (persistence, persist) in [(On, false), (On, true), (Ask, true)] {
        for now in [0, 1, 100, 28_799, 28_800, 28_801] {
            let left = 28_800_u64.saturating_sub(now);
            assert_eq!(life(persistence, persist, now), Life::Seconds(left), "{persistence:?} {persist} {now}");
        }
    }
}

proptest::proptest! {
    /// Contract 4.2, 4.5, 4.14, 16.11: the attribute is counted wherever bytes are.
    #[test]
    fn every_part_of_a_lasting_session_has_the_same_age_and_fits(
        name in "[a-z]{1,64}",
        domain in proptest::option::of("[a-z]{1,60}(\\.[a-z]{1,60}){0,3}\\.example"),
        length in 1_usize..15_300,
        budget in 1_000_usize..16_000,
        seconds in 1_u64..40_000_000,
    ) {
        let cookies = SessionCookies::new(Settings { name, domain, budget, ..settings() });
        let (value, life) = ("x".repeat(length), Life::Seconds(seconds));
        let written = cookies.write_session(&value, &companion(), life);
        proptest::prop_assert_eq!(written.is_ok(), cookies.fits(length, life));
        if let Ok(lines) = written {
            let age = format!("; Max-Age={seconds}");
            for line in &lines {
                let line = line.to_str().unwrap();
                proptest::prop_assert!(line.ends_with(&age) || line.contains("; Max-Age=0; "), "{}", line);
                proptest::prop_assert!(line.len() < 4_096);
            }
            let header = browser(&lines);
            let session_alone = header.len() - "; ".len() - lines[4].to_str().unwrap().find(';').unwrap();
            proptest::prop_assert!(session_alone <= budget);
            let headers = headers(&[&header]);
            proptest::prop_assert_eq!(cookies.session(&headers), Presented::Sealed(value.into_bytes().into()));
            proptest::prop_assert_eq!(cookies.presented_companion(&headers), Some(companion()));
        }
    }

    /// Whatever is written when: the cookies end when the session does.
    #[test]
    fn no_write_lengthens_the_absolute_expiry(expires_at in 1_u64..4_000_000_000, writes in writes()) {
        for (persistence, asked, before) in writes {
            let now = expires_at.saturating_sub(before);
            match persistence.life(asked, expires_at, now) {
                Life::Seconds(seconds) => proptest::prop_assert_eq!(now + seconds, expires_at),
                Life::Browser => proptest::prop_assert!(persistence != Persistence::On),
            }
        }
    }

    #[test]
    fn no_header_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let headers: HeaderMap = [(COOKIE, value)].into_iter().collect();
            let _ = cookies().session(&headers);
            let _ = cookies().logins(&headers);
        }
    }
}

/// Contract 4.13: browsers ignore a deletion with other attributes.
#[test]
fn a_login_cookie_is_deleted_with_the_attributes_that_it_was_set_with() {
    for same_site in [SameSite::Strict, SameSite::None] {
        let cookies = SessionCookies::new(Settings { same_site, ..settings() });
        let attribute = |line: &HeaderValue| {
            let line = line.to_str().unwrap();
            line.split("; ").find(|part| part.starts_with("SameSite=")).unwrap().to_owned()
        };
        for cookie in [cookies.sign_out(), cookies.login("abc")] {
            let deleted = cookies.delete_login(cookie.name.clone());
            assert_eq!(attribute(&deleted), attribute(&cookies.set(&cookie, "x")), "{}", cookie.name);
        }
    }
}
