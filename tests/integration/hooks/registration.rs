//! The hooks that register the application and trust the identity, with an `az` and an `azd` that record their calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use tempfile::TempDir;

use super::{read, script};

/// `az` and `azd` in one. `$STAGE/uris` contains the redirect URIs, `$STAGE/trusted` whether the identity is trusted,
/// `$STAGE/existing` the application of the name, `$STAGE/current` the tenant that az is signed in to, and
/// `$STAGE/denied` how a command begins that fails. Every command is recorded, those that change something as changes,
/// whose effect the next command finds.
const AZ_AD: &str = r#"#!/bin/sh
for argument; do printf '%s|' "$argument"; done >> "$STAGE/recorded"
echo >> "$STAGE/recorded"
denied=$(cat "$STAGE/denied")
case "$*" in
"${denied:-nothing}"*) exit 1 ;;
esac
case "$*" in
*create*|*update*|"env set "*) tail -n 1 "$STAGE/recorded" >> "$STAGE/changes" ;;
esac
case "$*" in
"ad app show "*) cat "$STAGE/uris" ;;
"ad app federated-credential list "*) cat "$STAGE/trusted" ;;
"ad app list "*) cat "$STAGE/existing" ;;
"ad app create "*) echo client-1 | tee "$STAGE/existing" ;;
"ad app update --id client-1 --web-redirect-uris "*) shift 6 && printf '%s\n' "$@" > "$STAGE/uris" ;;
"ad app federated-credential create "*) echo 1 > "$STAGE/trusted" ;;
"account show --subscription unknown "*) exit 1 ;;
"account show --subscription "*) echo tenant-1 ;;
"account show "*) cat "$STAGE/current" ;;
esac
exit 0
"#;
const OUTPUTS: [(&str, &str); 4] = [
    ("AZURE_SUBSCRIPTION_ID", "subscription-1"),
    ("CLOAKROOM_CLIENT_ID", "client-1"),
    ("CLOAKROOM_PUBLIC_ORIGIN", "https://new.example"),
    ("AZURE_IDENTITY_PRINCIPAL_ID", "principal-1"),
];
/// A first run: no application yet.
const FIRST: [(&str, &str); 2] = [("AZURE_ENV_NAME", "trial"), ("AZURE_SUBSCRIPTION_ID", "subscription-1")];

fn registration() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = "https://old.example/auth/callback\nhttps://old.example/auth/logout\n";
    let texts = [("az", AZ_AD), ("azd", AZ_AD), ("uris", old), ("trusted", "0\n"), ("current", "tenant-1\n")];
    let empty = ["recorded", "changes", "denied", "existing"].map(|name| (name, ""));
    for (name, text) in texts.into_iter().chain(empty) {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn set(stage: &TempDir, name: &str, text: &str) {
    fs::write(stage.path().join(name), text).unwrap();
}

fn register(stage: &TempDir, env: &[(&str, &str)]) -> Output {
    script(stage, "register-app.sh", &[], env)
}

fn trust(stage: &TempDir, env: &[(&str, &str)]) -> Output {
    script(stage, "trust-identity.sh", &[], env)
}

#[test]
fn a_registration_keeps_its_redirect_uris_and_trusts_the_identity_once() {
    let stage = registration();
    assert!(trust(&stage, &OUTPUTS).status.success());
    let changes = read(&stage, "changes");
    let [update, credential] = changes.splitn(2, '\n').collect::<Vec<_>>()[..] else { panic!("{changes}") };
    let uris = "--web-redirect-uris|https://old.example/auth/callback|https://old.example/auth/logout|\
                https://new.example/auth/callback|https://new.example/auth/logout|";
    assert!(update.ends_with(uris), "{update}");
    assert!(!credential.is_empty(), "{changes}");
    let recorded = read(&stage, "recorded");
    let json = recorded.split("--parameters|").nth(1).unwrap().trim().trim_end_matches('|');
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&json["subject"], &json["name"]), (&"principal-1".into(), &"identity-principal-1".into()));
    assert_eq!(json["issuer"], "https://login.microsoftonline.com/tenant-1/v2.0");
    assert_eq!(json["audiences"], serde_json::json!(["api://AzureADTokenExchange"]));

    set(&stage, "uris", "https://new.example/auth/callback\n");
    set(&stage, "trusted", "1\n");
    set(&stage, "changes", "");
    assert!(trust(&stage, &OUTPUTS).status.success());
    let uris = "--web-redirect-uris|https://new.example/auth/callback|https://new.example/auth/logout|\n";
    assert!(read(&stage, "changes").ends_with(uris), "the one that is missing is added");

    set(&stage, "uris", "https://new.example/auth/callback\nhttps://new.example/auth/logout\n");
    set(&stage, "changes", "");
    assert!(trust(&stage, &OUTPUTS).status.success());
    assert_eq!(read(&stage, "changes"), "", "what exists is not changed");
}

#[test]
fn a_slash_at_the_end_of_the_origin_is_not_in_the_redirect_uris() {
    let stage = registration();
    let outputs =
        OUTPUTS.map(|(name, value)| (name, if value.starts_with("https") { "https://new.example/" } else { value }));
    assert!(trust(&stage, &outputs).status.success());
    let changes = read(&stage, "changes");
    assert!(changes.contains("|https://new.example/auth/callback|") && !changes.contains("example//"), "{changes}");
}

#[test]
fn an_application_is_registered_once_and_without_a_secret() {
    let stage = registration();
    assert!(register(&stage, &OUTPUTS).status.success());
    assert_eq!(read(&stage, "changes"), "", "the second run uses the configured one");
    assert!(!read(&stage, "recorded").contains("ad|app|list"), "and does not search for another");
    set(&stage, "denied", "ad sp show");
    let output = register(&stage, &FIRST);
    assert!(output.status.success(), "{output:?}");
    let changes = read(&stage, "changes");
    let [app, kept, principal] = changes.lines().collect::<Vec<_>>()[..] else { panic!("{changes}") };
    let name = app.split("--display-name|cloakroom-trial-").nth(1).unwrap().split('|').next().unwrap();
    assert!(name.parse::<u32>().is_ok(), "az would change an existing application of that name: {app}");
    assert_eq!(
        (kept, principal),
        ("env|set|CLOAKROOM_CLIENT_ID|client-1|", "ad|sp|create|--id|client-1|--output|none|")
    );
    assert!(!changes.contains("credential") && !changes.contains("password"), "{changes}");

    set(&stage, "existing", "");
    let elsewhere = [("AZURE_ENV_NAME", "trial"), ("AZURE_SUBSCRIPTION_ID", "subscription-2")];
    assert!(register(&stage, &elsewhere).status.success());
    assert!(!read(&stage, "changes").lines().nth(3).unwrap().contains(name), "each subscription has its own name");
}

#[test]
fn an_existing_application_of_the_name_is_not_taken_over() {
    let stage = registration();
    set(&stage, "existing", "client-9\n");
    let output = register(&stage, &FIRST);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(read(&stage, "changes"), "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("azd env set CLOAKROOM_CLIENT_ID client-9") && said.contains("azd env new"), "{said}");
    let recorded = read(&stage, "recorded");
    assert!(
        recorded.contains("ad|app|list|--filter|displayName eq 'cloakroom-trial-"),
        "by its whole name: {recorded}"
    );
}

#[test]
fn of_several_subscriptions_the_one_of_azd_decides() {
    for outputs in [&FIRST[..], &OUTPUTS[..]] {
        let stage = registration();
        let hook = if outputs.len() == 2 { register } else { trust };
        assert!(hook(&stage, outputs).status.success());
        assert!(read(&stage, "recorded").starts_with("account|show|--subscription|subscription-1|"));
    }
    let stage = registration();
    let output = register(&stage, &[("AZURE_ENV_NAME", "trial")]);
    assert!(!output.status.success() && read(&stage, "recorded").is_empty(), "az's own is not taken: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("azd env set AZURE_SUBSCRIPTION_ID"), "{output:?}");
}

#[test]
fn in_another_tenant_nothing_is_changed() {
    for hook in [register, trust] {
        for subscription in ["subscription-1", "unknown"] {
            let stage = registration();
            set(&stage, "current", "tenant-2\n");
            let mut outputs = OUTPUTS.to_vec();
            outputs[0].1 = subscription;
            outputs.push(("AZURE_ENV_NAME", "trial"));
            let output = hook(&stage, &outputs);
            assert_eq!(output.status.code(), Some(1), "{subscription}");
            assert_eq!(read(&stage, "changes"), "", "{subscription}");
            assert!(!read(&stage, "recorded").contains("ad|"), "{subscription}");
            let said = String::from_utf8(output.stderr).unwrap();
            let advice = if subscription == "unknown" { "az login" } else { "az account set --subscription" };
            assert!(said.contains(advice), "{said}");
        }
    }
}

#[test]
fn after_a_failed_call_the_next_run_registers_the_only_application() {
    for (denied, changed) in [("account show", 0), ("ad app list", 0), ("ad app create", 0), ("env set", 1)] {
        let stage = registration();
        set(&stage, "denied", denied);
        let output = register(&stage, &FIRST);
        assert!(!output.status.success(), "{denied}: {output:?}");
        assert_eq!(read(&stage, "changes").lines().count(), changed, "{denied}");
        let said = String::from_utf8(output.stderr).unwrap();
        let advice = "azd env set CLOAKROOM_CLIENT_ID client-1";
        assert_eq!(said.contains(advice), denied == "env set", "{denied}: {said}");

        set(&stage, "denied", "");
        let output = register(&stage, &FIRST);
        if denied == "env set" {
            // The application exists but is in no environment: the script says again how to continue with it.
            assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(advice), "{output:?}");
            let output = register(&stage, &[&FIRST[..], &[("CLOAKROOM_CLIENT_ID", "client-1")]].concat());
            assert!(output.status.success(), "{output:?}");
            assert_eq!(read(&stage, "changes").lines().count(), changed, "no second application");
        } else {
            assert!(output.status.success(), "{denied}: {output:?}");
            let changes = read(&stage, "changes");
            let [app, kept] = changes.lines().collect::<Vec<_>>()[..] else { panic!("{denied}: {changes}") };
            assert!(app.starts_with("ad|app|create|") && kept == "env|set|CLOAKROOM_CLIENT_ID|client-1|", "{changes}");
        }
    }
}

#[test]
fn after_a_failed_call_the_next_run_trusts_the_identity_once() {
    let calls = ["app show", "app update", "app federated-credential list", "app federated-credential create"];
    for denied in calls.map(|call| format!("ad {call}")).into_iter().chain(["account show".to_owned()]) {
        let stage = registration();
        set(&stage, "denied", &denied);
        assert!(!trust(&stage, &OUTPUTS).status.success(), "{denied}");
        set(&stage, "denied", "");
        let output = trust(&stage, &OUTPUTS);
        assert!(output.status.success(), "{denied}: {output:?}");
        let changes = read(&stage, "changes");
        let updates = changes.lines().filter(|change| change.starts_with("ad|app|update|")).count();
        assert_eq!((changes.lines().count(), updates), (2, 1), "{denied}: what was done is not repeated: {changes}");
        let uris = read(&stage, "uris");
        assert!(
            uris.starts_with("https://old.example") && uris.ends_with("https://new.example/auth/logout\n"),
            "{uris}"
        );
        assert_eq!(read(&stage, "trusted"), "1\n", "{denied}");
    }
}

#[test]
fn a_missing_service_principal_is_created_or_the_command_is_printed() {
    let stage = registration();
    set(&stage, "denied", "ad sp show");
    assert!(register(&stage, &OUTPUTS).status.success());
    assert!(read(&stage, "changes").starts_with("ad|sp|create|--id|client-1|"), "an interrupted run is completed");
    set(&stage, "denied", "ad sp");
    let output = register(&stage, &OUTPUTS);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("az ad sp create --id client-1"), "{output:?}");
}

#[test]
fn without_permission_the_script_prints_what_an_administrator_runs() {
    for denied in ["ad app show", "ad app update", "ad app federated-credential create"] {
        let stage = registration();
        set(&stage, "denied", denied);
        let output = trust(&stage, &OUTPUTS);
        assert_eq!(output.status.code(), Some(1), "{denied}");
        let said = String::from_utf8(output.stderr).unwrap();
        for part in
            ["https://new.example/auth/logout", "--id client-1", "\"subject\": \"principal-1\"", "azd provision again"]
        {
            assert!(said.contains(part), "{denied}: {part} is missing in {said}");
        }
    }
}
