use serde_json::Value;

use super::State;
use super::error::Error;
use super::options::{Client, Federated};
use crate::web::Recorded;
use crate::web::jwt::{TokenError, unverified_claims};

/// The type of JWT assertions (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Accepted difference between clocks, in seconds.
const SKEW: u64 = 300;

/// The client assertion of a token request.
#[derive(Debug)]
pub(super) enum Assertion {
    Absent,
    Invalid(Error),
    /// The claims, signed by an issuer that some client trusts.
    Signed(Value),
}

impl Assertion {
    pub(super) async fn read(state: &State, request: &Recorded) -> Self {
        let form = request.form();
        let Some(token) = form.get("client_assertion") else { return Self::Absent };
        state.secret("client_assertion", token.to_owned());
        match verify(state, form.get("client_assertion_type"), token).await {
            Ok(claims) => Self::Signed(claims),
            Err(error) => Self::Invalid(error),
        }
    }
}

async fn verify(state: &State, assertion_type: Option<&str>, token: &str) -> Result<Value, Error> {
    if assertion_type != Some(JWT_BEARER) {
        return Err(Error::invalid_request(900_144, "The 'client_assertion_type' is missing or not supported."));
    }
    let malformed = || Error::invalid_client(50_027, "JWT token is invalid or malformed.");
    let claims = unverified_claims(token).ok_or_else(malformed)?;
    let verifier = state.trusted.iter().find(|verifier| claims["iss"] == verifier.issuer());
    let verifier = verifier.ok_or_else(|| unmatched(700_211, "issuer"))?;
    verifier.claims(token).await.map_err(|error| match error {
        TokenError::Malformed => malformed(),
        TokenError::Algorithm | TokenError::Signature | TokenError::UnknownKey => Error::invalid_client(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered.",
        ),
    })
}

/// Whether an assertion with these claims authenticates the client.
pub(super) fn check(state: &State, client: &Client, claims: &Value) -> Result<(), Error> {
    let Some(Federated { issuer, subject, audience }) = &client.federated else {
        return Err(Error::invalid_client(70_025, "The client has no configured federated identity credentials."));
    };
    let expected = [
        ("iss", issuer, 700_211, "issuer"),
        ("sub", subject, 700_213, "subject"),
        ("aud", audience, 700_212, "audience"),
    ];
    for (claim, value, code, what) in expected {
        // Kubernetes lists its audiences (RFC 7519, section 4.1.3).
        if claims[claim] != value.as_str() && claims[claim] != serde_json::json!([value]) {
            return Err(unmatched(code, what));
        }
    }
    let now = state.core.clock.now();
    let expired = claims["exp"].as_u64().is_none_or(|exp| now >= exp);
    if expired || claims["nbf"].as_u64().is_some_and(|nbf| nbf > now + SKEW) {
        return Err(Error::invalid_client(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

fn unmatched(code: u32, what: &str) -> Error {
    let text = format!("No matching federated identity record found for presented assertion {what}.");
    Error::invalid_client(code, &text)
}
