use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

/// An ID token before it is signed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The JOSE header, an object.
    pub header: Value,
    /// The claims, an object.
    pub claims: Value,
    /// The header is not adapted to it.
    pub signing: Signing,
}

/// How a [`Draft`] is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// RS256 with the provider's active key.
    Active,
    /// RS256 with a key that is in no key set.
    Unpublished,
    /// HMAC-SHA256 with the client secret.
    ClientSecret,
    /// RS256 with the active key, and one bit of the signature changed.
    Broken,
    /// An empty signature.
    None,
}

/// A change of every ID token before it is signed.
#[derive(Clone)]
pub struct Mutation(Arc<dyn Fn(&mut Draft) + Send + Sync>);

impl Mutation {
    pub fn new(change: impl Fn(&mut Draft) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    /// Changes a token before it is signed.
    pub fn apply(&self, draft: &mut Draft) {
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
        Self::new(move |draft| flaw.apply(draft))
    }
}

/// Each makes an ID token that a relying party must reject. Those of the nonce concern sign-ins only, since a refreshed
/// token has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    WrongAudience,
    /// Two audiences, and `azp` is the other one.
    WrongAuthorizedParty,
    WrongIssuer,
    /// `tid` does not match the issuer.
    WrongTenant,
    WrongNonce,
    NoNonce,
    /// An hour ago.
    Expired,
    /// Valid in an hour.
    NotYetValid,
    /// Issued in an hour.
    IssuedInFuture,
    /// An `at_hash` of another access token.
    WrongAccessTokenHash,
    /// `alg: none`, no signature.
    AlgNone,
    /// HS256 with the client secret.
    Hs256,
    BadSignature,
    /// A key that is in no key set, with its own `kid`.
    UnknownKid,
    /// A key that is in no key set, with the `kid` of the active one.
    ForgedKid,
}

impl Flaw {
    pub const ALL: [Self; 15] = [
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
        Self::ForgedKid,
    ];

    fn apply(self, Draft { header, claims, signing }: &mut Draft) {
        let shifted = |time: &Value, seconds: i64| json!(time.as_i64().map(|time| time + seconds));
        match self {
            Self::WrongAudience => claims["aud"] = "11111111-1111-4111-8111-111111111111".into(),
            Self::WrongAuthorizedParty => {
                claims["aud"] = json!([claims["aud"], "22222222-2222-4222-8222-222222222222"]);
                claims["azp"] = "22222222-2222-4222-8222-222222222222".into();
            }
            Self::WrongIssuer => claims["iss"] = "https://login.example/v2.0".into(),
            Self::WrongTenant => claims["tid"] = "33333333-3333-4333-8333-333333333333".into(),
            Self::WrongNonce => claims["nonce"] = "not-the-nonce-that-was-sent".into(),
            Self::NoNonce => _ = claims.as_object_mut().and_then(|claims| claims.remove("nonce")),
            Self::Expired => {
                ["iat", "nbf", "exp"].into_iter().for_each(|name| claims[name] = shifted(&claims[name], -7_200))
            }
            Self::NotYetValid => claims["nbf"] = shifted(&claims["nbf"], 3_600),
            Self::IssuedInFuture => claims["iat"] = shifted(&claims["iat"], 3_600),
            Self::WrongAccessTokenHash => claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA".into(),
            Self::AlgNone => (header["alg"], *signing) = ("none".into(), Signing::None),
            Self::Hs256 => (header["alg"], *signing) = ("HS256".into(), Signing::ClientSecret),
            Self::BadSignature => *signing = Signing::Broken,
            Self::UnknownKid => (header["kid"], *signing) = ("unpublished".into(), Signing::Unpublished),
            Self::ForgedKid => *signing = Signing::Unpublished,
        }
    }
}
