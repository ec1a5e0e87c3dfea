"""Shows that the rules for deployments find planted faults, and that expressions have the values that Bicep gives them: run
by `cargo dev check-infra`.
"""

import deployment_rules
from bicep_deployment import Deployment, Unreadable
from bicep_functions import Stopped
from planted import Planted
from template_graph import Templates

FLEX, CONSUMPTION = "modules/flex.bicep", "modules/consumption.bicep"
NETWORK, REDIS = "modules/network.bicep", "modules/redis.bicep"
PACKAGES, STORAGE, VAULT = "modules/packages.bicep", "modules/storage.bicep", "modules/vault.bicep"
SCM = "scmIpSecurityRestrictionsUseMain: false"
RESTRICTIONS = "ipSecurityRestrictions: empty(frontDoorId) ? [] : frontDoor"
# File, what stands there, what is planted instead, and what the check must say.
FAULTS = [
    # Defaults and regions.
    ("main.bicepparam", "'AZURE_LOCATION', ''", "'AZURE_LOCATION', 'westeurope'",
     "main.bicepparam:11: without a variable 'location' is 'westeurope', but its default is ''"),
    ("main.bicepparam", "'HOSTING_PLAN', 'flex'", "'HOSTING_PLAN', 'consumption'", "without a variable 'hostingPlan' is"),
    ("main.bicepparam", "'ROTATE_IN_APP', 'true'", "'ROTATE_IN_APP', 'false'", "without a variable 'rotateInApp' is False"),
    ("main.bicep", "location string = ''", "location string = 'westeurope'", "is '', but its default is 'westeurope'"),
    ("main.bicep", "? resourceGroup().location :", "? 'westeurope' :", "it is in 'westeurope', not in 'region-of-the-group'"),
    ("main.bicep", "    location: region\n", "    location: resourceGroup().location\n", "not in 'chosen', by the variables"),
    ("main.bicep", "empty(keyVaultLocation) ? region : keyVaultLocation", "region", "vault: it is in 'chosen', not in 'shared'"),
    # Origins.
    ("main.bicep", "endsWith(given, '/') ? take(given, length(given) - 1) : given", "given",
     "of publicOrigin 'https://app.example.org/' the setting is 'https://app.example.org/'"),
    ("main.bicep", "CLOAKROOM_PUBLIC_ORIGIN string = origin", "CLOAKROOM_PUBLIC_ORIGIN string = given",
     "the output 'https://app.example.org/'"),
    ("app-registration/main.bicep", "endsWith(publicOrigin, '/') ? take(publicOrigin, length(publicOrigin) - 1) : publicOrigin",
     "publicOrigin", "web.redirectUris is ['https://app.example.org//auth/callback', "),
    ("main.bicep", "replace(replace('${allowedOrigins},', ' ', ''), '/,', ',')", "'${allowedOrigins},'",
     "CLOAKROOM_ALLOWED_ORIGINS is not the list without"),
    ("main.bicep", "{ CLOAKROOM_ALLOWED_ORIGINS: origins }", "{ CLOAKROOM_ALLOWED_ORIGINS: given }",
     "CLOAKROOM_ALLOWED_ORIGINS is not the list without"),
    (FLEX, "      cors: empty(allowedOrigins) ? null : cors\n", "", "siteConfig.cors is None, not {'allowedOrigins': ["),
    (CONSUMPTION, "empty(allowedOrigins) ? null : cors", "empty(allowedOrigins) ? cors : null", "siteConfig.cors is None"),
    (FLEX, "empty(allowedOrigins) ? null : cors", "cors", "not None: there is no other origin"),
    (CONSUMPTION, "supportCredentials: true", "supportCredentials: false", "'supportCredentials': True}: the host answers"),
    # The identity.
    (FLEX, "    keyVaultReferenceIdentity: identityId\n", "", "references to Key Vault would use no identity"),
    (CONSUMPTION, "keyVaultReferenceIdentity: identityId", "keyVaultReferenceIdentity: name", "would use no identity"),
    # The package.
    ("main.bicep", "mayUpload: isFlex", "mayUpload: true", "app: on consumption the app could replace its package"),
    ("main.bicep", "mayUpload: isFlex", "mayUpload: !isFlex", "app: on consumption the app could replace its package"),
    (PACKAGES, "var appRole = mayUpload ? ", "var appRole = !mayUpload ? ", "app: on consumption the app could replace"),
    (PACKAGES, "'ba92f5b4-2d11-453d-a403-e96b0029c9fe'", "'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'",
     "app: on flex the app could replace its package, by the role b7e6dc6d"),
    (PACKAGES, "  scope: account\n", "", "it gives the app's identity a role in the whole group"),
    ("main.bicep", "packageContainerUrl: packages.outputs.containerUrl\n    subnetId",
     "packageContainerUrl: storage.outputs.blobEndpoint\n    subnetId",
     "on flex the package does not lie in an account of its own"),
    ("main.bicep", "packageContainerUrl: packages.outputs.containerUrl\n  }",
     "packageContainerUrl: storage.outputs.blobEndpoint\n  }",
     "on consumption the package does not lie in an account of its own"),
    ("main.bicep", "'pk${uniqueString(", "'st${uniqueString(", "the package does not lie in an account of its own"),
    # Front Door.
    (FLEX, "'x-azure-fdid'", "'x-forwarded-host'", "it admits others than the Front Door with {'x-azure-fdid': ["),
    (CONSUMPTION, "        frontDoorId\n", "        name\n", "it admits others than the Front Door with {'x-azure-fdid': ["),
    (FLEX, "    headers: {\n      'x-azure-fdid': [\n        frontDoorId\n      ]\n    }\n", "", "it admits others than"),
    (CONSUMPTION, "'AzureFrontDoor.Backend'", "'AzureCloud'", "it admits others than the Front Door"),
    (FLEX, RESTRICTIONS, "ipSecurityRestrictions: empty(frontDoorId) ? frontDoor : []", "it admits others than"),
    (CONSUMPTION, f"      {RESTRICTIONS}\n", "", "it admits others than"),
    (CONSUMPTION, RESTRICTIONS, "ipSecurityRestrictions: frontDoor", "not []: no Front Door was chosen"),
    (FLEX, "empty(frontDoorId) ? 'Allow' : 'Deny'", "'Allow'", "DefaultAction is 'Allow', not 'Deny'"),
    (CONSUMPTION, "empty(frontDoorId) ? 'Allow' : 'Deny'", "empty(frontDoorId) ? 'Deny' : 'Allow'", "is 'Allow', not 'Deny'"),
    (FLEX, SCM, "scmIpSecurityRestrictionsUseMain: true", "no deployment gets past Front Door"),
    (CONSUMPTION, f"      {SCM}\n", "", "scmIpSecurityRestrictionsUseMain is None, not False: no deployment gets past"),
    ("main.bicep", "    frontDoorId: frontDoorId\n", "    frontDoorId: ''\n", "DefaultAction is 'Allow', not 'Deny'"),
    # The virtual network.
    (VAULT, "empty(subnetIds) ? 'Allow' : 'Deny'", "'Allow'", "vault: properties.networkAcls.defaultAction is 'Allow', not"),
    (VAULT, "empty(subnetIds) ? 'Allow' : 'Deny'", "empty(subnetIds) ? 'Deny' : 'Allow'", "vault: properties.networkAcls.defa"),
    (STORAGE, "empty(subnetId) ? 'Allow' : 'Deny'", "empty(subnetId) ? 'Deny' : 'Allow'", "infra/modules/storage.bicep:30: acco"),
    (PACKAGES, "empty(subnetId) ? 'Allow' : 'Deny'", "'Allow'", "account: properties.networkAcls.defaultAction is 'Allow', not"),
    (PACKAGES, "empty(subnetId) ? [] : appSubnet", "appSubnet", "account: networkAcls admit [''], not []"),
    (STORAGE, "empty(subnetId) ? [] : appSubnet", "[]", "account: networkAcls admit [], not ['/providers/Microsoft.Network"),
    (STORAGE, "      bypass: 'AzureServices'\n", "      ipRules: [\n        { value: '0.0.0.0/1' }\n      ]\n", "networkAcls admit"),
    ("main.bicep", "    ownerPrincipalId: identity.outputs.principalId\n    subnetId: subnetId\n",
     "    ownerPrincipalId: identity.outputs.principalId\n    subnetId: ''\n",
     "infra/modules/storage.bicep:30: account: properties.networkAcls.defaultAction is 'Allow', not 'Deny'"),
    ("main.bicep", "    subnetId: subnetId\n    workspaceId", "    subnetId: ''\n    workspaceId",
     "infra/modules/packages.bicep:42: account: properties.networkAcls.defaultAction is 'Allow', not 'Deny'"),
    ("main.bicep", "    subnetId: subnetId\n    instance", "    subnetId: ''\n    instance", "virtualNetworkSubnetId is not the"),
    ("main.bicep", "closed ? network!.outputs.subnetId : ''", "closed ? '' : network!.outputs.subnetId", "would stop: 'outputs'"),
    ("main.bicep", "closed ? union(ownSubnetIds, otherSubnetIds) : []", "[]", "vault: properties.networkAcls.defaultAction is"),
    ("main.bicep", "closed ? union(ownSubnetIds, otherSubnetIds) : []", "otherSubnetIds", "vault: networkAcls admit ['/subscr"),
    ("main.bicep", "? fail('virtualNetwork needs hostingPlan=flex') : virtualNetwork", "? false : virtualNetwork",
     "on consumption a deployment with virtualNetwork does not stop"),
    # Redis.
    ("main.bicep", "module store 'modules/redis.bicep' = if (redis)", "module store 'modules/redis.bicep' =",
     "cluster: it is deployed and billed, although it was not chosen"),
    ("main.bicep", "redis ? { CLOAKROOM_STORE: store!.outputs.url } : {}", "{ CLOAKROOM_STORE: 'rediss://example.org' }",
     "there is no Redis, but CLOAKROOM_STORE is set"),
    ("main.bicep", "site, sessions, pages", "site, pages", "CLOAKROOM_STORE is None, not rediss://{"),
    (REDIS, "'rediss://${", "'redis://${", "CLOAKROOM_STORE is redis://{"),
    (REDIS, "accessKeysAuthentication: 'Disabled'", "accessKeysAuthentication: 'Enabled'", "who has a key needs no identity"),
    (REDIS, "    accessKeysAuthentication: 'Disabled'\n", "", "who has a key needs no identity"),
    (REDIS, "clientProtocol: 'Encrypted'", "clientProtocol: 'Plaintext'", "tokens of Entra would be readable"),
    (REDIS, "evictionPolicy: 'NoEviction'", "evictionPolicy: 'VolatileLRU'", "sessions would end before their time"),
    (REDIS, "port: 10000", "port: 6380", "that is the port of the service"),
    (REDIS, "highAvailability: 'Enabled'", "highAvailability: 'Disabled'", "maintenance would end all sessions"),
    (REDIS, "minimumTlsVersion: '1.2'", "minimumTlsVersion: '1.0'", "older versions are broken"),
    (REDIS, "objectId: gatewayPrincipalId", "objectId: name", "the app signs in with its identity"),
    (REDIS, "closed ? 'Disabled' : 'Enabled'", "'Enabled'", "publicNetworkAccess is 'Enabled', not 'Disabled'"),
    (REDIS, "closed ? 'Disabled' : 'Enabled'", "'Disabled'", "publicNetworkAccess is 'Disabled', not 'Enabled'"),
    ("main.bicep", "closed ? network!.outputs.endpointsSubnetId : ''", "subnetId", "endpoint: its subnet is /providers/Microsoft.N"),
    ("main.bicep", "closed ? network!.outputs.id : ''", "''", "the app would get the public address"),
    (NETWORK, "hasEndpoints ? endpoints!.id : ''", "hasEndpoints ? subnet.id : ''", "endpoint: its subnet is"),
    (REDIS, "privateLinkServiceId: cluster.id", "privateLinkServiceId: database.id", "it does not lead to Redis"),
    (REDIS, "'privatelink.redis.azure.net'", "'privatelink.redis.cache.windows.net'", "by that name Azure finds the endpoint"),
    (REDIS, "privateDnsZoneId: zone!.id", "privateDnsZoneId: link.id", "the endpoint's address is not in the zone"),
    # What cannot be evaluated is a fault too.
    ("main.bicep", "module flex 'modules/flex.bicep' = if (isFlex)", "module flex 'modules/flex.bicep' = if (!isFlex)",
     "a deployment would stop: 'outputs' is read of what is not deployed"),
    ("main.bicep", "module identity 'modules/identity.bicep'", "module identity 'modules/monitor.bicep'",
     "infra/main.bicep:121: there is no file 'modules/monitor.bicep'"),
    ("main.bicep", "take(listed, ", "takeFrom(listed, ", "infra/main.bicep:116: this cannot be evaluated here: KeyError"),
    ("main.bicep", "param clientId string\n", "param clientId string\n\n@description('a')\nparam more string\n\noutput o string = more\n",
     "a deployment would stop: there is no value for param 'more'"),
]  # fmt: skip
EXPRESSIONS = """\
param given string = 'a'
var names = [
  'x'
  'y'
]
resource account 'A.b/accounts@1' = [
  for (name, number) in names: if (number > 0) {
    name: 'acc${name}${number}'
  }
]
resource vault 'A.b/vaults@1' = {
  name: 'v\\'${true}'
}
resource child 'A.b/vaults/keys@1' = {
  parent: vault
  name: 'k'
}
output merged object = union({ a: 1, b: 2 }, { b: 3 })
output lists array = union(names, ['y', 'z'])
output pairs array = items({ b: 1, a: 2 })
output loop array = [
  for (name, number) in names: '${number}${name}'
]
output ids array = [vault.id, vault.name, child.id, vault.properties.vaultUri]
output either string = given == 'a' ? 'first' : given ?? 'c'
output both bool = given != 'a' && fail('not evaluated') || bool('True')
output text string = take(replace('a-b-c', '-', ''), 2)
output second string = empty('') ? vault!.properties.a : vault!.properties.b
"""


class Deployments(Planted):
    """deployment_rules.py"""

    def faults(self):
        """What the rules report."""
        return [str(fault) for fault in deployment_rules.faults(Templates(self.root))]

    def test_the_templates_have_no_faults_and_their_copy_has_none_either(self):
        self.assertEqual(self.faults(), [])

    def test_every_planted_fault_is_reported(self):
        for path, old, new, expected in FAULTS:
            with self.subTest(old, planted=new):
                original = (self.root / "infra" / path).read_text()
                self.replace(path, old, new)
                found = self.faults()
                (self.root / "infra" / path).write_text(original)
                self.assertTrue([line for line in found if expected in line], f"{expected!r} is not among {found}")

    def deployed(self, text):
        """What a template of this text deploys."""
        self.write("infra/a.bicep", text)
        templates = Templates(self.root)
        return Deployment(templates, templates.files[self.root / "infra/a.bicep"], {})

    def test_expressions_have_the_values_that_bicep_gives_them(self):
        deployed = self.deployed(EXPRESSIONS)
        vault = "/providers/A.b/vaults/v'true"
        self.assertEqual([one.id for one in deployed.resources], ["/providers/A.b/accounts/accy1", vault, f"{vault}/keys/k"])
        expected = {
            "merged": {"a": 1, "b": 3},
            "lists": ["x", "y", "z"],
            "pairs": [{"key": "a", "value": 2}, {"key": "b", "value": 1}],
            "loop": ["0x", "1y"],
            "ids": [vault, "v'true", f"{vault}/keys/k", f"{{{vault}.properties.vaultUri}}"],
            "either": "first",
            "both": True,
            "text": "ab",
            "second": f"{{{vault}.properties.a}}",
        }
        self.assertEqual(deployed.outputs, expected)

    def test_what_cannot_be_evaluated_or_deployed_is_an_error(self):
        for text, expected in [
            ("output a string = nothing(1)\n", Unreadable),
            ("output a string = missing\n", Unreadable),
            ("module a 'b.bicep' = {}\n", Unreadable),
            ("param a string\noutput b string = a\n", Stopped),
            ("output a string = fail('x')\n", Stopped),
            ("module n 'modules/network.bicep' = if (false) {}\noutput a string = n!.outputs.subnetId\n", Stopped),
        ]:
            with self.subTest(text), self.assertRaises(expected):
                self.deployed(text)
