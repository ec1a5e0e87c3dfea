//! The SPA: a folder of the app, or a static website that the gateway fronts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use url::{Host, Url};

use super::{ConfigParser, Parsed};
use crate::api_map::base::Base;
use crate::config::settings::{KEY_FILE, SPA, SPA_FRAME_ANCESTORS, SPA_IMMUTABLE, SPA_OPENER_POLICY};
use crate::config::{PREFIX, app_root};
use crate::origin::Origin;
use crate::spa::site::Site;
use crate::spa::{FileHeaders, Folder, Spa};

/// The folder that is served if the setting is absent.
const DEFAULT_FOLDER: &str = "web/dist";

impl ConfigParser<'_> {
    pub(super) fn spa(&mut self, public_origin: Option<&Origin>) -> Parsed<Option<Spa>> {
        let root = app_root(self.vars);
        let headers = self.file_headers();
        match self.set_value(&SPA) {
            Some("none") => headers.map(|_| None),
            Some(url) if url.contains("://") => self.site(url, public_origin, headers).map(Some),
            Some(path) => self.folder(&root, &root.join(path), headers).map(Some),
            None if root.join(DEFAULT_FOLDER).is_dir() => {
                self.folder(&root, &root.join(DEFAULT_FOLDER), headers).map(Some)
            }
            None => headers.map(|_| None),
        }
    }

    fn file_headers(&mut self) -> Parsed<FileHeaders> {
        const FOLDERS: &str = "must be folders of the SPA, separated by commas, such as assets,static/js";
        let folder = |text: &str| {
            let text = text.trim().trim_matches('/');
            (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| format!("/{text}/"))
        };
        let folders: Option<Vec<String>> = self.text(&SPA_IMMUTABLE).split(',').map(folder).collect();
        let immutable = self.or_record(&SPA_IMMUTABLE, folders.ok_or(FOLDERS));
        let frame_policy = match self.text(&SPA_FRAME_ANCESTORS) {
            "none" => Ok(None),
            sources => {
                let sources: Option<Vec<String>> = sources.split(' ').map(ascii_source).collect();
                let policy = sources.map(|sources| format!("frame-ancestors {}", sources.join(" ")));
                let policy = policy.and_then(|policy| HeaderValue::try_from(policy).ok());
                let rule = "must be sources separated by spaces, such as 'self' https://a.example.org, or none";
                self.or_record(&SPA_FRAME_ANCESTORS, policy.map(Some).ok_or(rule))
            }
        };
        let policy = |value: &'static str| Some(HeaderValue::from_static(value));
        let opener_policy = match self.text(&SPA_OPENER_POLICY) {
            "same-origin" => Ok(policy("same-origin")),
            "same-origin-allow-popups" => Ok(policy("same-origin-allow-popups")),
            "noopener-allow-popups" => Ok(policy("noopener-allow-popups")),
            "unsafe-none" => Ok(policy("unsafe-none")),
            "none" => Ok(None),
            _ => {
                let rule = "must be same-origin, same-origin-allow-popups, noopener-allow-popups, unsafe-none or none";
                Err(self.record(&SPA_OPENER_POLICY, rule))
            }
        };
        Ok(FileHeaders { immutable: immutable?, frame_policy: frame_policy?, opener_policy: opener_policy? })
    }

    fn site(&mut self, url: &str, public_origin: Option<&Origin>, headers: Parsed<FileHeaders>) -> Parsed<Spa> {
        let base = self.or_record(&SPA, Base::parse(url))?;
        let origin = Url::parse(url).map(|url| url.origin().ascii_serialization());
        if public_origin.is_some_and(|public| origin.is_ok_and(|origin| origin == public.as_str())) {
            let problem = format!("must not be {PREFIX}PUBLIC_ORIGIN itself; set the URL of the website");
            return Err(self.record(&SPA, problem));
        }
        Ok(Spa::Site(Box::new(Site::new(base, Arc::clone(&self.net), headers?))))
    }

    fn folder(&mut self, root: &Path, folder: &Path, headers: Parsed<FileHeaders>) -> Parsed<Spa> {
        let opened = self.or_record(&SPA, Folder::root_of(folder))?;
        let key_file = self.set_value(&KEY_FILE).and_then(|path| resolve(Path::new(path)));
        if key_file.is_some_and(|key_file| key_file.starts_with(&opened)) {
            let problem = format!("must not contain the file of {PREFIX}KEY_FILE, which would be served");
            return Err(self.record(&SPA, problem));
        }
        if root.canonicalize().is_ok_and(|root| root.starts_with(&opened)) {
            return Err(self.record(&SPA, "must not contain the gateway, whose settings would be served"));
        }
        Ok(Spa::Folder(Folder::new(opened, headers?)))
    }
}

/// A path without symbolic links. The file need not exist yet; its folder must.
fn resolve(path: &Path) -> Option<PathBuf> {
    if let Ok(resolved) = path.canonicalize() {
        return Some(resolved);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// A source of a Content Security Policy, with the host name in its ASCII form (contract 12.7). `None`, if it would end
/// the list or the policy, or is not text that a header has.
fn ascii_source(source: &str) -> Option<String> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b";,".contains(&byte));
    if is_plain(source) {
        return Some(source.to_owned());
    }
    let (scheme, rest) = source.split_at(source.find("://").map_or(0, |at| at + 3));
    let (host, rest) = rest.split_at(rest.find([':', '/']).unwrap_or(rest.len()));
    let host = Host::parse(host).ok()?;
    Some(format!("{scheme}{host}{rest}")).filter(|source| is_plain(source))
}
