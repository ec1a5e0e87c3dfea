//! The origins: the gateway's own, those whose scripts may call, and where the page is.

use std::sync::Arc;

use super::{ConfigParser, PREFIX};
use crate::guard::origins::Origins;
use crate::guard::return_to::ReturnTo;
use crate::origin::Origin;

impl ConfigParser<'_> {
    /// The origins, and where the browser goes when nobody says where: a path of the page.
    pub(super) fn origins(&mut self, public: Origin, reserved: &[String]) -> Option<(Arc<Origins>, ReturnTo)> {
        let allowed = self.allowed_origins()?;
        let text = self.get("RETURN_URI").unwrap_or("/");
        let on = |origin: &Origin| {
            let rest = text.strip_prefix(origin.as_str())?;
            if rest.is_empty() { Some("/") } else { Some(rest).filter(|rest| rest.starts_with('/')) }
        };
        let absolute = [&public].into_iter().chain(&allowed).find_map(|origin| Some((origin.clone(), on(origin)?)));
        let (spa, path) = absolute.unwrap_or_else(|| (public.clone(), text));
        let return_uri = ReturnTo::parse(path, &spa, reserved).ok_or(format!(
            "is a path of the app, or one on {PREFIX}PUBLIC_ORIGIN or on one of {PREFIX}ALLOWED_ORIGINS"
        ));
        let return_uri = self.or_record("RETURN_URI", return_uri)?;
        let cross_site = self.get("SAMESITE") == Some("none");
        Some((Arc::new(Origins { public, spa, allowed, cross_site }), return_uri))
    }

    fn allowed_origins(&mut self) -> Option<Vec<Origin>> {
        let Some(list) = self.get("ALLOWED_ORIGINS") else { return Some(Vec::new()) };
        let origins: Result<Vec<Origin>, &str> = list.split(',').map(|one| Origin::parse(one.trim())).collect();
        let rule = |_| "is origins, comma-separated, each scheme, host and port only (http on loopback only)";
        self.or_record("ALLOWED_ORIGINS", origins.map_err(rule))
    }
}
