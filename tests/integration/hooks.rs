//! The deployment hook that creates the first key, with stubs for the programs that it runs.

mod registration;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::app::{ROOT, TestApp};

const MASTER_KEY: &str = "c2VjcmV0LW1hc3Rlci1rZXk+/w==";
/// A stub of `az`. `$STAGE/denied` contains a part of the command that fails.
const AZ: &str = r#"#!/bin/sh
echo "az $*" >> "$STAGE/recorded"
denied=$(cat "$STAGE/denied")
case "$*" in
*"${denied:-nothing}"*) echo "az: $denied is denied" >&2; exit 1 ;;
esac
case "$*" in
"account show --query id "*) echo subscription-1 ;;
*"--query defaultHostName || properties.defaultHostName --output tsv") cat "$STAGE/host" ;;
*masterKey*) cat "$STAGE/key" ;;
*rotate_keys.Disabled*) cat "$STAGE/disabled" ;;
*CLOAKROOM_PUBLIC_ORIGIN*) cat "$STAGE/public" ;;
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
  cat "$STAGE/status" ;;
*app-1*/health/ready)
  if [ "$(cat "$STAGE/status")" = 403 ]; then exit 0; fi
  if [ "$(wc -l < "$STAGE/calls")" -ge "$(cat "$STAGE/wanted")" ]; then cat "$STAGE/after"; else cat "$STAGE/before"; fi ;;
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
        ("denied", String::new()),
        ("disabled", String::new()),
        ("host", "app-1.azurewebsites.net\n".to_owned()),
        ("public", "https://app-1.azurewebsites.net\n".to_owned()),
        ("status", "202".to_owned()),
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
    assert!(String::from_utf8_lossy(&output.stderr).contains("docs/deploy-functions.md"), "{output:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_of_az_stops_the_first_key_at_once_and_the_next_run_creates_it() {
    let stage = stage(1).await;
    for denied in ["account show", "rotate_keys.Disabled", "defaultHostName", "CLOAKROOM_PUBLIC_ORIGIN"] {
        for name in ["recorded", "calls"] {
            fs::write(stage.path().join(name), "").unwrap();
        }
        fs::write(stage.path().join("denied"), denied).unwrap();
        let output = run(&stage, &["group", "app-1"], &[]);
        assert!(!output.status.success(), "{denied}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{denied} is denied")), "{output:?}");
        assert!(!read(&stage, "recorded").contains("curl"), "{denied}: no request is sent");

        fs::write(stage.path().join("denied"), "").unwrap();
        let output = run(&stage, &["group", "app-1"], &[]);
        assert!(output.status.success(), "{denied}: {output:?}");
        assert_eq!(read(&stage, "calls").lines().count(), 1, "{denied}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_master_key_the_status_is_reported_and_the_next_run_creates_the_first_key() {
    let stage = stage(13).await;
    fs::write(stage.path().join("denied"), "keys list").unwrap();
    fs::write(stage.path().join("status"), "401").unwrap();
    let output = run(&stage, &["group", "app-1"], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (printed, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(printed.contains("Attempt 12 of 12: rotate_keys responded 401."), "{printed}");
    assert!(errors.contains("keys list is denied") && errors.contains("docs/deploy-functions.md"), "{errors}");
    assert_eq!(read(&stage, "config"), "", "no request has half of a header");

    fs::write(stage.path().join("denied"), "").unwrap();
    fs::write(stage.path().join("status"), "202").unwrap();
    let output = run(&stage, &["group", "app-1"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(read(&stage, "config"), format!("header = \"x-functions-key: {MASTER_KEY}\"\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_first_key_names_azds_subscription() {
    let stage = stage(1).await;
    let names = [
        ("AZURE_RESOURCE_GROUP", "group"),
        ("AZURE_FUNCTION_APP_NAME", "app-1"),
        ("AZURE_SUBSCRIPTION_ID", "subscription-2"),
    ];
    let output = run(&stage, &[], &names);
    assert!(output.status.success(), "{output:?}");
    let recorded = read(&stage, "recorded");
    let commands: Vec<_> = recorded.lines().filter(|line| line.starts_with("az ")).collect();
    assert_eq!(commands.len(), 4, "{recorded}");
    let named = " --subscription subscription-2 --resource-group group --name app-1 ";
    assert!(commands.iter().all(|command| command.contains(named)), "{recorded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_app_is_asked_through_front_door_and_its_rejection_is_explained() {
    let stage = stage(0).await;
    for (name, text) in [("public", "https://www.example\n"), ("status", "403")] {
        fs::write(stage.path().join(name), text).unwrap();
    }
    let output = run(&stage, &["group", "app-1"], &[]);
    assert!(output.status.success(), "{output:?}");
    let recorded = read(&stage, "recorded");
    assert!(recorded.contains("https://www.example/health/ready") && !recorded.contains("masterKey"), "{recorded}");

    fs::write(stage.path().join("wanted"), "1000").unwrap();
    let output = run(&stage, &["group", "app-1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only Front Door may call it"), "{output:?}");
    assert!(!read(&stage, "recorded").contains("https://www.example/admin"), "the master key goes to the app only");
}
