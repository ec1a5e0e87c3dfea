use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

/// An ID token before it is signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The JOSE header: `typ`, `alg`, `kid`.
    pub header: Map<String, Value>,
    /// The claims, all that a good token has.
    pub claims: Map<String, Value>,
    /// How it will be signed. The header is not changed to agree.
    pub signing: Signing,
    /// It answers a refresh, not the redemption of a code.
    pub refreshed: bool,
}

/// How a [`Draft`] is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// RS256 by the provider's active key.
    Active,
    /// RS256 by a key that no key set has.
    Stranger,
    /// HMAC-SHA256, the client secret as key.
    ClientSecret,
    /// RS256 by the active key, with one bit turned afterwards.
    Broken,
    /// An empty signature.
    Nothing,
}

/// What is done to every ID token before it is signed.
#[derive(Clone)]
pub struct Mutation(Arc<dyn Fn(&mut Draft) + Send + Sync>);

impl Mutation {
    /// A mutation of the tester's own.
    pub fn new(change: impl Fn(&mut Draft) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    pub(super) fn apply(&self, draft: &mut Draft) {
        (self.0)(draft);
    }
}

impl fmt::Debug for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutation(..)")
    }
}

impl From<Flaw> for Mutation {
    fn from(flaw: Flaw) -> Self {
        Self::new(move |draft| flaw.spoil(draft))
    }
}

/// The ready mutations: each makes an ID token that a relying party must refuse (the nonce is not in a refreshed one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `aud` of another client.
    WrongAudience,
    /// Two audiences, and `azp` names the other one.
    WrongAuthorizedParty,
    /// `iss` of another provider.
    WrongIssuer,
    /// `tid` that does not agree with the issuer.
    WrongTenant,
    /// Another nonce.
    WrongNonce,
    /// No nonce.
    NoNonce,
    /// Expired an hour ago.
    Expired,
    /// Valid only in an hour.
    NotYetValid,
    /// Issued in an hour.
    IssuedInFuture,
    /// An `at_hash` of another access token.
    WrongAccessTokenHash,
    /// Another user's `sub`: to be refused in a refreshed token only.
    OtherSubject,
    /// `alg: none`, no signature.
    AlgNone,
    /// HS256 with the client secret.
    Hs256,
    /// A signature with one bit turned.
    BadSignature,
    /// A key that is in no key set, under its own `kid`.
    UnknownKid,
    /// A key that is in no key set, under the `kid` of the active one.
    StrangersKey,
}

impl Flaw {
    /// All that a sign-in must refuse: every flaw but [`Flaw::OtherSubject`].
    pub const AT_SIGN_IN: [Self; 15] = [
        Self::WrongAudience,
        Self::WrongAuthorizedParty,
        Self::WrongIssuer,
        Self::WrongTenant,
        Self::WrongNonce,
        Self::NoNonce,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::WrongAccessTokenHash,
        Self::AlgNone,
        Self::Hs256,
        Self::BadSignature,
        Self::UnknownKid,
        Self::StrangersKey,
    ];

    fn spoil(self, draft: &mut Draft) {
        match self {
            Self::WrongAudience => draft.set("aud", "11111111-1111-4111-8111-111111111111"),
            Self::WrongAuthorizedParty => {
                let own = draft.claims.get("aud").cloned();
                draft.set("aud", json!([own, "22222222-2222-4222-8222-222222222222"]));
                draft.set("azp", "22222222-2222-4222-8222-222222222222");
            }
            Self::WrongIssuer => draft.set("iss", "https://login.example/v2.0"),
            Self::WrongTenant => draft.set("tid", "33333333-3333-4333-8333-333333333333"),
            Self::WrongNonce => draft.set("nonce", "not-the-nonce-that-was-sent"),
            Self::NoNonce => {
                draft.claims.remove("nonce");
            }
            Self::Expired => ["iat", "nbf", "exp"].into_iter().for_each(|name| draft.shift(name, -7_200)),
            Self::NotYetValid => draft.shift("nbf", 3_600),
            Self::IssuedInFuture => draft.shift("iat", 3_600),
            Self::WrongAccessTokenHash => draft.set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
            Self::OtherSubject => draft.set("sub", "somebody-else"),
            Self::AlgNone => draft.sign("none", Signing::Nothing),
            Self::Hs256 => draft.sign("HS256", Signing::ClientSecret),
            Self::BadSignature => draft.signing = Signing::Broken,
            Self::UnknownKid => {
                draft.header.insert("kid".to_owned(), "nobody-published-this".into());
                draft.signing = Signing::Stranger;
            }
            Self::StrangersKey => draft.signing = Signing::Stranger,
        }
    }
}

impl Draft {
    /// Sets a claim.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.claims.insert(name.to_owned(), value.into());
    }

    /// Moves a time claim by so many seconds.
    pub fn shift(&mut self, name: &str, seconds: i64) {
        let moved = self.claims.get(name).and_then(Value::as_i64).map(|time| time.saturating_add(seconds));
        if let Some(moved) = moved {
            self.set(name, moved);
        }
    }

    fn sign(&mut self, alg: &str, signing: Signing) {
        self.header.insert("alg".to_owned(), alg.into());
        self.signing = signing;
    }
}
