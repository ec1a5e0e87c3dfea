//! Settings of the endpoints under `/auth`.

use std::sync::Arc;

use super::{ConfigParser, Parsed};
use crate::api_map::ApiMap;
use crate::auth::{Config, ResponseMode};
use crate::config::settings::{RESPONSE_MODE, SCOPES};
use crate::origin::Origin;

/// Path prefixes that the gateway serves itself, besides the routes of the APIs (contract 3.40).
const OWN_PATHS: [&str; 4] = ["/auth", "/health", "/api", "/rotate-keys"];

impl ConfigParser<'_> {
    pub(super) fn response_mode(&mut self) -> Parsed<ResponseMode> {
        self.choice(&RESPONSE_MODE, &[("query", ResponseMode::Query), ("form_post", ResponseMode::FormPost)])
    }

    /// `None` for what was recorded as an error already; the other settings are checked all the same.
    pub(super) fn auth(
        &mut self,
        public: Option<&Origin>,
        response_mode: Parsed<ResponseMode>,
        apis: Option<&Arc<ApiMap>>,
    ) -> Parsed<Config> {
        let apis = apis.map_or_else(Arc::default, Arc::clone);
        let reserved: Vec<String> =
            OWN_PATHS.into_iter().chain(apis.iter().map(|api| api.route.as_str())).map(str::to_owned).collect();
        let (origins, scopes) = (self.origins(public, &reserved), self.scopes());
        let (origins, return_uri) = origins?;
        Ok(Config { origins, return_uri, scopes: scopes?, response_mode: response_mode?, reserved, apis })
    }

    fn scopes(&mut self) -> Parsed<Vec<String>> {
        const RULE: &str = "must be scopes separated by spaces, and contain openid";
        let text = self.text(&SCOPES);
        let scopes: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        let is_valid = scopes.iter().any(|scope| scope == "openid") && text.is_ascii();
        self.or_record(&SCOPES, is_valid.then_some(scopes).ok_or(RULE))
    }
}
