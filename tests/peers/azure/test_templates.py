"""Shows that check_templates.py finds planted faults: run by `cargo dev check-infra`."""

import shutil

import check_templates
from planted import PROJECT, Planted

# File, what stands there, what is planted instead, and what the check must say.
FAULTS = [
    # Names of app settings.
    ("infra/main.bicep", "AzureWebJobs.rotate_keys.Disabled", "AzureWebJobs.rotate-keys.Disabled",
     "'AzureWebJobs.rotate-keys.Disabled' is no name of a setting on Linux"),
    ("infra/main.bicep", "AzureWebJobs.rotate_keys.Disabled", "AzureWebJobs.rotate.Disabled",
     "there is no function rotate"),
    ("infra/modules/consumption.bicep", "FUNCTIONS_WORKER_RUNTIME", "'FUNCTIONS-WORKER-RUNTIME'",
     "'FUNCTIONS-WORKER-RUNTIME' is no name of a setting on Linux"),
    ("infra/main.bicep", "var settings = union(", "var settings = shallowMerge(", "these settings cannot be read here"),
    # Settings of the gateway.
    ("infra/main.bicep", "CLOAKROOM_KEY_NAME", "CLOAKROOM_KEYNAME", "CLOAKROOM_KEYNAME is no setting"),
    ("infra/hooks/register-app.sh", "CLOAKROOM_CLIENT_ID", "CLOAKROOM_CLIENTID", "CLOAKROOM_CLIENTID is no setting"),
    ("deploy/kubernetes/base/settings.env", "CLOAKROOM_LISTEN", "CLOAKROOM_LISTENS", "CLOAKROOM_LISTENS is no setting"),
    # Lengths and characters of names.
    ("infra/main.bicep", "@maxLength(55)", "@maxLength(60)",
     "the name of plan can have 65 characters; Microsoft.Web/serverfarms allows 60"),
    ("infra/main.bicep", "@maxLength(55)", "@maxLength(60)",
     "the name of workspace can have 64 characters; Microsoft.OperationalInsights/workspaces allows 63"),
    ("infra/main.bicep", "@maxLength(55)\n", "", "nothing limits the name of"),
    ("infra/main.bicep", "'st${uniqueString(", "'storage-of-${uniqueString(", "Microsoft.Storage/storageAccounts allows"),
    ("infra/main.bicep", "'st${uniqueString(", "'st-${uniqueString(", "has 'st-'; Microsoft.Storage"),
    ("infra/main.bicep", "@maxLength(24)", "@maxLength(30)", "can have 30 characters; it allows 24"),
    ("infra/modules/vault.bicep", "'Microsoft.KeyVault/vaults@", "'Microsoft.KeyVault/managedHSMs@",
     "names.toml has no rule for the names of Microsoft.KeyVault/managedHSMs"),
    # Outputs and variables.
    ("infra/main.bicep", "output AZURE_IDENTITY_PRINCIPAL_ID", "output AZURE_PRINCIPAL",
     "nothing sets AZURE_IDENTITY_PRINCIPAL_ID: it is no output of main.bicep"),
    ("infra/main.bicep", "output AZURE_KEY_VAULT_NAME", "output AZURE_VAULT_NAME", "azd has no AZURE_KEY_VAULT_NAME"),
    ("infra/main.bicepparam", "'HOSTING_PLAN'", "'HOSTING_PLANS'", "does not say what HOSTING_PLANS is"),
    (".github/workflows/deploy.yml", "vars.AZURE_TENANT_ID", "vars.AZURE_TENANT", "does not name the variable AZURE_TENANT"),
    ("azure.yaml", "infra/hooks/first-key.sh", "infra/hooks/first-keys.sh", "first-keys.sh is no executable file"),
    ("azure.yaml", "\n  gateway:", "\n  getaway:", "no template has the tag azd-service-name: getaway"),
    # Functions and settings in commands.
    ("infra/hooks/first-key.sh", "/admin/functions/rotate_keys", "/admin/functions/rotate-keys",
     "there is no function rotate-keys"),
    # Deployments: the rest is in test_deployments.py.
    ("infra/main.bicep", "mayUpload: isFlex", "mayUpload: true", "on consumption the app could replace its package"),
    # The linter's rules.
    ("infra/bicepconfig.json", '"no-unused-vars": { "level": "error" }', '"no-unused-vars": { "level": "warning" }',
     "a rule is an error, or off with the reason"),
    ("infra/app-registration/bicepconfig.json", '"analyzers"', '"analysers"', "its rules are not those of the other"),
    ("infra/bicepconfig.json", '"no-unused-vars": { "level": "error" },', "", "its rules are not those of the other"),
]  # fmt: skip


class Templates(Planted):
    """check_templates.py"""

    def setUp(self):
        super().setUp()
        for name in ("deploy", "docs", ".github"):
            shutil.copytree(PROJECT / name, self.root / name)
        for name in ("README.md", "azure.yaml", "local.settings.json.sample"):
            shutil.copy(PROJECT / name, self.root / name)
        for function in PROJECT.glob("*/function.json"):
            self.write(f"{function.parent.name}/function.json", "{}")

    def test_the_project_has_no_faults_and_its_copy_has_none_either(self):
        self.assertEqual(check_templates.faults(self.root), [])

    def test_every_planted_fault_is_reported(self):
        for path, old, new, expected in FAULTS:
            with self.subTest(expected):
                original = (self.root / path).read_text()
                self.assertIn(old, original, path)
                (self.root / path).write_text(original.replace(old, new))
                output = [str(fault) for fault in check_templates.faults(self.root)]
                (self.root / path).write_text(original)
                self.assertTrue([line for line in output if expected in line], f"{expected!r} is not among {output}")

    def test_a_setting_in_a_documented_command_is_checked(self):
        self.write("docs/a.md", "```sh\naz functionapp config appsettings set -n a -g b --settings A-B=1 C=2\n```\n")
        output = [str(fault) for fault in check_templates.faults(self.root)]
        self.assertEqual(len(output), 1, output)
        self.assertIn("docs/a.md:2: 'A-B' is no name of a setting on Linux", output[0])

    def test_a_hook_without_permission_to_run_is_reported(self):
        (self.root / "infra/hooks/first-key.sh").chmod(0o644)
        output = [str(fault) for fault in check_templates.faults(self.root)]
        self.assertTrue([line for line in output if "first-key.sh is no executable file" in line], output)

    def test_a_fault_is_an_exit_code(self):
        (self.root / "infra/main.bicep").unlink()
        code, output = self.run_check("check_templates.py")
        self.assertEqual(code, 1)
        self.assertIn("infra/main.bicep:1: it is not there", output)
