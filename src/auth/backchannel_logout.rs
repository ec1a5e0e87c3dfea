//! `/auth/backchannel-logout`: the provider ends sessions (OpenID Connect Back-Channel Logout 1.0).

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::Auth;
use super::params::Params;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::oidc::claims::TokenError;
use crate::oidc::logout_token::{Ended, Logout};
use crate::reply::{CLOAKROOM_ERROR, Reply, empty, json};
use crate::secret::SecretString;
use crate::session::store::{LogoutTokenId, Whose};
use crate::telemetry::in_current_request;

impl Auth {
    /// Ends the sessions that the logout token of a form names (contract 16.8).
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`]: the token can be neither accepted nor rejected. [`Error::KeysUnavailable`],
    /// [`Error::StoreUnavailable`]: some sessions may not have ended. [`Error::Internal`].
    pub async fn backchannel_logout(&self, form: &str, now: UnixSeconds) -> Result<Reply, Error> {
        let Some(token) = Params::parse(form).take_single("logout_token") else {
            return Ok(self.reject_logout_token("logout_token: not there exactly once"));
        };
        // Anybody may send invented key ids and disconnect: a load of the keys continues, and counts (contract 7.1).
        let (provider, token) = (Arc::clone(&self.provider), SecretString::from(token));
        let verification = async move { provider.verify_logout_token(&token, &|| now).await };
        let logout = match tokio::spawn(in_current_request(verification)).await.map_err(|_| Error::Internal)? {
            Ok(logout) => logout,
            Err(TokenError::KeysUnavailable | TokenError::KeyUndecided) => return Err(Error::ProviderUnavailable),
            Err(error) => return Ok(self.reject_logout_token(&error.to_string())),
        };
        let Logout { issuer, jti, ended, too_old_at } = logout;
        let token = LogoutTokenId { issuer: issuer.clone(), jti };
        let whose = match ended {
            Ended::Session(sid) => Whose::ProviderSession { issuer, sid },
            Ended::User(sub) => Whose::Subject { issuer, sub },
        };
        self.sessions.end_by_token(&whose, &token, too_old_at, now).await?;
        Ok(empty(StatusCode::OK))
    }

    /// The response to an invalid request (section 2.8). The log has the reason too, since the provider may not.
    fn reject_logout_token(&self, reason: &str) -> Reply {
        self.logout_token_log.record(
            || tracing::warn!(reason, "a logout token is rejected"),
            |count| tracing::warn!(count, "further logout tokens were rejected within a minute"),
        );
        let body = json!({"error": "invalid_request", "error_description": reason});
        let mut reply = json(StatusCode::BAD_REQUEST, &body);
        let code = Error::BadRequest("").facts().code;
        reply.headers_mut().insert(CLOAKROOM_ERROR, HeaderValue::from_static(code));
        reply
    }
}
