//! `cloakroom check --online`: sends the key source, the provider and the session store the requests that
//! serving would send.

use std::sync::Arc;

use super::{rfc3339, unavailable};
use crate::clock;
use crate::config::{Config, Keys};
use crate::keyring::SourceUnavailable;
use crate::keyring::revocations::cache as revocations;
use crate::keyring::rotate::{self, VersionState};
use crate::keyring::states::State;
use crate::net::OutboundClients;
use crate::oidc::Provider;
use crate::store::StoreConfig;
use crate::store::redis::Config as RedisConfig;
use crate::store::redis::client::Client as RedisClient;

/// A part of the configuration, and one sentence: what was found, or what is wrong.
pub(super) type Finding = (&'static str, Result<String, String>);

pub(super) async fn findings(config: Config) -> Vec<Finding> {
    let keys = keys(&config.keys).await;
    let provider = provider(&Provider::new(config.provider, Arc::clone(&config.net))).await;
    let revocations = revocations(&config.keys).await;
    let mut findings = vec![("keys", keys), ("provider", provider), ("revocations", revocations)];
    if let StoreConfig::Redis(redis) = config.store {
        findings.push(("store", store(redis, config.net).await));
    }
    findings
}

async fn store(config: RedisConfig, net: Arc<OutboundClients>) -> Result<String, String> {
    let server = format!("{}:{}", config.host, config.port);
    RedisClient::new(config, net).check().await?;
    Ok(format!("{server} responds, and can be written to"))
}

async fn keys(keys: &Keys) -> Result<String, String> {
    let versions = rotate::list(keys.source.as_ref(), clock::now(), &keys.parameters).await.map_err(unavailable)?;
    if versions.is_empty() {
        return Err("the key ring is empty; create the first key with `cloakroom keys rotate`, \
             or restore a deleted secret with `az keyvault secret recover`"
            .to_owned());
    }
    let active = versions.iter().find(|VersionState { state, .. }| *state == State::Active);
    let active = active.ok_or("no version is enabled and valid; create one with `cloakroom keys rotate`")?;
    Ok(format!("the active key is {}; versions in total: {}", active.version.kid, versions.len()))
}

async fn revocations(keys: &Keys) -> Result<String, String> {
    if !keys.source.has_revocations() {
        return Ok(
            "this key source holds no list, so that `cloakroom sessions end` ends only what is in a session store"
                .to_owned(),
        );
    }
    let list = revocations::read(keys.source.as_ref(), clock::now(), keys.clock_skew).await;
    let SourceUnavailable(problem) = match list {
        Ok(None) => return Ok("there is no list: no sessions were ended by a command".to_owned()),
        Ok(Some(list)) => {
            let all = list.all().map_or_else(|| "never".to_owned(), rfc3339);
            return Ok(format!("sessions of all users were last ended at: {all}; users in the list: {}", list.users()));
        }
        Err(unavailable) => unavailable,
    };
    Err(problem)
}

async fn provider(provider: &Provider) -> Result<String, String> {
    let metadata = provider.metadata().await.map_err(|_| {
        "its metadata cannot be loaded, for the reason in the line above; check tenant and authority".to_owned()
    })?;
    if provider.is_down() {
        return Err("its signing keys cannot be loaded, for the reason in the line above".to_owned());
    }
    Ok(format!("loaded metadata and signing keys of {}", metadata.issuer))
}
