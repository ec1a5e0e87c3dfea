//! `cloakroom check --online` reports what is missing, with the command that fixes it.

use std::process::Command;

use devkit::vault::{Fault, Operation};

use crate::app::{BINARY, TestApp};
use crate::key_vault::Setup;

/// Runs the check with an app's settings and one more; returns the exit code and the output.
fn check(app: &TestApp, name: &str, value: &str) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(["check", "--online"]).env_clear().envs(&app.settings);
    if !name.is_empty() {
        command.env(name, value);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_reports_what_is_missing_and_how_to_fix_it() {
    let Setup { cloud, vault } = Setup::empty().await;
    let app = cloud.gateway().impatient().start().await;
    let (code, said) = check(&app, "", "");
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("keys: the key ring is empty; create the first key with `cloakroom keys rotate`"), "{said}");
    assert!(said.contains("provider: loaded metadata and signing keys of"), "{said}");
    assert_eq!(cloud.keys(&["rotate"]).0, Some(0));
    let (code, said) = check(&app, "", "");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the configuration is valid") && said.contains("; versions in total: 1"), "{said}");
    for (operation, fault, remedy) in [
        (Operation::List, Fault::ForbiddenByRbac, "List of cloakroom-keys: 403 Forbidden ForbiddenByRbac"),
        (Operation::Get, Fault::ForbiddenByRbac, "Get of cloakroom-keys: 403 Forbidden ForbiddenByRbac"),
        (Operation::Get, Fault::ForbiddenByRbac, "az role assignment create --role \"Key Vault Secrets User\""),
        (Operation::List, Fault::ForbiddenByFirewall, "az keyvault network-rule add"),
        (Operation::List, Fault::HangUp, "az keyvault show"),
    ] {
        vault.fault(&[operation], fault);
        let (code, said) = check(&app, "", "");
        assert_eq!(code, Some(69), "{fault:?}: {said}");
        assert!(said.contains(remedy), "{fault:?}: {said}");
        vault.clear_faults();
    }
    for (name, value, remedy) in [
        ("CLOAKROOM_KEY_NAME", "another-name", "az keyvault secret recover"),
        ("CLOAKROOM_KEY_VAULT_URL", "https://localhost:9", "az keyvault show"),
        ("CLOAKROOM_AUTHORITY", "http://127.0.0.1:9", "provider: its metadata cannot be loaded"),
        ("IDENTITY_HEADER", "wrong", "check the app's managed identity"),
    ] {
        let (code, said) = check(&app, name, value);
        assert_eq!(code, Some(69), "{name}: {said}");
        assert!(said.contains(remedy), "{name}: {said}");
    }
    vault.disable("cloakroom-keys", &vault.versions("cloakroom-keys")[0].id);
    let (code, said) = check(&app, "", "");
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("no version is enabled and valid"), "{said}");
}
