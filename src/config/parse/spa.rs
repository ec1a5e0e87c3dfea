//! The SPA: a folder of the app, or a static website that the gateway fronts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::{ConfigParser, Parsed};
use crate::api_map::base::Base;
use crate::config::settings::{KEY_FILE, SPA};
use crate::config::{PREFIX, app_root};
use crate::origin::Origin;
use crate::spa::site::Site;
use crate::spa::{Folder, Spa};

/// The folder that is served if the setting is absent.
const DEFAULT_FOLDER: &str = "web/dist";

impl ConfigParser<'_> {
    pub(super) fn spa(&mut self, public_origin: Option<&Origin>) -> Parsed<Option<Spa>> {
        let root = app_root(self.vars);
        match self.set_value(&SPA) {
            Some("none") => Ok(None),
            Some(url) if url.contains("://") => self.site(url, public_origin).map(Some),
            Some(path) => self.folder(&root, &root.join(path)).map(Some),
            None if root.join(DEFAULT_FOLDER).is_dir() => self.folder(&root, &root.join(DEFAULT_FOLDER)).map(Some),
            None => Ok(None),
        }
    }

    fn site(&mut self, url: &str, public_origin: Option<&Origin>) -> Parsed<Spa> {
        let base = self.or_record(&SPA, Base::parse(url))?;
        let origin = Url::parse(url).map(|url| url.origin().ascii_serialization());
        if public_origin.is_some_and(|public| origin.is_ok_and(|origin| origin == public.as_str())) {
            let problem = format!("must not be {PREFIX}PUBLIC_ORIGIN itself; set the URL of the website");
            return Err(self.record(&SPA, problem));
        }
        Ok(Spa::Site(Box::new(Site::new(base, Arc::clone(&self.net)))))
    }

    fn folder(&mut self, root: &Path, folder: &Path) -> Parsed<Spa> {
        let folder = self.or_record(&SPA, Folder::open(folder))?;
        let key_file = self.set_value(&KEY_FILE).and_then(|path| resolve(Path::new(path)));
        if key_file.is_some_and(|key_file| key_file.starts_with(folder.root())) {
            let problem = format!("must not contain the file of {PREFIX}KEY_FILE, which would be served");
            return Err(self.record(&SPA, problem));
        }
        if root.canonicalize().is_ok_and(|root| root.starts_with(folder.root())) {
            return Err(self.record(&SPA, "must not contain the gateway, whose settings would be served"));
        }
        Ok(Spa::Folder(folder))
    }
}

/// A path without symbolic links. The file need not exist yet; its folder must.
fn resolve(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
