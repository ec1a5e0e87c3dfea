//! The deployment hooks, with stubs for the programs that they run: the first key, the app registration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::app::{ROOT, TestApp};

const MASTER_KEY: &str = "c2VjcmV0LW1hc3Rlci1rZXk+/w==";
/// A stub of `az`.
const AZ: &str = r#"#!/bin/sh
echo "az $*" >> "$STAGE/recorded"
case "$*" in
*"--query defaultHostName || properties.defaultHostName --output tsv") cat "$STAGE/host" ;;
*masterKey*) cat "$STAGE/key" ;;
*rotate_keys.Disabled*) cat "$STAGE/disabled" ;;
*) exit 2 ;;
esac
"#;
/// A stub of `curl` that responds like the host, which needs some calls of the function until there is a key.
const CURL: &str = r#"#!/bin/sh
echo "curl $*" >> "$STAGE/recorded"
[ "$1" = --disable ] || exit 2
case "$*" in
*/admin/functions/rotate_keys)
  cat > "$STAGE/config"
  echo call >> "$STAGE/calls"
  printf 202 ;;
*/health/ready)
  if [ "$(wc -l < "$STAGE/calls")" -ge "$(cat "$STAGE/wanted")" ]; then cat "$STAGE/after"; else cat "$STAGE/before"; fi ;;
*) exit 2 ;;
esac
"#;
const SLEEP: &str = "#!/bin/sh\n";

/// The stubs, and the body of `/health/ready` of a gateway without a key and with one.
async fn stage(wanted: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no-keys.json");
    let without = TestApp::builder().set("ENC_KEY", "").set("KEY_FILE", nowhere.to_str().unwrap()).impatient();
    let before = without.start().await.visitor().get("/health/ready").await;
    assert_eq!(before.status, 503, "{}", before.text());
    let after = TestApp::start().await.visitor().get("/health/ready").await;
    let files = [("before", before.text()), ("after", after.text()), ("wanted", wanted.to_string())];
    let others = [
        ("key", MASTER_KEY.to_owned() + "\r\n"),
        ("calls", String::new()),
        ("disabled", String::new()),
        ("host", "app-1.azurewebsites.net\n".to_owned()),
    ];
    for (name, text) in files.into_iter().chain(others) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for (name, text) in [("az", AZ), ("curl", CURL), ("sleep", SLEEP)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn run(stage: &TempDir, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    script(stage, "first-key.sh", arguments, env)
}

fn script(stage: &TempDir, name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let script = Path::new(ROOT).join("infra/hooks").join(name);
    let path = format!("{}:/usr/bin:/bin", stage.path().display());
    let mut command = Command::new("sh");
    command.args(arguments.iter().take_while(|argument| argument.starts_with('-'))).arg(script);
    command.args(arguments.iter().skip_while(|argument| argument.starts_with('-')));
    command.env_clear().env("PATH", path).env("STAGE", stage.path()).envs(env.iter().copied()).output().unwrap()
}

fn read(stage: &TempDir, name: &str) -> String {
    fs::read_to_string(stage.path().join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_created_and_the_master_key_is_not_exposed() {
    let stage = stage(2).await;
    let output = run(&stage, &["-x", "group", "app-1"], &[]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(read(&stage, "config"), format!("header = \"x-functions-key: {MASTER_KEY}\"\n"));
    assert_eq!(read(&stage, "calls").lines().count(), 2, "the first call may precede the role assignment");
    let recorded = read(&stage, "recorded");
    assert!(recorded.contains("https://app-1.azurewebsites.net/admin/functions/rotate_keys"), "{recorded}");
    assert!(!recorded.contains(MASTER_KEY) && !said.contains(MASTER_KEY), "{recorded}{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_the_master_key_is_not_requested() {
    let stage = stage(0).await;
    let names = [("AZURE_RESOURCE_GROUP", "group"), ("AZURE_FUNCTION_APP_NAME", "app-1")];
    let output = run(&stage, &[], &names);
    assert!(output.status.success() && !read(&stage, "recorded").contains("masterKey"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_rotation_by_a_pipeline_the_script_does_nothing() {
    let stage = stage(1_000).await;
    fs::write(stage.path().join("disabled"), "true\n").unwrap();
    let output = run(&stage, &["group", "app-1"], &[]);
    assert!(output.status.success() && read(&stage, "calls").is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_is_a_failure_that_cites_the_docs() {
    let stage = stage(1_000).await;
    let output = run(&stage, &["group", "app-1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("docs/deploy.md"), "{output:?}");
    assert_eq!(read(&stage, "calls").lines().count(), 12, "it stops retrying");
    assert!(!run(&stage, &[], &[]).status.success(), "without arguments it fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_host_name_is_a_failure_at_once() {
    let stage = stage(0).await;
    fs::write(stage.path().join("host"), "\n").unwrap();
    let output = run(&stage, &["group", "app-1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no host of the app app-1"), "{output:?}");
    assert!(!read(&stage, "recorded").contains("curl"), "no request is sent");
}

/// A stub of `az` for a registration: `$STAGE/uris` contains the redirect URIs, `$STAGE/trusted` whether the identity
/// is trusted, and `$STAGE/denied` the operations that fail.
const AZ_AD: &str = r#"#!/bin/sh
denied=$(cat "$STAGE/denied")
case "$*" in
"${denied:-nothing}"*) exit 1 ;;
esac
case "$1 $2 $3 $4" in
"ad app show "*) case "$*" in
  *length*) grep -c '^https://new.example/auth/callback$' "$STAGE/uris" ;;
  *) cat "$STAGE/uris" ;;
  esac ;;
"ad app federated-credential list") cat "$STAGE/trusted" ;;
"account show --query id") echo subscription-1 ;;
"account show "*) echo tenant-1 ;;
"ad app create "*) echo client-1 ;;
esac
case "$*" in
*create*|*update*|"env set "*) for argument; do printf '%s|' "$argument" >> "$STAGE/recorded"; done; echo >> "$STAGE/recorded" ;;
esac
"#;

fn registration() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = "https://old.example/auth/callback\nhttps://old.example/auth/logout\n";
    for (name, text) in
        [("az", AZ_AD), ("azd", AZ_AD), ("uris", old), ("trusted", "0\n"), ("recorded", ""), ("denied", "")]
    {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

const OUTPUTS: [(&str, &str); 3] = [
    ("CLOAKROOM_CLIENT_ID", "client-1"),
    ("CLOAKROOM_PUBLIC_ORIGIN", "https://new.example"),
    ("AZURE_IDENTITY_PRINCIPAL_ID", "principal-1"),
];

#[test]
fn a_registration_keeps_its_redirect_uris_and_trusts_the_identity_once() {
    let stage = registration();
    assert!(script(&stage, "trust-identity.sh", &[], &OUTPUTS).status.success());
    let recorded = read(&stage, "recorded");
    let [update, credential] = recorded.splitn(2, '\n').collect::<Vec<_>>()[..] else { panic!("{recorded}") };
    let uris = "--web-redirect-uris|https://old.example/auth/callback|https://old.example/auth/logout|\
                https://new.example/auth/callback|https://new.example/auth/logout|";
    assert!(update.ends_with(uris), "{update}");
    let json = credential.split("--parameters|").nth(1).unwrap().trim().trim_end_matches('|');
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&json["subject"], &json["name"]), (&"principal-1".into(), &"identity-principal-1".into()));
    assert_eq!(json["issuer"], "https://login.microsoftonline.com/tenant-1/v2.0");
    assert_eq!(json["audiences"], serde_json::json!(["api://AzureADTokenExchange"]));

    fs::write(stage.path().join("uris"), "https://new.example/auth/callback\n").unwrap();
    fs::write(stage.path().join("trusted"), "1\n").unwrap();
    fs::write(stage.path().join("recorded"), "").unwrap();
    assert!(script(&stage, "trust-identity.sh", &[], &OUTPUTS).status.success());
    assert_eq!(read(&stage, "recorded"), "", "what exists is not changed");
}

#[test]
fn an_application_is_registered_once_and_without_a_secret() {
    let stage = registration();
    assert!(script(&stage, "register-app.sh", &[], &OUTPUTS).status.success());
    assert_eq!(read(&stage, "recorded"), "", "a configured one is used");
    fs::write(stage.path().join("denied"), "ad sp show").unwrap();
    let output = script(&stage, "register-app.sh", &[], &[("AZURE_ENV_NAME", "trial")]);
    assert!(output.status.success(), "{output:?}");
    let recorded = read(&stage, "recorded");
    let [app, kept, principal] = recorded.lines().collect::<Vec<_>>()[..] else { panic!("{recorded}") };
    let name = app.split("--display-name|cloakroom-trial-").nth(1).unwrap().split('|').next().unwrap();
    assert!(name.parse::<u32>().is_ok(), "az would change an existing application of that name: {app}");
    assert_eq!(
        (kept, principal),
        ("env|set|CLOAKROOM_CLIENT_ID|client-1|", "ad|sp|create|--id|client-1|--output|none|")
    );
    assert!(!recorded.contains("credential") && !recorded.contains("password"), "{recorded}");

    let elsewhere = [("AZURE_ENV_NAME", "trial"), ("AZURE_SUBSCRIPTION_ID", "subscription-2")];
    assert!(script(&stage, "register-app.sh", &[], &elsewhere).status.success());
    assert!(!read(&stage, "recorded").lines().nth(3).unwrap().contains(name), "each subscription has its own name");
}

#[test]
fn a_missing_service_principal_is_created_or_the_command_is_printed() {
    let stage = registration();
    fs::write(stage.path().join("denied"), "ad sp show").unwrap();
    assert!(script(&stage, "register-app.sh", &[], &OUTPUTS).status.success());
    assert!(read(&stage, "recorded").starts_with("ad|sp|create|--id|client-1|"), "an interrupted run is completed");
    fs::write(stage.path().join("denied"), "ad sp").unwrap();
    let output = script(&stage, "register-app.sh", &[], &OUTPUTS);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("az ad sp create --id client-1"), "{output:?}");
}

#[test]
fn without_permission_the_script_prints_what_an_administrator_runs() {
    for denied in ["ad app show", "ad app update", "ad app federated-credential create"] {
        let stage = registration();
        fs::write(stage.path().join("denied"), denied).unwrap();
        let output = script(&stage, "trust-identity.sh", &[], &OUTPUTS);
        assert_eq!(output.status.code(), Some(1), "{denied}");
        let said = String::from_utf8(output.stderr).unwrap();
        for part in ["https://new.example/auth/logout", "--id client-1", "\"subject\": \"principal-1\"", "azd up again"]
        {
            assert!(said.contains(part), "{denied}: {part} is missing in {said}");
        }
    }
}
