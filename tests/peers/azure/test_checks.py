"""Shows that each check finds planted faults and names the file and the thing: run by `cargo dev check-infra`.

    CHECKS_CACHE=… CHECKS_CHECKOV=… CHECKS_AZURE_CLI=… CHECKS_HOME=… CHECKS_ACTIONLINT=… CHECKS_CARGO_DENY=… \
        python -m unittest discover
"""

import shutil
import unittest
from datetime import date

import check_bicep
import check_policy
import command_tables
from api_versions import ApiVersions
from bicep_types import ResourceType, Types
from planted import AZURE_CLI, CACHE, CHECKOV, HOME, Planted
from shell_commands import commands, in_script

# The day of the tests. Dates of retirement are compared with it.
TODAY = date(2026, 12, 1)
# File, what stands there, what is planted instead, and what the check must say.
BICEP_FAULTS = [
    ("modules/flex.bicep", "instanceMemoryMB: inst", "instanceMemory: inst",
     "scaleAndConcurrency has no property 'instanceMemory'; there is instanceMemoryMB"),
    ("modules/flex.bicep", "value: setting.value", "valu: setting.value", "appSettings[] has no property 'valu'"),
    ("modules/flex.bicep", "name: 'scm'", "name: 'scn'", "name of noPassword is none of ftp, scm"),
    ("modules/flex.bicep", "    }\n  }\n}\n", "    }\n  }\n\n", "syntax: this cannot be read"),
    ("modules/flex.bicep", "    }\n  }\n}\n", "    }\n  }\n\n", "syntax, says pycep"),
    ("modules/storage.bicep", "TrafficOnly: true\n", "TrafficOnly:\n", "syntax: identifier is missing"),
    ("modules/storage.bicep", "  name: name\n", "  name: 'st'\n", "account.name is outside of 3 to 24"),
    ("modules/storage.bicep", "  name: name\n", "  name: 'Store'\n", "account.name does not match"),
    ("modules/storage.bicep", "kind: 'StorageV2'", "kind: true", "account.kind is one of Storage"),
    ("modules/storage.bicep", "'TLS1_2'", "'TLS1.2'", "minimumTlsVersion is one of TLS1_0"),
    ("modules/packages.bicep", "name: 'default'", "name: 'defalt'", "blobs.name is one of default, not 'defalt'"),
    ("modules/vault.bicep", "principalId: gateway", "principalId: gatway", "'gatwayPrincipalId' is not declared"),
    ("modules/vault.bicep", "enableSoftDelete: true", "enableSoftDelete: 'true'", "enableSoftDelete is true or false"),
    ("modules/vault.bicep", "    tenantId: tenant().tenantId\n", "", "vault.properties lacks tenantId"),
    ("modules/vault.bicep", "  tags: tags\n", "  tags: tags\n  tags: tags\n", "vault.tags is there twice"),
    ("modules/vault.bicep", "workspaceId: workspaceId", "workspaceId: []", "workspaceId is a string, not an array"),
    ("modules/vault.bicep", "permissions: [\n", "permissions: [\n      'all'\n", "permissions[] is an object, not"),
    ("modules/telemetry.bicep", "= component.id", "= listKeys(component.id, '1').a", "reads a secret"),
    ("modules/alerts.bicep", "scopes: [\n        sourceId\n      ]", "scopes: sourceId", "scopes is an array, not"),
    ("modules/vault.bicep", "    sku: {", "    hsmPoolResourceId: name\n    sku: {", "hsmPoolResourceId is read-only"),
    ("modules/vault.bicep", "vaults@2026-02-01", "vaults@2023-07-01", "does not list the version 2023-07-01"),
    ("modules/vault.bicep", "vaults@2026-02-01", "vaults@2024-11-01", "retires the version 2024-11-01 on 2027-02-27"),
    ("modules/vault.bicep", "KeyVault/vaults@", "KeyVault/vault@", "azmcp knows no such type"),
    ("modules/vault.bicep", "vaultUri", "vaultUrl", "vault has no property 'properties.vaultUrl'"),
    ("modules/vault.bicep", "guid(vault.id", "gui(vault.id", "'gui' is no function"),
    ("modules/alerts.bicep", "severity: 1", "severity: '1'", "properties.severity is a number, not a string"),
    ("modules/alerts.bicep", "rule.query", "rule.qery", "there is no 'qery' in that object"),
    ("modules/telemetry.bicep", "string = component.id", "string = component.listKeys().a", "reads a secret"),
    ("modules/identity.bicep", "@description('Its name.')\n", "", "param 'name' has no @description"),
    ("modules/identity.bicep", "param tags", "@secure()\nparam tags", "@secure() is not among what is used here"),
    ("modules/identity.bicep", "output id string = identity.id", "output id string = 1", "id is a string, not"),
    ("main.bicep", "    gatewayPrincipalId: identity.outputs.principalId\n", "", "lacks param gatewayPrincipalId"),
    ("main.bicep", "    mayRotate: rotate", "    mayRotat: rotate", "vault.bicep has no param 'mayRotat'"),
    ("main.bicep", "mayRotate: rotateInApp", "mayRotate: 'yes'", "'mayRotate' of infra/modules/vault.bicep is true"),
    ("main.bicep", "outputs.principalId", "outputs.principalID", "has no output 'principalID'"),
    ("main.bicep", "= 'resourceGroup'", "= 'resourceGrup'", "targetScope is one of resourceGroup"),
    ("main.bicep", "'modules/flex.bicep'", "'modules/flx.bicep'", "there is no file 'modules/flx.bicep'"),
    ("main.bicep", "  params: {", "  nam: 'identity'\n  params: {", "a module has no property 'nam'"),
    ("main.bicep", "CLOAKROOM_KEY_NAME: keyName", "CLOAKROOM_KEY_NAME: 1", "'CLOAKROOM_KEY_NAME' of param 'settings' of"),
    ("main.bicep", "tags { *: string }", "tags { *: int[] }", "syntax, says pycep"),
    ("main.bicep", "settings: settings", "settings: name", "'settings' of infra/modules/flex.bicep is an object"),
    ("main.bicep", "var isFlex", "var idle = 1\nvar isFlex", "var 'idle' is used nowhere"),
    ("main.bicep", "var isFlex", "var appName = 1\nvar isFlex", "'appName' is declared twice"),
    ("main.bicep", "var isFlex", "type text = string\nvar isFlex", "type_declaration is not among what is checked"),
    ("main.bicep", "  params: {", "  name: 'identity'\n  params: {", "has a name: two deployments at once would collide"),
    ("main.bicep", "param gatewaySettings { *: string }", "param gatewaySettings object",
     "param 'gatewaySettings' is an object of anything"),
    ("modules/network.bicep", "tags { *: string }", "tags object", "param 'tags' is an object of anything"),
    ("main.bicep", "otherSubnetIds string[]", "otherSubnetIds array", "'otherSubnetIds' is an array of anything"),
    ("modules/flex.bicep", "plan 'Microsoft.Web/serverfarms@2025-03-01'", "plan 'Microsoft.Web/serverfarms@2024-11-01'",
     "Microsoft.Web/serverfarms: api_versions.toml does not list the version 2024-11-01"),
    ("modules/consumption.bicep", "sites@2025-03-01", "sites@2024-11-01", "does not list the version 2024-11-01"),
    ("modules/flex.bicep", "Policies@2025-03-01", "Policies@2024-11-01", "does not list the version 2024-11-01"),
    ("modules/alerts.bicep", "Rules@2026-03-01", "Rules@2023-12-01", "does not list the version 2023-12-01"),
    ("README.md", "| `clientId` |", "| `clientid` |", "there is no row for param 'clientId'"),
    ("README.md", "| `clientId` |", "| `clientid` |", "main.bicep has no param 'clientid'"),
    ("README.md", "| empty: the group's |", "| `westeurope` |", "default of 'location' is empty in main.bicep, not `west"),
    ("README.md", "| `image` |", "| `images` |", "there is no row for param 'image' of container-app.bicep"),
    ("README.md", "is rotated | 2 |", "is rotated | 1 |", "the default of 'minReplicas' is 2 in container-app.bicep, not 1"),
    ("README.md", "(flex) | 40 |", "(flex) | 20 |", "default of 'maximumInstanceCount' is 40 in main.bicep, not 20"),
    ("modules/alerts.bicep", "sign_in_failed", "signin_failed", "the gateway logs no event 'signin_failed'"),
    ("main.bicepparam", "'flex'", "'flexi'", "'hostingPlan' of infra/main.bicep is one of flex, consumption"),
    ("main.bicepparam", "param location", "param locaton", "infra/main.bicep has no param 'locaton'"),
    ("main.bicepparam", "param clientId", "// param clientId", "lacks param clientId"),
    ("app-registration/main.bicep", "redirectUris:", "redirectUri:", "registration.web has no property 'redirectUri'"),
]  # fmt: skip


class Bicep(Planted):
    """check_bicep.py"""

    def test_the_templates_have_no_faults_and_their_copy_has_none_either(self):
        self.assertEqual(check_bicep.faults(self.root, CACHE, TODAY)[0], [])

    def test_every_planted_fault_is_reported_with_its_file(self):
        for path, old, new, expected in BICEP_FAULTS:
            with self.subTest(expected):
                original = (self.root / "infra" / path).read_text()
                self.replace(path, old, new)
                output = [str(fault) for fault in check_bicep.faults(self.root, CACHE, TODAY)[0]]
                (self.root / "infra" / path).write_text(original)
                named = [line for line in output if expected in line and line.startswith(f"infra/{path}:")]
                self.assertTrue(named, f"{expected!r} is not among {output}")

    def test_a_fault_is_an_exit_code(self):
        self.replace("modules/vault.bicep", "enableRbacAuthorization", "enableRbacAuthorisation")
        code, output = self.run_check("check_bicep.py", "--cache", CACHE)
        self.assertEqual(code, 1)
        self.assertIn("infra/modules/vault.bicep", output)

    def test_a_folder_without_templates_is_a_fault(self):
        shutil.rmtree(self.root / "infra")
        self.assertEqual(self.run_check("check_bicep.py", "--cache", CACHE)[0], 1)

    def test_members_of_an_object_of_texts_are_texts(self):
        self.write("infra/a.bicep", "@description('a')\nparam all { *: string } = { some: 1 }\noutput out object = all\n")
        found = [str(fault) for fault in check_bicep.faults(self.root, CACHE, TODAY)[0]]
        self.assertIn("infra/a.bicep:2: 'some' of all is a string, not a number", found)
        self.assertEqual([fault for fault in found if "syntax" in fault], [])

    def test_a_version_that_lasts_another_year_passes(self):
        listed = ApiVersions({"A/b": {"2026-01-01": {"retires": date(2027, 12, 1)}}}, TODAY)
        self.assertIsNone(listed.message("A/b", "2026-01-01", ("2026-01-01",)))

    def test_a_version_that_no_template_names_is_reported(self):
        listed = ApiVersions({"A/b": {"2025-01-01": {}, "2024-01-01": {"retires": date(2027, 12, 1)}}}, TODAY)
        found = [str(fault) for fault in check_bicep.version_faults([], listed)]
        self.assertEqual(found, ["api_versions.toml:1: no template names A/b@2025-01-01: remove it"])

    def test_types_of_a_version_that_the_list_does_not_expect_are_reported(self):
        listed = ApiVersions({"A/b": {"2026-01-01": {"types": "2024-01-01"}}}, TODAY)
        self.assertIn("but there are 2025-01-01", listed.message("A/b", "2026-01-01", ("2025-01-01",)))

    def test_the_definitions_are_microsofts(self):
        site = Types(CACHE).get("Microsoft.Web/sites")
        self.assertIsInstance(site, ResourceType)
        self.assertGreater(len(site.objects["SiteProperties"].properties), 40)


class Policy(Planted):
    """check_policy.py"""

    def test_an_open_vault_and_an_unreadable_file_are_reported(self):
        self.replace("modules/vault.bicep", "enablePurgeProtection: true", "enablePurgeProtection: false")
        self.write("infra/modules/broken.bicep", "param name string =\n")
        code, output = self.run_check("check_policy.py", "--checkov", CHECKOV)
        self.assertEqual(code, 1)
        self.assertRegex(output, r"infra/modules/vault\.bicep:\d+: CKV_AZURE_\d+: .*(recoverable|purge)")
        self.assertIn("cannot read", output)

    def test_the_findings_do_not_depend_on_the_order_of_hashes(self):
        # With 3, checkov 3.3.30 does not evaluate the names of storage accounts, and with 0 it does.
        reports = [check_policy.scan(CHECKOV, self.root / "infra", seed) for seed in (0, 3)]
        findings = [[(one["check_id"], one["resource"]) for one in r["results"]["failed_checks"]] for r in reports]
        self.assertGreater(len(findings[0]), 0)
        self.assertEqual(sorted(findings[0]), sorted(findings[1]))

    def test_an_excuse_that_nothing_needs_is_a_fault(self):
        output = {"summary": {"passed": 1, "parsing_errors": 0}, "results": {"failed_checks": []}}
        expected = ["policy.toml: CKV_AZURE_1 matches nothing; remove it"]
        self.assertEqual(check_policy.faults(output, {"CKV_AZURE_1": "old"}), expected)


class Commands(Planted):
    """check_commands.py"""

    def test_planted_faults_are_reported_with_file_and_line_and_valid_commands_are_not(self):
        self.write("README.md", "```sh\naz group create -n <group> -l a --locaton z\naz group list\n```\n")
        self.write("docs/a.md", "`az keyvault secret setx`, `az group show …`\n```sh\naz group show\n```\n")
        self.write("infra/hooks/a.sh", '#!/bin/sh\nid=$(az group list --quiet) && func start --prt 1\nazd upp\n')
        self.write(".github/workflows/a.yml", "jobs:\n  a:\n    steps:\n      - run: |\n          az group lst\n")
        self.write("infra/x.bicep", "// See:\n//\n//   az group creat -n a \\\n//     -l b\n")
        code, output = self.run_check("check_commands.py", "--azure-cli", AZURE_CLI, "--home", HOME)
        self.assertEqual(code, 1)
        for expected in [
            r"README\.md:2: az group create.*\n.*unrecognized arguments: --locaton",
            r"docs/a\.md:1: az keyvault secret setx.*\n.*setx",
            r"docs/a\.md:3: az group show.*\n.*required",
            r"infra/hooks/a\.sh:2: az group list --quiet\n.*--quiet",
            r"infra/hooks/a\.sh:2: func start --prt 1\n.*--prt",
            r"infra/hooks/a\.sh:3: azd upp\n.*no such command",
            r"\.github/workflows/a\.yml:5: az group lst\n.*lst",
            r"infra/x\.bicep:3: az group creat -n a -l b\n.*creat",
        ]:
            self.assertRegex(output, expected)
        self.assertIn(", 8 faults", output)

    def test_nothing_to_check_is_a_fault(self):
        shutil.rmtree(self.root / "infra")
        self.assertEqual(self.run_check("check_commands.py", "--azure-cli", AZURE_CLI, "--home", HOME)[0], 1)

    def test_words_are_read_as_a_shell_reads_them(self):
        script = "for x in a; do\n  A=1 az rest --url \"https://$x/${y}\" -b '{\"a\": 1}' \\\n    --id $(az a b)\ndone"
        first, second = in_script("a.sh", script, 10)
        self.assertEqual(first.arguments, ("rest", "--url", "https://value/value", "-b", '{"a": 1}', "--id", "value"))
        self.assertEqual((first.line, second.line, second.arguments), (11, 12, ("a", "b")))

    def test_blocks_that_are_no_shell_hold_no_commands(self):
        self.write("README.md", "```text\naz nothing\n```\n\n```json\n`az x`\n```\n")
        self.assertEqual([one for one in commands(self.root) if one.path == "README.md"], [])

    def test_tables_know_options_and_names(self):
        everywhere = command_tables.AZD_EVERYWHERE
        for arguments, expected in [
            (("env", "set", "A", "b", "-e", "x"), None),
            (("env", "set", "A", "b", "c"), "takes 2 names at most"),
            (("deploy", "gateway", "--from-package"), "lacks its value"),
            (("deploy", "--frompackage=x"), "has no option --frompackage"),
            (("env",), "no such command"),
        ]:
            output = command_tables.message(command_tables.AZD, everywhere, arguments)
            self.assertEqual(output is None, expected is None, output)
            self.assertIn(expected or "", output or "")


if __name__ == "__main__":
    unittest.main()
