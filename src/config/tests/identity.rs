//! The gateway's identity at Azure (contract 6.5).

use super::*;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const WORKLOAD: [(&str, &str); 4] = [
    ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
    ("AZURE_CLIENT_ID", "66666666-7777-8888-9999-000000000000"),
    ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"),
    ("AZURE_TENANT_ID", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"),
];
const MANAGED: [(&str, &str); 2] =
    [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "CANARY-header")];
const VM: (&str, &str) = ("CLOAKROOM_VM_IDENTITY", "on");

/// The identity that authenticates the client of a gateway without a secret.
fn identity(changes: &[(&str, &str)]) -> String {
    let base = [("CLOAKROOM_CLIENT_SECRET", ""), ("CLOAKROOM_AUTHORITY", ""), ("CLOAKROOM_TENANT_ID", TENANT)];
    let authentication = parse(&[&base, changes].concat()).unwrap().provider.client.authentication;
    let ClientAuthentication::Assertion(assertion) = authentication else { panic!("a secret") };
    format!("{:?}", assertion.credential)
}

#[test]
fn the_first_identity_whose_variables_are_set_applies() {
    let all = [&WORKLOAD[..], &MANAGED, &[VM]].concat();
    let workload = identity(&all);
    let of_variables = ["login.microsoftonline.us", WORKLOAD[1].1, WORKLOAD[2].1, WORKLOAD[3].1];
    assert!(of_variables.iter().all(|value| workload.contains(value)), "{workload}");
    let client = ("AZURE_CLIENT_ID", "CLIENT");
    assert!(identity(&[&MANAGED[..], &[VM, client]].concat()).contains(r#"Managed(Some("CLIENT"))"#));
    assert!(identity(&MANAGED).contains("Managed(None)"));
    assert!(identity(&[VM, client]).contains(r#"VirtualMachine(Some("CLIENT"))"#));
    assert!(identity(&[VM]).contains("VirtualMachine(None)"));
    let vault = [("CLOAKROOM_ENC_KEY", ""), ("CLOAKROOM_KEY_VAULT_URL", "https://v.vault.azure.net")];
    assert!(parse(&vault).is_ok(), "the developer's sign-in opens the vault");
    assert!(error(&[("CLOAKROOM_CLIENT_SECRET", "")]).starts_with("CLOAKROOM_CLIENT_SECRET is required"));
}

/// Contract 12.2.
#[test]
fn an_identity_with_missing_or_invalid_variables_fails_the_start_and_names_each() {
    let without = |all: &[(&'static str, &'static str)], name: &str| -> Vec<(&str, &str)> {
        all.iter().filter(|(has, _)| *has != name).copied().collect()
    };
    for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"] {
        let found = error(&without(&WORKLOAD, name));
        assert!(found.starts_with(&format!("{name} is required with AZURE_FEDERATED_TOKEN_FILE")), "{found}");
        assert!(found.contains("azure.workload.identity/"), "{found}");
    }
    let entra = [("CLOAKROOM_CLIENT_SECRET", ""), ("CLOAKROOM_AUTHORITY", ""), ("CLOAKROOM_TENANT_ID", TENANT)];
    let both = parse(&[&entra[..], &[WORKLOAD[2]]].concat()).unwrap_err();
    assert_eq!(both.0.len(), 2, "each once, and no word of a client secret: {both}");
    assert!(parse(&without(&WORKLOAD, "AZURE_AUTHORITY_HOST")).is_ok(), "that of the public cloud");
    let found = error(&without(&MANAGED, "IDENTITY_HEADER"));
    assert!(found.starts_with("IDENTITY_HEADER is required with IDENTITY_ENDPOINT"), "{found}");
    for (name, value) in [
        ("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1"),
        ("AZURE_AUTHORITY_HOST", "CANARY"),
        ("AZURE_TENANT_ID", "CANARY/../x"),
    ] {
        let found = error(&[&WORKLOAD[..], &[(name, value)]].concat());
        assert!(found.starts_with(&format!("{name} must be")) && !found.contains("CANARY"), "{found}");
    }
    assert!(error(&[("CLOAKROOM_VM_IDENTITY", "yes")]).starts_with("CLOAKROOM_VM_IDENTITY must be one of"));
}
