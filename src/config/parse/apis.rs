//! The API map: from the setting, else from `apis.json`, else the shipped one.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{ConfigParser, Parsed, Recorded};
use crate::api_map::ApiMap;
use crate::config::app_root;
use crate::config::settings::APIS;

const SHIPPED: &str = include_str!("../../../apis.json");

impl ConfigParser<'_> {
    pub(super) fn apis(&mut self) -> Parsed<Arc<ApiMap>> {
        let json = match self.set_value(&APIS) {
            Some(json) => json.to_owned(),
            None => match std::fs::read_to_string(app_root(self.vars).join("apis.json")) {
                Ok(json) => json,
                Err(error) if error.kind() == ErrorKind::NotFound => SHIPPED.to_owned(),
                Err(error) => {
                    return Err(self.record(&APIS, format!("is not set, and apis.json cannot be read: {error}")));
                }
            },
        };
        ApiMap::parse(&json).map(Arc::new).map_err(|problems| {
            for problem in problems {
                self.record(&APIS, format!("(or apis.json): {problem}"));
            }
            Recorded(())
        })
    }
}
