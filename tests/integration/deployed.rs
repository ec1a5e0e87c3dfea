//! What is deployed: the settings in `deploy/`, read by the real binary (contract 12.2, 17.1, 17.6); support policy.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::app::{BINARY, ROOT};

/// What readers fill in, with an example of each.
const BLANKS: &[(&str, &str)] = &[
    ("<tenant id>", "11111111-2222-3333-4444-555555555555"),
    ("<application (client) id>", "66666666-7777-8888-9999-000000000000"),
    ("<client id>", "some-client"),
    ("<issuer of the provider>", "issuer.example.org"),
    ("<name>.<region>", "some-redis.westeurope"),
    ("<vault>", "some-vault"),
];
/// What a Secret, a file of root, or the webhook of the cluster adds.
const SECRETS: &[(&str, &str)] =
    &[("CLOAKROOM_CLIENT_SECRET", "secret"), ("CLOAKROOM_ENC_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")];
const WORKLOAD_IDENTITY: &[(&str, &str)] = &[
    ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
    ("AZURE_CLIENT_ID", "22222222-3333-4444-5555-666666666666"),
    ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"),
    ("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555"),
];

/// The lines `NAME=value` of a file, after a start of the line, filled in.
fn settings(path: &str, start: &str) -> BTreeMap<String, String> {
    let mut text = std::fs::read_to_string(Path::new(ROOT).join("deploy").join(path)).unwrap();
    for (blank, example) in BLANKS {
        text = text.replace(blank, example);
    }
    assert!(!text.contains("=<") && !text.contains("//<"), "a blank of {path} is not in BLANKS");
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(start)?.split_once('='));
    lines.filter(|(name, _)| name.starts_with("CLOAKROOM_")).map(|(name, value)| (name.into(), value.into())).collect()
}

/// Fails unless the settings are valid, without a warning.
#[track_caller]
fn assert_valid(parts: &[BTreeMap<String, String>], added: &[(&str, &str)]) {
    let settings: BTreeMap<_, _> = parts.iter().flatten().collect();
    let output = Command::new(BINARY).arg("check").env_clear().envs(settings).envs(added.iter().copied()).output();
    let output = output.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("the configuration is valid\n") && !text.contains("CLOAKROOM_"), "a warning: {text}");
}

#[test]
fn the_support_policy_is_the_same_on_both_pages() {
    let table = |page: &str| {
        let text = std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
        let rows =
            text.lines().skip_while(|line| *line != "| version | fixes |").take_while(|line| line.starts_with('|'));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(table("SECURITY.md").len() > 3);
    assert_eq!(table("SECURITY.md"), table("docs/upgrade.md"));
}

#[test]
fn the_settings_of_every_kubernetes_deployment_are_valid() {
    let (base, azure) = (settings("kubernetes/base/settings.env", ""), settings("kubernetes/azure/settings.env", ""));
    let redis = settings("kubernetes/redis/kustomization.yaml", "- ");
    assert_eq!(redis.keys().collect::<Vec<_>>(), ["CLOAKROOM_STORE"]);
    assert_valid(&[base.clone(), azure.clone()], WORKLOAD_IDENTITY);
    assert_valid(&[base.clone(), azure, redis], WORKLOAD_IDENTITY);
    assert_valid(&[base, settings("kubernetes/secret/settings.env", "")], SECRETS);
}

#[test]
fn the_settings_of_the_unit_are_valid_with_those_that_the_docs_name() {
    let unit = settings("systemd/cloakroom.service", "Environment=");
    assert_eq!(unit.keys().collect::<Vec<_>>(), ["CLOAKROOM_KEY_FILE", "CLOAKROOM_LISTEN"]);
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/deploy-server.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.trim().strip_prefix("CLOAKROOM_")?.split_once('='));
    let named: Vec<(String, String)> = lines.map(|(name, value)| (format!("CLOAKROOM_{name}"), value.into())).collect();
    assert!(named.len() > 3, "{named:?}");
    assert_valid(&[unit, named.into_iter().collect()], &[]);
}
