"""What a deployment to Container Apps consists of, for chosen parameters: rules of infra/container-app.bicep, which shares
its modules with main.bicep and so the rules on them."""

from bicep_deployment import Deployment
from bicep_file import Fault
from bicep_functions import REGION
from deployment_rules import CLIENT, DEFAULT_ACTION, EVERYTHING, OTHER_SUBNET, SUBNET, AppParts
from deployment_rules import admitted, apply, default_faults, differs, fault, given_parameters, private_faults, store_faults
from kubernetes_rules import FINISH, MARGIN, seconds
from template_graph import Templates

TEMPLATE = "container-app"
IMAGE = "ghcr.io/cloakroom/cloakroom:0.1.0"
REQUIRED = {"clientId": CLIENT, "image": IMAGE}
ALL = EVERYTHING | {"containerRegistry": "example"}
ENVIRONMENT, VAULT = "Microsoft.App/managedEnvironments", "Microsoft.KeyVault/vaults"
ASSIGNMENT, DIAGNOSTICS = "Microsoft.Authorization/roleAssignments", "Microsoft.Insights/diagnosticSettings"
SECRETS_USER, ACR_PULL = "4633458b-17de-408a-b874-0445c86b69e6", "7f951dda-4ed3-4680-a7ca-43fe172d538d"
PROBES = {"Startup": "/health/live", "Liveness": "/health/live", "Readiness": "/health/ready"}
LOGS = {"ContainerAppConsoleLogs", "ContainerAppSystemLogs"}


class ContainerApp(AppParts):
    """A deployment of container-app.bicep, with every option that adds resources."""

    def __init__(self, templates: Templates, **given):
        super().__init__(Deployment(templates, _template(templates), REQUIRED | ALL | given))
        self.site = self.only("Microsoft.App/containerApps")
        self.environment = self.only(ENVIRONMENT)
        [self.container] = self.site.at("properties.template.containers")
        self.settings = {one["name"]: one["value"] for one in self.container["env"]}
        self.ingress = self.site.at("properties.configuration.ingress")

    def roles(self, scope: str) -> set[str]:
        """Those of the identity on the one resource of a type."""
        principal = f"{{{self.identity.id}.properties.principalId}}"
        own = [one for one in self.of(ASSIGNMENT) if one.at("properties.principalId") == principal]
        there = [one for one in own if one.values.get("scope") is not None and one.values["scope"].type == scope]
        return {one.at("properties.roleDefinitionId").rpartition("/")[2] for one in there}


def _template(templates):
    return templates.files[(templates.root / f"infra/{TEMPLATE}.bicep").resolve()]


def faults(templates: Templates) -> list[Fault]:
    """Breaches of all rules."""
    rules = (_defaults, _regions, _origins, _port, _probes, _shutdown, _replicas, _identity, _rotation, _logs, _network)
    return apply((*rules, _redis), templates, _template(templates))


def _passed(templates, **environment):
    return given_parameters(templates, TEMPLATE, IMAGE=IMAGE, **environment)


def _defaults(templates):
    yield from default_faults(templates, _passed(templates), _template(templates), REQUIRED)


def _regions(templates):
    for variables, expected in (({}, REGION), ({"AZURE_LOCATION": "chosen"}, "chosen")):
        given = _passed(templates, **variables).values()
        for one in ContainerApp(templates, **given | ALL).deployment.resources:
            if "location" in one.values and one.at("location") not in (expected, "global"):
                yield fault(one, f"it is in '{one.at('location')}', not in '{expected}'")


def _origins(templates):
    """The app's own address, a domain, or what is chosen; without a slash at the end."""
    app = ContainerApp(templates, appName="App")
    own = f"https://app.{{{app.environment.id}.properties.defaultDomain}}"
    for given, expected in [
        ({}, own),
        ({"customDomain": "app.example.org"}, "https://app.example.org"),
        ({"customDomain": "app.example.org", "publicOrigin": "https://www.example.org/"}, "https://www.example.org"),
    ]:
        app = ContainerApp(templates, appName="App", allowedOrigins="https://a.example.org/, https://b.example.org", **given)
        setting, output = (one.get("CLOAKROOM_PUBLIC_ORIGIN") for one in (app.settings, app.deployment.outputs))
        if {setting, output} != {expected}:
            yield fault(app.site, f"the setting is '{setting}', the output '{output}', not '{expected}'")
        if app.settings.get("CLOAKROOM_ALLOWED_ORIGINS") != "https://a.example.org,https://b.example.org":
            yield fault(app.site, "CLOAKROOM_ALLOWED_ORIGINS is not the list without spaces and slashes")
        domains = [one["name"] for one in app.ingress["customDomains"]]
        if domains != [name for name in [given.get("customDomain")] if name]:
            yield fault(app.site, f"the ingress has the domains {domains}")


def _port(templates):
    """The ingress is the only way in, and leads to the gateway."""
    app = ContainerApp(templates)
    listen = app.settings.get("CLOAKROOM_LISTEN", "")
    if not listen.startswith("0.0.0.0:"):
        yield fault(app.site, f"CLOAKROOM_LISTEN is '{listen}', which the ingress does not reach")
    at = "properties.configuration.ingress."
    for name, expected, why in [
        ("targetPort", int(listen.rpartition(":")[2] or 0), "that is the port of CLOAKROOM_LISTEN"),
        ("external", True, "browsers come from outside"),
        ("allowInsecure", False, "cookies would travel without TLS"),
        ("transport", "http", "the gateway speaks HTTP/1.1"),
        ("corsPolicy", None, "the gateway answers preflights itself"),
        ("stickySessions", None, "every replica knows every session"),
    ]:
        yield from differs(app.site, at + name, expected, why)
    yield from differs(app.site, "properties.configuration.activeRevisionsMode", "Single", "the new revision gets the traffic")
    encrypted = "properties.peerTrafficConfiguration.encryption.enabled"
    yield from differs(app.environment, encrypted, True, "sessions would travel in the clear")


def _probes(templates):
    app = ContainerApp(templates)
    asked = {one["type"]: one["httpGet"] for one in app.container["probes"]}
    expected = {name: {"path": path, "port": app.ingress["targetPort"]} for name, path in PROBES.items()}
    if asked != expected:
        yield fault(app.site, f"the probes are {asked}, not {expected} (contract 17.7)")


def _shutdown(templates):
    """Contract 17.6."""
    app = ContainerApp(templates)
    drain = app.settings.get("CLOAKROOM_DRAIN_DELAY", "0s")
    grace, needed = app.site.at("properties.template.terminationGracePeriodSeconds"), seconds(drain) + FINISH + MARGIN
    if grace is None or grace < needed:
        yield fault(app.site, f"terminationGracePeriodSeconds is {grace}; with a drain of {drain} it must be {needed:g}")
    own = ("CLOAKROOM_LISTEN", "CLOAKROOM_DRAIN_DELAY")
    replaced = ContainerApp(templates, gatewaySettings={name: "replaced" for name in own})
    for name in own:
        if replaced.settings[name] != app.settings[name]:
            yield fault(app.site, f"gatewaySettings replaces {name}, on which probes and grace period depend")
    if seconds(drain) < FINISH / 2:
        yield fault(app.site, f"the drain is {drain}: the ingress still sends requests when the port closes")


def _replicas(templates):
    """One must run, or no key is rotated."""
    one = _template(templates).declarations["minReplicas"]
    least = one.decorators.get("minValue")
    if not least or int(_template(templates).text(least[0])) < 1:
        yield Fault(_template(templates).name, one.node.start_point[0] + 1, "minReplicas may be 0: no key is rotated then")
    app = ContainerApp(templates, minReplicas=3, maxReplicas=7)
    for name, expected in (("minReplicas", 3), ("maxReplicas", 7)):
        yield from differs(app.site, f"properties.template.scale.{name}", expected, "it was chosen")


def _identity(templates):
    """The identity is the only credential, of the registry too."""
    app = ContainerApp(templates)
    yield from differs(app.site, "identity.userAssignedIdentities", {app.identity.id: {}}, "the settings name that one")
    if app.settings.get("AZURE_CLIENT_ID") != f"{{{app.identity.id}.properties.clientId}}":
        yield fault(app.site, "AZURE_CLIENT_ID is not that of its identity")
    if app.site.at("properties.configuration.secrets"):
        yield fault(app.site, "it has secrets; the identity is the credential")
    used = [one.get("identity") for one in app.site.at("properties.configuration.registries")]
    pulls = app.roles("Microsoft.ContainerRegistry/registries")
    if used != [app.identity.id] or pulls != {ACR_PULL}:
        yield fault(app.site, f"images are pulled by {used} with the roles {pulls}, not by the identity with AcrPull")
    yield from differs(ContainerApp(templates, containerRegistry="").site, "properties.configuration.registries", [],
                       "the image is public")  # fmt: skip


def _rotation(templates):
    """Who rotates may write keys, and who may write keys rotates (contract 17.3)."""
    app = ContainerApp(templates, rotateInApp=False)
    if app.settings.get("CLOAKROOM_KEY_ROTATE") != "off" or app.roles(VAULT) != {SECRETS_USER}:
        yield fault(app.site, "with rotateInApp=false it must have CLOAKROOM_KEY_ROTATE=off, and only read keys")
    app = ContainerApp(templates)
    if "CLOAKROOM_KEY_ROTATE" in app.settings or app.roles(VAULT) & {SECRETS_USER} or not app.roles(VAULT):
        yield fault(app.site, "with rotateInApp it must rotate, by the role that may write keys")


def _logs(templates):
    app = ContainerApp(templates)
    workspace = app.only("Microsoft.OperationalInsights/workspaces")
    for one in app.of("Microsoft.Insights/components"):
        yield fault(one, "the gateway sends no telemetry: nothing uses it")
    at = "properties.appLogsConfiguration"
    yield from differs(app.environment, at, {"destination": "azure-monitor"}, "any other needs a key of the workspace")
    found = [one for one in app.of(DIAGNOSTICS) if one.values.get("scope") is app.environment]
    for one in found:
        yield from differs(one, "properties.workspaceId", workspace.id, "the alerts read that workspace")
    if {log["category"] for one in found for log in one.at("properties.logs") if log["enabled"]} != LOGS:
        yield fault(app.environment, f"its logs {LOGS} do not go to the workspace")
    for one in app.of("Microsoft.Insights/scheduledQueryRules"):
        yield from differs(one, "properties.scopes", [workspace.id], "the log is there")


def _network(templates):
    """With `virtualNetwork` the vault admits the app's subnet only; without it there is no rule."""
    at = "properties.vnetConfiguration.infrastructureSubnetId"
    app = ContainerApp(templates, virtualNetwork=True, otherSubnetIds=[OTHER_SUBNET])
    subnets = [one.id for one in app.of(SUBNET) if one.at("properties.delegations")]
    vault = app.only(VAULT)
    if app.environment.at(at) not in subnets:
        yield fault(app.environment, f"{at} is not the subnet of the app: {subnets}")
    yield from differs(app.environment, "properties.vnetConfiguration.internal", False, "browsers come from outside")
    yield from differs(vault, DEFAULT_ACTION, "Deny", "with virtualNetwork nothing else closes it")
    yield from admitted(vault, [*subnets, OTHER_SUBNET])
    app = ContainerApp(templates)
    yield from differs(app.environment, "properties.vnetConfiguration", None, "there is no virtual network")
    yield from differs(app.only(VAULT), DEFAULT_ACTION, "Allow", "without virtualNetwork the app could not reach it")
    yield from admitted(app.only(VAULT), [])


def _redis(templates):
    if "CLOAKROOM_STORE" in ContainerApp(templates, redis=False).settings:
        yield fault(ContainerApp(templates).site, "there is no Redis, but CLOAKROOM_STORE is set")
    yield from store_faults(ContainerApp(templates), "Enabled")
    app = ContainerApp(templates, virtualNetwork=True)
    yield from store_faults(app, "Disabled")
    yield from private_faults(app)
