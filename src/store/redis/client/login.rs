//! User and password of a connection: those of the URL, or a token of Entra (contract 15.16).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::Cmd;
use serde::Deserialize;

use super::Auth;
use super::failure::Failure;
use crate::clock::{self, UnixSeconds};
use crate::secret::{ExposeSecret, SecretString};

/// The credential returns another token than before only when less than 5 minutes of that are left.
const RENEWAL: Duration = Duration::from_secs(290);

/// What a connection authenticates with.
pub(super) struct Login {
    user: Option<String>,
    password: SecretString,
    /// When it must authenticate again; `None`: never.
    pub(super) renew_in: Option<Duration>,
}

/// The claims of an access token for Redis that the client needs.
#[derive(Deserialize)]
struct Claims {
    oid: String,
    exp: UnixSeconds,
}

impl Login {
    /// `None`: the connection does not authenticate.
    pub(super) async fn of(auth: &Auth) -> Result<Option<Self>, Failure> {
        match auth {
            Auth::None => Ok(None),
            Auth::Password { user, password } => {
                Ok(Some(Self { user: user.clone(), password: password.clone(), renew_in: None }))
            }
            Auth::Entra { scope, credential } => {
                let token = credential.token(scope).await.map_err(Failure::Token)?;
                Self::of_token(token, clock::now()).map(Some)
            }
        }
    }

    fn of_token(token: SecretString, now: UnixSeconds) -> Result<Self, Failure> {
        let claims = Claims::read(token.expose_secret());
        let Claims { oid, exp } = claims.ok_or_else(|| Failure::Token("the token has no oid or no exp".to_owned()))?;
        let renew_in = renew_in(Duration::from_secs(exp.saturating_sub(now)));
        Ok(Self { user: Some(oid), password: token, renew_in: Some(renew_in) })
    }

    pub(super) fn command(&self) -> Cmd {
        let mut command = redis::cmd("AUTH");
        command.arg(self.user.as_deref()).arg(self.password.expose_secret());
        command
    }
}

impl Claims {
    /// Redis verifies the token; the client only names its user.
    fn read(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&payload).ok()
    }
}

/// When to ask for the next token, by the time that is left of this one. Once that is too short, after half of it, so
/// that several attempts fit.
fn renew_in(left: Duration) -> Duration {
    left.saturating_sub(RENEWAL).max(left / 2).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> SecretString {
        format!("head.{}.signature", URL_SAFE_NO_PAD.encode(payload)).into()
    }

    #[test]
    fn the_user_of_a_token_is_its_oid() {
        let login = Login::of_token(token(r#"{"oid": "7f2a", "exp": 90000, "sub": "x"}"#), 3_600).unwrap();
        assert_eq!(login.user.as_deref(), Some("7f2a"));
        assert_eq!(login.renew_in, Some(Duration::from_secs(86_400 - 290)));
        for bad in [token(r#"{"exp": 90000}"#), token(r#"{"oid": "7f2a"}"#), token("x"), "CANARY".to_owned().into()] {
            let failure = Login::of_token(bad, 0).err().unwrap();
            assert!(!failure.to_string().contains("CANARY"), "{failure}");
        }
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        let seconds = |left| renew_in(Duration::from_secs(left)).as_secs_f32();
        assert_eq!(seconds(86_400), 86_110.0);
        assert_eq!(seconds(600), 310.0);
        assert_eq!(seconds(290), 145.0, "several attempts before the end");
        assert_eq!(seconds(10), 5.0);
        assert_eq!(seconds(0), 1.0);
    }
}
