//! Names and attributes of the cookies (contract 4.1, 4.6, 4.9).

use url::Host;

use super::{ConfigParser, Parsed};
use crate::auth::ResponseMode;
use crate::config::PREFIX;
use crate::config::settings::{COOKIE_BUDGET, COOKIE_DOMAIN, COOKIE_NAME, SAMESITE, SESSION_PERSIST};
use crate::origin::Origin;
use crate::session::cookie::{self, Persistence, SameSite};

/// Ends of the names of other cookies of a session (contract 4.2, 4.24a).
const OTHER_COOKIES: [&str; 4] = ["-1", "-2", "-3", "-id"];

impl ConfigParser<'_> {
    pub(super) fn cookies(
        &mut self,
        public_origin: Option<&Origin>,
        response_mode: Option<ResponseMode>,
    ) -> Parsed<cookie::Settings> {
        let (name, domain) = (self.cookie_name(), self.cookie_domain(public_origin));
        let (same_site, budget) = (self.same_site(), self.cookie_budget());
        let choices = [("off", Persistence::Off), ("on", Persistence::On), ("ask", Persistence::Ask)];
        let persistence = self.choice(&SESSION_PERSIST, &choices);
        let domain = domain?;
        let prefix = if domain.is_some() { "__Secure-" } else { "__Host-Http-" };
        // A form that the provider's page posts is a request from another site.
        let from_other_sites = response_mode == Some(ResponseMode::FormPost);
        let login_same_site = if from_other_sites { SameSite::None } else { SameSite::Lax };
        Ok(cookie::Settings {
            name: format!("{prefix}{}", name?),
            domain,
            same_site: same_site?,
            login_same_site,
            budget: budget?,
            persistence: persistence?,
        })
    }

    fn cookie_name(&mut self) -> Parsed<String> {
        const RULE: &str = "must be at most 64 letters, digits, hyphens, underscores and dots, without the prefix";
        let name = self.text(&COOKIE_NAME);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_valid = name.len() <= 64 && !name.starts_with("__") && name.bytes().all(allowed);
        let is_ambiguous = OTHER_COOKIES.iter().any(|end| name.ends_with(end)) || name.contains("-login-");
        let checked = match (is_valid, is_ambiguous) {
            (true, false) => Ok(name.to_owned()),
            (true, true) => Err("must not end in -1, -2, -3 or -id, or contain -login-: other cookies have such names"),
            (false, _) => Err(RULE),
        };
        self.or_record(&COOKIE_NAME, checked)
    }

    fn cookie_domain(&mut self, public_origin: Option<&Origin>) -> Parsed<Option<String>> {
        let Some(domain) = self.set_value(&COOKIE_DOMAIN) else { return Ok(None) };
        // As the parser of URLs writes host names: in lower case, and in ASCII (contract 12.7).
        let domain = domain.trim_start_matches('.');
        let domain = Host::parse(domain).map_or_else(|_| domain.to_owned(), |host| host.to_string());
        let covers = |origin: &Origin| match origin.url().host() {
            Some(Host::Domain(host)) => host == domain || host.ends_with(&format!(".{domain}")),
            _ => false,
        };
        // Without a public origin there is nothing to compare with, and the start fails anyway.
        if domain.contains('.') && public_origin.is_none_or(covers) {
            return Ok(Some(domain));
        }
        Err(self.record(&COOKIE_DOMAIN, format!("must be the host of {PREFIX}PUBLIC_ORIGIN or a parent domain of it")))
    }

    fn same_site(&mut self) -> Parsed<SameSite> {
        let choices = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
        let same_site = self.choice(&SAMESITE, &choices)?;
        if same_site == SameSite::None {
            self.warnings.push(format!("{PREFIX}SAMESITE=none sends the session cookie with requests from any site"));
        }
        Ok(same_site)
    }

    fn cookie_budget(&mut self) -> Parsed<usize> {
        let budget = self.text(&COOKIE_BUDGET).parse().ok().filter(|bytes| (1_000..=16_000).contains(bytes));
        self.or_record(&COOKIE_BUDGET, budget.ok_or("must be a number of bytes from 1000 to 16000"))
    }
}
