//! The origins of the gateway and the SPA, and those whose scripts may call.

use std::sync::Arc;

use http::HeaderValue;

use super::{ConfigParser, Parsed, Recorded};
use crate::config::PREFIX;
use crate::config::settings::{ALLOWED_ORIGINS, HSTS, RETURN_URI, SAMESITE};
use crate::functions::platform_cors::missing_origins;
use crate::guard::origins::Origins;
use crate::guard::return_to::ReturnTo;
use crate::origin::{Origin, is_loopback};
use crate::reply::CommonHeaders;

impl ConfigParser<'_> {
    /// The origins, and where the browser goes after a sign-in without a return path. `RETURN_URI` decides which of the
    /// origins is the SPA's (contract 3.39).
    pub(super) fn origins(&mut self, public: Option<&Origin>, reserved: &[String]) -> Parsed<(Arc<Origins>, ReturnTo)> {
        const RULE: &str = "must be a path of the SPA, or a URL on the origin of CLOAKROOM_PUBLIC_ORIGIN or one of \
                            CLOAKROOM_ALLOWED_ORIGINS";
        let allowed = self.allowed_origins();
        let text = self.text(&RETURN_URI);
        let (Some(public), Ok(allowed)) = (public.cloned(), allowed) else {
            // They were recorded as errors already. Whether a path is valid depends on none of them.
            let any = Origin::parse("https://localhost").ok().filter(|_| text.starts_with('/'));
            if any.is_some_and(|any| ReturnTo::parse(text, &any, reserved).is_none()) {
                self.record(&RETURN_URI, RULE);
            }
            return Err(Recorded(()));
        };
        // The rest is taken as it was written, since a return path is not normalised.
        let (origin, rest) = split_origin(text);
        let path_on = |of: &Origin| {
            let is_same = origin.as_ref().is_some_and(|origin| origin == of);
            let rest = if rest.is_empty() { "/" } else { rest };
            Some(rest).filter(|rest| is_same && rest.starts_with('/'))
        };
        let absolute =
            [&public].into_iter().chain(&allowed).find_map(|origin| Some((origin.clone(), path_on(origin)?)));
        let (spa, path) = absolute.unwrap_or_else(|| (public.clone(), text));
        let return_uri = self.or_record(&RETURN_URI, ReturnTo::parse(path, &spa, reserved).ok_or(RULE))?;
        let cross_site = self.text(&SAMESITE) == "none";
        Ok((Arc::new(Origins { public, spa, allowed, cross_site }), return_uri))
    }

    /// What every response carries (contract 8.9a).
    pub(super) fn common_headers(&mut self, origins: Option<&Origins>) -> Parsed<CommonHeaders> {
        let is_public_host = |origin: &Origin| {
            let url = origin.url();
            url.scheme() == "https" && url.port().is_none() && url.domain().is_some() && !is_loopback(url)
        };
        let hsts = match self.set_value(&HSTS) {
            None if origins.is_some_and(|origins| is_public_host(&origins.public)) => {
                Ok(Some(HeaderValue::from_static("max-age=31536000")))
            }
            None | Some("none") => Ok(None),
            Some(value) => {
                let value = HeaderValue::from_str(value).ok().filter(|_| value.starts_with("max-age="));
                self.or_record(&HSTS, value.map(Some).ok_or("must begin with max-age=, or be none"))
            }
        };
        let resource_policy = match origins {
            Some(origins) if !origins.allowed.is_empty() && origins.cross_site => "cross-origin",
            Some(origins) if !origins.allowed.is_empty() => "same-site",
            _ => "same-origin",
        };
        Ok(CommonHeaders { hsts: hsts?, resource_policy: HeaderValue::from_static(resource_policy) })
    }

    /// Warns of what the platform contradicts: its CORS list, where the host answers preflights by it (contract 9.11).
    pub(super) fn misconfigured(&mut self, origins: Option<&Origins>) -> Vec<&'static str> {
        let allowed = origins.map_or(&[][..], |origins| &origins.allowed);
        let (plan, list) = (self.vars.get("WEBSITE_SKU"), self.vars.get("CORS_ALLOWED_ORIGINS"));
        let missing: Vec<String> = missing_origins(plan, list, allowed).iter().map(Origin::to_string).collect();
        if missing.is_empty() {
            return Vec::new();
        }
        self.warnings.push(format!(
            "{PREFIX}ALLOWED_ORIGINS: on this plan the host answers preflights by the platform's CORS list, which lacks \
             {}; add them there and allow credentials, otherwise their pages cannot call",
            missing.join(", ")
        ));
        vec!["platform_cors"]
    }

    fn allowed_origins(&mut self) -> Parsed<Vec<Origin>> {
        const RULE: &str =
            "must be origins separated by commas, each scheme, host and port only (http only on loopback)";
        let Some(list) = self.set_value(&ALLOWED_ORIGINS) else { return Ok(Vec::new()) };
        let origins: Result<Vec<Origin>, &str> = list.split(',').map(|one| Origin::parse(one.trim())).collect();
        self.or_record(&ALLOWED_ORIGINS, origins.map_err(|_| RULE))
    }
}

/// The origin of an absolute URL, if it is one, and what follows it.
fn split_origin(text: &str) -> (Option<Origin>, &str) {
    let authority = text.find("://").map_or(0, |at| at + 3);
    let end = text.get(authority..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(text.len(), |at| authority + at);
    let (origin, rest) = text.split_at(end);
    (Origin::parse(origin).ok(), rest)
}
