"""Shows that the rules for deployments to Container Apps find planted faults: run by `cargo dev check-infra`."""

import container_app_rules
from planted import Planted
from template_graph import Templates

MAIN, APP, PLACE = "container-app.bicep", "modules/container-app.bicep", "modules/container-environment.bicep"
PULL, VAULT, REDIS = "modules/registry-pull.bicep", "modules/vault.bicep", "modules/redis.bicep"
ROTATION = "rotateInApp ? {} : { CLOAKROOM_KEY_ROTATE: 'off' }"
# File, what stands there, what is planted instead, and what the check must say.
FAULTS = [
    # Parameters, regions, origins.
    ("container-app.bicepparam", "'MIN_REPLICAS', '2'", "'MIN_REPLICAS', '3'", "a variable 'minReplicas' is 3, but its default is 2"),
    (MAIN, "    location: region\n", "    location: resourceGroup().location\n", "it is in 'region-of-the-group', not in 'chosen'"),
    (MAIN, "endsWith(given, '/') ? take(given, length(given) - 1) : given", "given", "the setting is 'https://www.example.org/'"),
    (MAIN, "empty(customDomain) ? own : 'https://${customDomain}'", "own", "not 'https://app.example.org'"),
    (MAIN, ": toLower(appName)", ": appName", "the setting is 'https://App.{"),
    (MAIN, "sessions, pages, rotation", "sessions, rotation", "CLOAKROOM_ALLOWED_ORIGINS is not the list"),
    (APP, "empty(customDomain) ? [] : domains", "[]", "the ingress has the domains []"),
    (APP, "empty(customDomain) ? [] : domains", "domains", "the ingress has the domains ['']"),
    # The port and the ingress.
    (MAIN, "'0.0.0.0:${port}'", "'127.0.0.1:${port}'", "CLOAKROOM_LISTEN is '127.0.0.1:8080', which the ingress does not reach"),
    (MAIN, "'0.0.0.0:${port}'", "'0.0.0.0:8081'", "targetPort is 8080, not 8081"),
    (APP, "external: true", "external: false", "browsers come from outside"),
    (APP, "allowInsecure: false", "allowInsecure: true", "cookies would travel without TLS"),
    (APP, "transport: 'http'", "transport: 'http2'", "the gateway speaks HTTP/1.1"),
    (APP, "        clientCertificateMode: 'ignore'\n",
     "        corsPolicy: {\n          allowedOrigins: [\n            '*'\n          ]\n        }\n", "answers preflights itself"),
    (APP, "        clientCertificateMode: 'ignore'\n", "        stickySessions: {\n          affinity: 'sticky'\n        }\n", "every session"),
    (APP, "activeRevisionsMode: 'Single'", "activeRevisionsMode: 'Multiple'", "activeRevisionsMode is 'Multiple', not 'Single'"),
    (PLACE, "        enabled: true\n      }\n    }\n", "        enabled: false\n      }\n    }\n", "sessions would travel in the clear"),
    (MAIN, "gatewaySettings, fixed)", "fixed, gatewaySettings)", "gatewaySettings replaces CLOAKROOM_LISTEN"),
    (MAIN, "gatewaySettings, fixed)", "fixed, gatewaySettings)", "gatewaySettings replaces CLOAKROOM_DRAIN_DELAY"),
    # Probes, the end, replicas.
    (APP, "path: '/health/ready'", "path: '/health/live'", "the probes are {'Startup': "),
    (APP, "type: 'Readiness'", "type: 'Liveness'", "the probes are {'Startup': "),
    (APP, "                port: port\n", "                port: 80\n", "the probes are {'Startup': {'path': '/health/live', 'port': 80}"),
    (APP, "      terminationGracePeriodSeconds: gracePeriodSeconds\n", "", "terminationGracePeriodSeconds is None"),
    (MAIN, "drainSeconds + 20", "drainSeconds + 10", "terminationGracePeriodSeconds is 20; with a drain of 10s it must be 23"),
    (MAIN, "var drainSeconds = 10", "var drainSeconds = 1", "the drain is 1s: the ingress still sends requests"),
    (MAIN, "@minValue(1)\n@maxValue(30)", "@minValue(0)\n@maxValue(30)", "minReplicas may be 0: no key is rotated then"),
    (MAIN, "@minValue(1)\n@maxValue(30)\n", "", "minReplicas may be 0: no key is rotated then"),
    (MAIN, "minReplicas: minReplicas", "minReplicas: 1", "scale.minReplicas is 1, not 3"),
    (APP, "maxReplicas: maxReplicas", "maxReplicas: minReplicas", "scale.maxReplicas is 3, not 7"),
    # The identity.
    (APP, "      '${identityId}': {}", "      '${environmentId}': {}", "the settings name that one"),
    (MAIN, "AZURE_CLIENT_ID: identity.outputs.clientId", "AZURE_CLIENT_ID: clientId", "AZURE_CLIENT_ID is not that of its identity"),
    (APP, "      registries: empty", "      secrets: [\n        {\n          name: 'a'\n          value: image\n        }\n      ]\n"
     "      registries: empty", "it has secrets; the identity is the credential"),
    (APP, "    identity: identityId\n", "    username: name\n", "images are pulled by [None] with the roles"),
    (PULL, "'7f951dda-4ed3-4680-a7ca-43fe172d538d'", "'8311e382-0749-4cb8-b61a-304f252e45ec'", "not by the identity with AcrPull"),
    (PULL, "  scope: registry\n", "", "with the roles set(), not by the identity with AcrPull"),
    (APP, "empty(registryServer) ? [] : registries", "registries", "the image is public"),
    # Rotation.
    (MAIN, ROTATION, "{}", "with rotateInApp=false it must have CLOAKROOM_KEY_ROTATE=off, and only read keys"),
    (MAIN, ROTATION, "{ CLOAKROOM_KEY_ROTATE: 'off' }", "with rotateInApp it must rotate, by the role that may write keys"),
    (MAIN, "mayRotate: rotateInApp", "mayRotate: true", "with rotateInApp=false it must have CLOAKROOM_KEY_ROTATE=off, and only"),
    (VAULT, "resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!mayRotate)",
     "resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mayRotate)", "it must rotate, by the role"),
    # Logs.
    (PLACE, "destination: 'azure-monitor'", "destination: 'log-analytics'", "any other needs a key of the workspace"),
    (PLACE, "'ContainerAppConsoleLogs'\n        enabled: true", "'ContainerAppConsoleLogs'\n        enabled: false", "do not go to the"),
    (PLACE, "'ContainerAppConsoleLogs'", "'AppEnvSpringAppConsoleLogs'", "do not go to the workspace"),
    (PLACE, "workspaceId: workspaceId", "workspaceId: subnetId", "the alerts read that workspace"),
    (MAIN, "sourceId: monitoring.outputs.workspaceId", "sourceId: identity.outputs.id", "the log is there"),
    (MAIN, "module network ", "module telemetry 'modules/telemetry.bicep' = {\n  params: {\n    appName: name\n    location: region\n"
     "    tags: tags\n    workspaceId: monitoring.outputs.workspaceId\n    publisherPrincipalId: identity.outputs.principalId\n  }\n}\n\n"
     "module network ", "the gateway sends no telemetry"),
    # The virtual network, Redis.
    (PLACE, "empty(subnetId) ? null : network", "null", "infrastructureSubnetId is not the subnet of the app"),
    (PLACE, "empty(subnetId) ? null : network", "network", "there is no virtual network"),
    (PLACE, "internal: false", "internal: true", "vnetConfiguration.internal is True, not False"),
    (MAIN, "virtualNetwork ? union(ownSubnetIds, otherSubnetIds) : []", "[]", "vault: properties.networkAcls.defaultAction is 'Allow'"),
    (MAIN, "union(ownSubnetIds, otherSubnetIds)", "ownSubnetIds", "vault: networkAcls admit ['/providers"),
    (MAIN, "redis ? { CLOAKROOM_STORE: store!.outputs.url } : {}", "{ CLOAKROOM_STORE: 'rediss://example.org' }",
     "there is no Redis, but CLOAKROOM_STORE is set"),
    (MAIN, "virtualNetwork ? network!.outputs.endpointsSubnetId : ''", "subnetId", "endpoint: its subnet is"),
    (REDIS, "accessKeysAuthentication: 'Disabled'", "accessKeysAuthentication: 'Enabled'", "who has a key needs no identity"),
    # What cannot be evaluated.
    (MAIN, "take(listed, ", "takeFrom(listed, ", "this cannot be evaluated here: KeyError"),
    (MAIN, "if (!empty(containerRegistry))", "if (empty(containerRegistry))", "infra/container-app.bicep:1: a deployment would stop"),
]  # fmt: skip


class ContainerApps(Planted):
    """container_app_rules.py"""

    def faults(self):
        """What the rules report."""
        return [str(fault) for fault in container_app_rules.faults(Templates(self.root))]

    def test_the_template_has_no_faults(self):
        self.assertEqual(self.faults(), [])

    def test_every_planted_fault_is_reported(self):
        for path, old, new, expected in FAULTS:
            with self.subTest(old, planted=new):
                original = (self.root / "infra" / path).read_text()
                self.replace(path, old, new)
                found = self.faults()
                (self.root / "infra" / path).write_text(original)
                self.assertTrue([line for line in found if expected in line], f"{expected!r} is not among {found}")
