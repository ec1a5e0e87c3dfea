use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::web::jwt::{Issuer, Unsigned};
use crate::web::{Body, Call, reply};

/// Lets in who bears a token of the provider's for this audience.
#[derive(Debug)]
pub(super) struct Gate {
    issuer: Issuer,
    audience: String,
}

impl Gate {
    pub(super) fn new(issuer: &str, audience: String) -> Self {
        Self { issuer: Issuer::new(issuer), audience }
    }

    /// The claims of the request's token, or why it does not count.
    pub(super) async fn claims(&self, call: &Call, now: u64) -> Result<Value, &'static str> {
        let mut lines = call.parts.headers.get_all(AUTHORIZATION).iter();
        let (line, second) = (lines.next().ok_or("Access token is empty.")?, lines.next());
        if second.is_some() {
            return Err("Two Authorization headers.");
        }
        let token = line.to_str().ok().and_then(|line| line.strip_prefix("Bearer ")).ok_or("No bearer token.")?;
        let claims = self.issuer.claims(token).await.map_err(|why| match why {
            Unsigned::Algorithm => "Invalid signature algorithm.",
            Unsigned::Malformed => "CompactToken parsing failed.",
            Unsigned::Signature => "Signature is invalid.",
            Unsigned::UnknownKey => "Signing key is invalid.",
        })?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let time = |name: &str| claims.get(name).and_then(Value::as_u64);
        if text("iss") != self.issuer.url() {
            return Err("Access token validation failure. Invalid issuer.");
        }
        if text("aud") != self.audience {
            return Err("Access token validation failure. Invalid audience.");
        }
        if time("exp").is_none_or(|exp| now >= exp) {
            return Err("Lifetime validation failed, the token is expired.");
        }
        if time("nbf").is_some_and(|nbf| nbf > now + 300) {
            return Err("Lifetime validation failed, the token is not yet valid.");
        }
        Ok(claims)
    }
}

/// Whether a token has that authentication context.
pub(super) fn has_context(claims: &Value, context: &str) -> bool {
    let contexts = claims.get("acrs").and_then(Value::as_array);
    contexts.is_some_and(|contexts| contexts.iter().any(|have| have.as_str() == Some(context)))
}

/// Graph's answer to a token that does not count.
pub(super) fn refused(why: &str) -> Response<Body> {
    unauthorized(
        why,
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"",
    )
}

/// A claims challenge, as continuous access evaluation sends it.
pub(super) fn challenged(context: &str) -> Response<Body> {
    let claims = json!({"access_token": {"acrs": {"essential": true, "value": context}}}).to_string();
    let line = format!(
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
         error=\"insufficient_claims\", claims=\"{}\"",
        STANDARD.encode(claims)
    );
    unauthorized("Continuous access evaluation resulted in challenge.", &line)
}

fn unauthorized(why: &str, line: &str) -> Response<Body> {
    let body = json!({"error": {"code": "InvalidAuthenticationToken", "message": why}});
    reply::with(reply::json(StatusCode::UNAUTHORIZED, &body), WWW_AUTHENTICATE, line)
}
