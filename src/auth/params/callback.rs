//! The authorization response (RFC 6749 section 4.1.2, OpenID Connect Core 3.1.2.5).

use super::Params;
use crate::auth::AuthError;
use crate::auth::transaction::State;
use crate::error::Error;
use crate::secret::SecretString;

/// Most parameters that are read.
const LIMIT: usize = 32;

/// Parameters of `/auth/callback`.
pub(in crate::auth) struct CallbackParams {
    /// `None` if it is absent, duplicate or not of the form that this gateway sends.
    pub(in crate::auth) state: Option<State>,
    pub(in crate::auth) response: Result<AuthorizationResponse, Malformed>,
}

/// What the provider responded.
pub(in crate::auth) struct AuthorizationResponse {
    /// The issuer (RFC 9207), to be compared before the result has any effect (contract 7.5).
    pub(in crate::auth) iss: Option<String>,
    pub(in crate::auth) result: Result<SecretString, AuthError>,
}

/// A duplicate parameter, a comma where forwarding joins duplicates (contract 7.6), or neither code nor error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct Malformed;

impl CallbackParams {
    /// Parses a query or a form.
    ///
    /// # Errors
    /// [`Error::BadRequest`]: it has more than 32 parameters, empty ones included (contract 3.9b).
    pub(in crate::auth) fn parse(text: &str) -> Result<Self, Error> {
        if text.split('&').nth(LIMIT).is_some() {
            return Err(Error::BadRequest("the callback has more than 32 parameters"));
        }
        let mut params = Params::parse(text);
        let has_duplicates = params.has_duplicates();
        let state = params.take_single("state").and_then(|state| State::parse(&state));
        let response = if has_duplicates { Err(Malformed) } else { AuthorizationResponse::from_params(&mut params) };
        Ok(Self { state, response })
    }
}

impl AuthorizationResponse {
    fn from_params(params: &mut Params) -> Result<Self, Malformed> {
        let mut take = |name| match params.take_single(name) {
            Some(value) if value.contains(',') => Err(Malformed),
            value => Ok(value),
        };
        let (iss, error, code) = (take("iss")?, take("error")?, take("code")?);
        let result = match (error, code) {
            (Some(error), _) => Err(AuthError::from_provider(&error)),
            (None, Some(code)) if !code.is_empty() => Ok(code.into()),
            (None, _) => return Err(Malformed),
        };
        Ok(Self { iss, result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret;

    const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    /// The code, or the error that the page would get.
    fn result(query: &str) -> Result<String, AuthError> {
        let params = CallbackParams::parse(&format!("state={STATE}&{query}")).unwrap();
        assert!(params.state.is_some(), "{query}");
        let response = params.response.map_err(|Malformed| AuthError::LoginFailed)?;
        response.result.map(|code| code.expose_secret().to_owned())
    }

    #[test]
    fn a_response_has_one_code_or_one_error() {
        assert_eq!(result("code=a%26b"), Ok("a&b".to_owned()));
        assert_eq!(result("code=a&session_state=x"), Ok("a".to_owned()));
        assert_eq!(result("code=a&error=access_denied"), Err(AuthError::AccessDenied));
        assert_eq!(result("error=account_selection_required"), Err(AuthError::InteractionRequired));
        assert_eq!(result("error=server_error"), Err(AuthError::ProviderUnavailable));
        for bad in [
            "",
            "code=",
            "error=",
            "error=x",
            "code=a&code=a",
            "code=a,b",
            "code=a&iss=b,c",
            "error=access_denied,x",
            "code=a&x=1&x=2",
        ] {
            assert_eq!(result(bad), Err(AuthError::LoginFailed), "{bad}");
        }
    }

    #[test]
    fn a_state_is_absent_unless_it_is_single_and_of_our_form() {
        for bad in ["", "state=", "state=short", &format!("state={STATE}&state={STATE}"), &format!("state={STATE},x")] {
            assert!(CallbackParams::parse(bad).unwrap().state.is_none(), "{bad}");
        }
    }

    #[test]
    fn more_than_32_parameters_are_not_read() {
        assert!(CallbackParams::parse(&"a&".repeat(31)).is_ok());
        for many in ["a&".repeat(32), "&".repeat(32)] {
            assert!(matches!(CallbackParams::parse(&many), Err(Error::BadRequest(_))), "{many}");
        }
    }
}
