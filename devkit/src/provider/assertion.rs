use serde_json::Value;

use super::State;
use super::options::{Client, Federated};
use super::refusal::Refusal;
use super::token::{invalid_client, invalid_request};
use crate::web::jwt::{Unsigned, unchecked_claims};
use crate::web::{Call, Form};

/// Says that the assertion is a JWT (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far another clock may be off, in seconds.
const SKEW: u64 = 300;

/// What a token request has to show as client assertion.
#[derive(Debug)]
pub(super) enum Assertion {
    /// Nothing.
    None,
    /// One that does not count, whoever shows it.
    Bad(Refusal),
    /// One that an issuer signed whom a client here trusts; its claims.
    Signed(Value),
}

impl Assertion {
    /// Looks at a request's assertion. Keys of its issuer are fetched when they are not known yet.
    pub(super) async fn of(state: &State, call: &Call) -> Self {
        let form = Form::parse(&call.request.body);
        let Some(token) = form.get("client_assertion") else { return Self::None };
        state.secret("client_assertion", token.to_owned());
        match signed(state, &form, token).await {
            Ok(claims) => Self::Signed(claims),
            Err(refusal) => Self::Bad(refusal),
        }
    }
}

async fn signed(state: &State, form: &Form, token: &str) -> Result<Value, Refusal> {
    if form.get("client_assertion_type") != Some(JWT_BEARER) {
        return Err(invalid_request(900_144, "The 'client_assertion_type' is missing or not supported."));
    }
    let malformed = || invalid_client(50_027, "JWT token is invalid or malformed.");
    let claims = unchecked_claims(token).ok_or_else(malformed)?;
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let issuer = state.trusted.iter().find(|trusted| trusted.url() == issuer);
    let issuer = issuer.ok_or_else(|| unmatched(700_211, "issuer"))?;
    issuer.claims(token).await.map_err(|why| match why {
        Unsigned::Malformed => malformed(),
        Unsigned::Algorithm | Unsigned::Signature | Unsigned::UnknownKey => invalid_client(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered.",
        ),
    })
}

/// Whether an assertion of these claims is the client's.
pub(super) fn check(state: &State, client: &Client, claims: &Value) -> Result<(), Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let Some(Federated { issuer, subject, audience }) = &client.federated else {
        return Err(invalid_client(70_025, "The client has no configured federated identity credentials."));
    };
    if text("iss") != issuer {
        return Err(unmatched(700_211, "issuer"));
    }
    if text("sub") != subject {
        return Err(unmatched(700_213, "subject"));
    }
    if text("aud") != audience {
        return Err(unmatched(700_212, "audience"));
    }
    let now = state.clock.now();
    let over = time("exp").is_none_or(|exp| now >= exp);
    if over || time("nbf").is_some_and(|nbf| nbf > now + SKEW) {
        return Err(invalid_client(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

fn unmatched(code: u32, what: &str) -> Refusal {
    let text = format!("No matching federated identity record found for presented assertion {what}.");
    invalid_client(code, &text)
}
