//! Where the SPA is: a folder of the app, or a static website.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ConfigParser, PREFIX, app_root};
use crate::api_map::base::Base;
use crate::origin::Origin;
use crate::spa::site::Site;
use crate::spa::{Folder, Spa};

impl ConfigParser<'_> {
    pub(super) fn spa(&mut self, public_origin: Option<&Origin>) -> Option<Spa> {
        let root = app_root(self.vars);
        match self.get("SPA") {
            Some("none") => None,
            Some(url) if url.contains("://") => self.site(url, public_origin),
            Some(path) => self.folder(&root, &root.join(path)),
            None if root.join("web/dist").is_dir() => self.folder(&root, &root.join("web/dist")),
            None => None,
        }
    }

    fn site(&mut self, url: &str, public_origin: Option<&Origin>) -> Option<Spa> {
        let base = Base::parse(url).map_err(|_| "as a URL is https (http on loopback only) without query or fragment");
        let base = self.or_record("SPA", base)?;
        if public_origin.is_some_and(|origin| url.starts_with(origin.as_str())) {
            self.fault("SPA", format!("is {PREFIX}PUBLIC_ORIGIN itself; name the website behind it"));
        }
        Some(Spa::Site(Box::new(Site::new(base, Arc::clone(&self.net)))))
    }

    fn folder(&mut self, root: &Path, folder: &Path) -> Option<Spa> {
        let folder = self.or_record("SPA", Folder::open(folder))?;
        let key_file = self.get("KEY_FILE").and_then(|path| resolved(Path::new(path)));
        if key_file.is_some_and(|key_file| key_file.starts_with(folder.root())) {
            self.fault("SPA", format!("holds the file of {PREFIX}KEY_FILE, which would be served"));
        }
        if root.canonicalize().is_ok_and(|root| root.starts_with(folder.root())) {
            self.fault("SPA", "holds the gateway itself, whose settings would be served");
        }
        Some(Spa::Folder(folder))
    }
}

/// A path with its links resolved. The file need not be there yet; its folder must.
fn resolved(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
