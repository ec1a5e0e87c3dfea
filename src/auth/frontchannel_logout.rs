//! `/auth/frontchannel-logout`: the provider's sign-out page, which frames it, ends sessions (OpenID Connect
//! Front-Channel Logout 1.0).

use url::Url;

use super::Auth;
use super::params::{Duplicate, Params};
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::oidc::discovery::Metadata;
use crate::reply::{Reply, empty_frame};
use crate::session::store::Whose;

impl Auth {
    /// Ends the sessions of a `sid`, which only provider and gateway know (contract 16.9).
    ///
    /// # Errors
    /// [`Error::BadRequest`]; [`Error::ProviderUnavailable`], [`Error::KeysUnavailable`], [`Error::StoreUnavailable`].
    pub async fn frontchannel_logout(&self, query: &str, now: UnixSeconds) -> Result<Reply, Error> {
        let mut params = Params::parse(query);
        let Some(sid) = params.take_single("sid").filter(|sid| !sid.is_empty()) else {
            return Err(Error::BadRequest("sid is not there exactly once"));
        };
        let metadata = self.provider.metadata().await.map_err(|_| Error::ProviderUnavailable)?;
        let is_issuer = match params.take("iss") {
            Ok(None) => true,
            Ok(Some(iss)) => self.provider.is_issuer(&metadata, &iss),
            Err(Duplicate) => false,
        };
        if !is_issuer {
            return Err(Error::BadRequest("iss is not the configured provider"));
        }
        let whose = Whose::ProviderSession { issuer: metadata.issuer.clone(), sid };
        self.sessions.end_all(&whose, now).await?;
        Ok(empty_frame(&self.sign_out_origins(&metadata)))
    }

    /// The origins of the pages at which the provider signs a user out.
    fn sign_out_origins(&self, metadata: &Metadata) -> Vec<String> {
        let end_session = self.config.end_session_url.as_ref().or(metadata.end_session_endpoint.as_ref());
        let pages = [Some(&metadata.authorization_endpoint), end_session];
        let mut origins: Vec<_> =
            pages.into_iter().flatten().map(Url::origin).map(|of| of.ascii_serialization()).collect();
        origins.dedup();
        origins
    }
}
