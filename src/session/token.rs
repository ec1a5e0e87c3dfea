//! The session itself and its binary form.
//!
//! Tokens are mostly base64url; packing them to raw bytes before sealing saves a quarter of the cookie.

use base64::Engine;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::base64url::BASE64URL;
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, SecretString};

/// Version of the payload after the times. An unknown one is an invalid session, never an error.
const FORMAT: u8 = 2;

/// 16 random bytes that name a session for its life.
pub type SessionId = [u8; 16];

/// What the gateway knows of a signed-in browser.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id, new at every sign-in.
    pub id: SessionId,
    /// Raised by every write, so that a slow answer never overwrites a newer cookie.
    pub generation: u64,
    /// When the user signed in.
    pub signed_in_at: UnixSeconds,
    /// The last activity that was written.
    pub active_at: UnixSeconds,
    /// Who signed in.
    pub user: User,
    /// Brings new access tokens, where the provider gave one.
    pub refresh_token: Option<SecretString>,
    /// Access tokens, at most one for each API.
    pub access_tokens: Vec<AccessToken>,
}

/// The claims that a session keeps of the ID token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user for this client.
    pub sub: String,
    /// The user in the tenant.
    pub oid: Option<String>,
    /// The tenant.
    pub tid: Option<String>,
    /// A name to show.
    pub name: Option<String>,
    /// The name that the user signs in with; not an identity key.
    pub preferred_username: Option<String>,
    /// An address; not an identity key.
    pub email: Option<String>,
    /// App roles.
    pub roles: Vec<String>,
    /// What the provider wants to hear at sign-out.
    pub login_hint: Option<String>,
    /// The provider's own session id.
    pub provider_sid: Option<String>,
}

/// An access token for one API.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The API's name in the API map.
    pub api: String,
    /// The token, as it goes behind `Bearer`.
    pub token: SecretString,
    /// When it ends.
    pub expires_at: UnixSeconds,
    /// How long it was good for when it was made, in seconds.
    pub life: u64,
}

impl AccessToken {
    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self, now: UnixSeconds) -> bool {
        now >= self.expires_at
    }

    /// Whether it has as much life left as a call wants: the skew, but never more than half of what it had.
    #[must_use]
    pub fn is_fresh(&self, now: UnixSeconds, skew: u64) -> bool {
        let wanted = skew.min(self.life / 2).max(1);
        now.saturating_add(wanted) <= self.expires_at
    }
}

/// The wire format. `S` is one dot-separated segment of a token: [`SegmentOut`] to write, [`SegmentRef`] to read
/// without copying.
#[derive(Serialize, Deserialize)]
struct Wire<S> {
    id: SessionId,
    generation: u64,
    signed_in_at: UnixSeconds,
    active_at: UnixSeconds,
    user: User,
    refresh_token: Option<Vec<S>>,
    access_tokens: Vec<(String, Vec<S>, UnixSeconds, u64)>,
}

#[derive(Serialize)]
enum SegmentOut {
    Bytes(Zeroizing<Vec<u8>>),
    Text(Zeroizing<String>),
}

#[derive(Deserialize)]
enum SegmentRef<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl Session {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let access_token = |of: &AccessToken| (of.api.clone(), pack(&of.token), of.expires_at, of.life);
        let wire = Wire {
            id: self.id,
            generation: self.generation,
            signed_in_at: self.signed_in_at,
            active_at: self.active_at,
            user: self.user.clone(),
            refresh_token: self.refresh_token.as_ref().map(pack),
            access_tokens: self.access_tokens.iter().map(access_token).collect(),
        };
        // Writing to memory cannot fail; a payload that were empty would decode to no session.
        Zeroizing::new(postcard::to_extend(&wire, vec![FORMAT]).unwrap_or_default())
    }

    /// The session in a payload, unless it is of another format or damaged.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&FORMAT, bytes) = payload.split_first()? else { return None };
        let (wire, rest): (Wire<SegmentRef<'_>>, _) = postcard::take_from_bytes(bytes).ok()?;
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            id: wire.id,
            generation: wire.generation,
            signed_in_at: wire.signed_in_at,
            active_at: wire.active_at,
            user: wire.user,
            refresh_token: wire.refresh_token.as_deref().map(unpack),
            access_tokens: wire
                .access_tokens
                .into_iter()
                .map(|(api, token, expires_at, life)| AccessToken { api, token: unpack(&token), expires_at, life })
                .collect(),
        })
    }

    /// Takes in an access token, instead of the one that it held for that API.
    pub fn hold(&mut self, token: AccessToken) {
        self.access_tokens.retain(|held| held.api != token.api);
        self.access_tokens.push(token);
    }

    /// Takes out the largest access token, if the refresh token can bring it back.
    pub(super) fn leave_out_largest(&mut self) -> Option<AccessToken> {
        self.refresh_token.as_ref()?;
        let size = |(_, token): &(usize, &AccessToken)| token.token.expose_secret().len();
        let (largest, _) = self.access_tokens.iter().enumerate().max_by_key(size)?;
        Some(self.access_tokens.swap_remove(largest))
    }

    /// The access token for an API that is not over yet.
    #[must_use]
    pub fn access_token(&self, api: &str, now: UnixSeconds) -> Option<&AccessToken> {
        self.access_tokens.iter().find(|token| token.api == api && !token.is_over(now))
    }
}

fn pack(token: &SecretString) -> Vec<SegmentOut> {
    let segment = |text: &str| match BASE64URL.decode(text) {
        Ok(bytes) => SegmentOut::Bytes(Zeroizing::new(bytes)),
        Err(_) => SegmentOut::Text(Zeroizing::new(text.to_owned())),
    };
    token.expose_secret().split('.').map(segment).collect()
}

fn unpack(segments: &[SegmentRef<'_>]) -> SecretString {
    let length = |segment: &SegmentRef<'_>| match segment {
        SegmentRef::Bytes(bytes) => (bytes.len() * 4).div_ceil(3),
        SegmentRef::Text(text) => text.len(),
    };
    // Made as long as it will be, so that it never moves on the heap.
    let dots = segments.len().saturating_sub(1);
    let mut token = String::with_capacity(segments.iter().map(length).sum::<usize>() + dots);
    for (position, segment) in segments.iter().enumerate() {
        if position > 0 {
            token.push('.');
        }
        match segment {
            SegmentRef::Bytes(bytes) => BASE64URL.encode_string(bytes, &mut token),
            SegmentRef::Text(text) => token.push_str(text),
        }
    }
    token.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(refresh_token: &str, access_token: &str) -> Session {
        Session {
            id: [5; 16],
            generation: 7,
            signed_in_at: 1_000,
            active_at: 1_001,
            user: User { sub: "s".to_owned(), roles: vec!["Reader".to_owned()], ..User::default() },
            refresh_token: Some(refresh_token.into()),
            access_tokens: vec![AccessToken {
                api: "graph".to_owned(),
                token: access_token.into(),
                expires_at: 2_000,
                life: 1_000,
            }],
        }
    }

    #[test]
    fn a_token_lives_to_its_last_second() {
        let session = session("r", "a");
        assert!(session.access_token("graph", 1_999).is_some());
        assert!(session.access_token("graph", 2_000).is_none());
        assert!(session.access_token("other", 1_000).is_none());
    }

    #[test]
    fn a_token_is_fresh_until_the_skew_or_half_its_life_is_left() {
        let token = |life| AccessToken { api: String::new(), token: "a".into(), expires_at: 10_000, life };
        for (life, skew, last_fresh) in
            [(3_600, 60, 9_940), (3_600, 0, 9_999), (100, 60, 9_950), (1, 60, 9_999), (0, 60, 9_999)]
        {
            assert!(token(life).is_fresh(last_fresh, skew), "{life} {skew}");
            assert!(!token(life).is_fresh(last_fresh + 1, skew), "{life} {skew}");
        }
        assert!(!token(100).is_over(9_999) && token(100).is_over(10_000));
    }

    #[test]
    fn base64url_is_packed() {
        let text = BASE64URL.encode([9u8; 900]);
        let jwt = format!("{text}.{text}.{text}");
        assert!(session("opaque", &jwt).encode().len() < jwt.len() * 78 / 100);
    }

    /// Written down, so that an instance of another version goes on reading what this one writes, and the reverse.
    #[test]
    fn the_binary_form_stays_as_it_is() {
        let mut form = vec![2];
        form.extend([5; 16]);
        form.extend(b"\x07\xe8\x07\xe9\x07");
        form.extend(b"\x01s\0\0\0\0\0\x01\x06Reader\0\0");
        form.extend(b"\x01\x01\x00\x03\x01\x02\x03");
        form.extend(b"\x01\x05graph\x02\x01\x01a\x01\x02b!\xd0\x0f\xe8\x07");
        assert_eq!(session("AQID", "a.b!").encode().as_slice(), form);
        let read = Session::decode(&form).unwrap();
        assert_eq!(read.refresh_token.unwrap().expose_secret(), "AQID");
        assert_eq!(read.access_tokens[0].token.expose_secret(), "a.b!");
    }

    #[test]
    fn another_format_or_trailing_bytes_are_no_session() {
        let good = session("r", "a").encode();
        let mut other = good.to_vec();
        other[0] = 1;
        assert!(Session::decode(&other).is_none());
        let mut longer = good.to_vec();
        longer.push(0);
        assert!(Session::decode(&longer).is_none());
        assert!(Session::decode(&good[..good.len() - 1]).is_none());
        assert!(Session::decode(&[]).is_none());
    }

    #[test]
    fn debug_does_not_leak_tokens() {
        let text = format!("{:?}", session("CANARY-refresh", "CANARY-access"));
        assert!(!text.contains("CANARY"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn any_token_comes_back_as_it_was(refresh in ".{0,80}", access in "[A-Za-z0-9_.=+/-]{0,200}") {
            let back = Session::decode(&session(&refresh, &access).encode()).unwrap();
            let found = back.refresh_token.unwrap();
            proptest::prop_assert_eq!(found.expose_secret(), refresh);
            proptest::prop_assert_eq!(back.access_tokens[0].token.expose_secret(), access);
        }

        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Session::decode(&bytes);
        }
    }
}
