//! `/auth/callback`: the way back from the provider (OpenID Connect Core 3.1.2.5, RFC 9207).
//!
//! Ends in a redirect whatever the browser or the provider sent. Only a missing key is told on a page of ours, with the
//! code not redeemed and the transaction kept, so that a reload works.

use std::sync::Arc;

use futures_util::FutureExt;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method};

use super::callback_dedup::{Attempt, Outcome};
use super::transaction::Transaction;
use super::{Auth, AuthError, parse_pairs, redirect_status, single};
use crate::api_map::Api;
use crate::clock::{self, UnixSeconds};
use crate::error::Error;
use crate::guard::return_to::ReturnTo;
use crate::oidc::grants::{CodeExchange, TokenResponse};
use crate::oidc::id_token::IdToken;
use crate::oidc::provider::{SignInError, is_transient};
use crate::reply::{Reply, redirect};
use crate::session::seal::UnsealError;
use crate::session::token::{AccessToken, Session, User};
use crate::session::{OpenSession, WriteError};

/// Parameters that forwarding joins with a comma when they are given twice.
const NO_COMMA: [&str; 4] = ["code", "state", "iss", "error"];

impl Auth {
    /// Redeems the code of a callback and starts a session.
    ///
    /// # Errors
    /// [`Error::KeysUnavailable`] only.
    pub async fn callback(
        self: &Arc<Self>,
        method: &Method,
        headers: &HeaderMap,
        params: &str,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let status = redirect_status(method);
        let pairs = parse_pairs(params);
        let state = single(&pairs, "state").ok().flatten().unwrap_or_default().to_owned();
        let transaction = match Transaction::open(self, headers, &state, now).await {
            Ok(transaction) => transaction,
            Err(UnsealError::KeyUnavailable) => return Err(Error::KeysUnavailable),
            Err(UnsealError::Invalid | UnsealError::UnknownKey) => {
                return Ok(redirect(
                    status,
                    &self.config.origins.page(&self.config.return_uri.with_error("login_expired")),
                ));
            }
        };
        // The code is good for once, so nothing may be missing when it is spent.
        self.sessions.ring.sealing(now).await.map_err(|_| Error::KeysUnavailable)?;
        let outcome = self.outcome(pairs, &transaction, now).await;
        let return_to = ReturnTo::parse(&transaction.return_to, &self.config.origins.spa, &self.config.reserved)
            .unwrap_or_else(|| self.config.return_uri.clone());
        let (location, lines) = match outcome {
            Ok(lines) => (return_to.as_str().to_owned(), lines),
            Err(code) => {
                tracing::info!(event = "sign_in_failed", code, "a sign-in failed");
                (return_to.with_error(code), Vec::new())
            }
        };
        let cookies = &self.sessions.cookies;
        let mut reply = redirect(status, &self.config.origins.page(&location));
        let transaction_gone = cookies.delete_login(&cookies.login_name(transaction.id()));
        for line in lines.into_iter().chain([transaction_gone]) {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        Ok(reply)
    }

    /// The cookie lines of the session that a callback brings: its own, or that of the callback which it repeats.
    async fn outcome(
        self: &Arc<Self>,
        pairs: Vec<(String, String)>,
        transaction: &Transaction,
        now: UnixSeconds,
    ) -> Result<Vec<HeaderValue>, AuthError> {
        let begin = || {
            let (auth, transaction) = (Arc::clone(self), transaction.clone());
            async move { auth.complete(&pairs, &transaction, now).await }.boxed()
        };
        let Attempt::Wait { flight, is_first } = self.callback_dedup.turn(&transaction.state, begin) else {
            return Err("login_expired");
        };
        let open = flight.await?;
        if !is_first && self.sessions.ended.contains(&open.session.id) {
            return Err("login_expired");
        }
        let lines = self.sessions.write(&open, now).await.map_err(|fault| match fault {
            WriteError::KeysUnavailable => "keys_unavailable",
            WriteError::TooLarge => "cookie_too_large",
        })?;
        if let Some(replaced) = transaction.replaces {
            self.sessions.replaced.insert(replaced, open.expires_at, now);
        }
        tracing::info!(event = "signed_in", repeated = !is_first, "a user signed in");
        Ok(lines)
    }

    async fn complete(&self, pairs: &[(String, String)], transaction: &Transaction, now: UnixSeconds) -> Outcome {
        let twice = pairs.iter().any(|(name, _)| single(pairs, name).is_err());
        let callback_dedup = pairs.iter().any(|(name, value)| NO_COMMA.contains(&name.as_str()) && value.contains(','));
        if twice || callback_dedup || !self.issuer_fits(pairs).await? {
            return Err("login_failed");
        }
        let one = |name| single(pairs, name).ok().flatten();
        if let Some(error) = one("error") {
            return Err(auth_error(error));
        }
        let code = one("code").filter(|code| !code.is_empty()).ok_or("login_failed")?;
        let (redirect_uri, verifier) = (self.redirect_uri(), transaction.verifier());
        // The API map may have changed since the sign-in began.
        let api = transaction.api.as_deref().and_then(|name| self.config.apis.get(name));
        let resource = api.and_then(|api| api.resource.as_deref());
        let exchange = CodeExchange { code, verifier: &verifier, redirect_uri: &redirect_uri, resource };
        let (tokens, claims) =
            self.provider.sign_in(&exchange, &transaction.nonce, &clock::now).await.map_err(|fault| match fault {
                SignInError::Failed => "login_failed",
                SignInError::TenantDenied => "tenant_denied",
                SignInError::Unavailable => "provider_unavailable",
            })?;
        if transaction.only_sub.as_ref().is_some_and(|sub| *sub != claims.sub) {
            tracing::warn!("another user than the one who was challenged has answered");
            return Err("login_failed");
        }
        let expires_at = now.saturating_add(self.sessions.limits.max.as_secs());
        Ok(OpenSession::new(new_session(tokens, claims, api, now), expires_at))
    }

    /// RFC 9207: a provider that announces `iss` must send its own; one that does not may still not send another's.
    /// What it announces is asked if it is not known yet: a start in the middle of a sign-in checks no less.
    async fn issuer_fits(&self, pairs: &[(String, String)]) -> Result<bool, AuthError> {
        let metadata = self.provider.metadata().await.map_err(|_| "provider_unavailable")?;
        let fits = match single(pairs, "iss").ok().flatten() {
            Some(iss) => iss == metadata.issuer,
            None => !metadata.authorization_response_iss_parameter_supported,
        };
        Ok(fits)
    }
}

fn new_session(tokens: TokenResponse, claims: IdToken, api: Option<&Api>, now: UnixSeconds) -> Session {
    let life = tokens.life();
    let access_token = api.map(|api| AccessToken {
        api: api.name.clone(),
        token: tokens.access_token,
        expires_at: now.saturating_add(life),
        life,
    });
    Session {
        id: rand::random(),
        generation: 0,
        signed_in_at: now,
        active_at: now,
        user: user(claims),
        refresh_token: tokens.refresh_token,
        access_tokens: access_token.into_iter().collect(),
    }
}

fn user(claims: IdToken) -> User {
    User {
        sub: claims.sub,
        oid: claims.oid,
        tid: claims.tid,
        name: claims.name,
        preferred_username: claims.preferred_username,
        email: claims.email,
        roles: claims.roles,
        login_hint: claims.login_hint,
        provider_sid: claims.sid,
    }
}

/// The provider's error as the page hears it: codes that are known, and one for all others.
fn auth_error(error: &str) -> AuthError {
    match error {
        "access_denied" => "access_denied",
        "login_required" => "login_required",
        "consent_required" => "consent_required",
        "interaction_required" | "account_selection_required" => "interaction_required",
        transient if is_transient(transient) => "provider_unavailable",
        _ => "login_failed",
    }
}
