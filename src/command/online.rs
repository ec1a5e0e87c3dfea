//! `cloakroom check --online`: asks the source of the keys and the provider what serving would ask them.

use std::sync::Arc;

use crate::clock;
use crate::config::{Config, Keys};
use crate::keyring::rotate::{self, VersionState};
use crate::keyring::states::State;
use crate::oidc::Provider;

/// What was asked, and what came of it: a sentence either way.
pub(super) type Finding = (&'static str, Result<String, String>);

/// Asks everything, and tells of each what is there or what is missing.
pub(super) async fn findings(config: Config) -> Vec<Finding> {
    let keys = keys(&config.keys).await;
    let provider = provider(&Provider::new(config.provider, Arc::clone(&config.net))).await;
    vec![("keys", keys), ("provider", provider)]
}

async fn keys(keys: &Keys) -> Result<String, String> {
    let listed = rotate::list(keys.source.as_ref(), clock::now(), &keys.parameters).await;
    let listed = listed.map_err(super::down)?;
    if listed.is_empty() {
        return Err("the ring is empty: cloakroom keys rotate makes the first key; \
             a secret that was deleted comes back by az keyvault secret recover"
            .to_owned());
    }
    let seals = listed.iter().find(|VersionState { state, .. }| *state == State::Active);
    let seals = seals.ok_or("no version is enabled and a key: cloakroom keys rotate makes one")?;
    Ok(format!("{} seals, versions in all: {}", seals.version.kid, listed.len()))
}

async fn provider(provider: &Provider) -> Result<String, String> {
    let metadata = provider.metadata().await.map_err(|_| {
        "its metadata cannot be loaded; the line above says why. Is the tenant or the authority right?".to_owned()
    })?;
    if provider.is_down() {
        return Err("its signing keys cannot be loaded; the line above says why".to_owned());
    }
    Ok(format!("metadata and signing keys of {} are there", metadata.issuer))
}
