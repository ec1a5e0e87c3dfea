"""What deployments of the templates must be, by whatever expressions: regions, origins, the account of the package, who
may call app, vault and storage, and Redis. Each rule deploys the templates with parameters of its own.
"""

from bicep_deployment import Deployment, Parameters, Resource, Unreadable
from bicep_file import Fault
from bicep_functions import REGION, Stopped
from template_graph import Templates

PLANS = ("flex", "consumption")
CLIENT = "33333333-3333-3333-3333-333333333333"
BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
ACCOUNT = "Microsoft.Storage/storageAccounts"
FRONT_DOOR = "11111111-2222-3333-4444-555555555555"
OTHER_SUBNET = "/subscriptions/s/other-subnet"
SUBNET = "Microsoft.Network/virtualNetworks/subnets"
DEFAULT_ACTION = "properties.networkAcls.defaultAction"
# The options that add resources.
EVERYTHING = {"staticWebsite": True, "alertEmail": "a@example.org", "redis": True}
CLUSTER, DATABASE = "Microsoft.Cache/redisEnterprise", "Microsoft.Cache/redisEnterprise/databases"
ENDPOINT, ZONE = "Microsoft.Network/privateEndpoints", "Microsoft.Network/privateDnsZones"
LINK = f"{ZONE}/virtualNetworkLinks"


class AppParts:
    """A deployment of one app, by the parts that rules ask for."""

    def __init__(self, deployment: Deployment):
        self.deployment = deployment
        self.identity = self.only("Microsoft.ManagedIdentity/userAssignedIdentities")

    def of(self, kind: str) -> list[Resource]:
        """The resources of a type."""
        return [one for one in self.deployment.resources if one.type == kind]

    def only(self, kind: str) -> Resource:
        """The resource of a type of which there is one."""
        found = self.of(kind)
        if len(found) != 1:
            raise Stopped(f"there are {len(found)} {kind}, not one")
        return found[0]


class App(AppParts):
    """A deployment of main.bicep, with every option that adds resources."""

    def __init__(self, templates: Templates, **given):
        super().__init__(Deployment(templates, templates.main(), {"clientId": CLIENT} | EVERYTHING | given))
        self.site = self.only("Microsoft.Web/sites")
        settings = self.site.at("properties.siteConfig.appSettings") or []
        self.settings = {one["name"]: one["value"] for one in settings}

    def account(self, address: str) -> Resource | None:
        """The storage account that an address is of."""
        found = [one for one in self.of(ACCOUNT) if address.startswith(f"{{{one.id}.")]
        return found[0] if found else None

    def package(self) -> Resource | None:
        """The storage account of the package, on either plan."""
        own = self.site.at("properties.functionAppConfig.deployment.storage.value")
        return self.account(own or self.settings.get("WEBSITE_RUN_FROM_PACKAGE", ""))


def faults(templates: Templates) -> list[Fault]:
    """Breaches of all rules."""
    rules = (_defaults, _regions, _origins, _registration, _identity, _package, _front_door, _network, _redis)
    return apply(rules, templates, templates.main())


def apply(rules, templates: Templates, template) -> list[Fault]:
    """Breaches of some rules of a template."""
    found = []
    for rule in rules:
        try:
            found += rule(templates)
        except Unreadable as error:
            line = error.node.start_point[0] + 1 if error.node is not None else 1
            found.append(Fault(error.file.name, line, str(error)))
        except Stopped as error:
            found.append(Fault(template.name, 1, f"a deployment would stop: {error}"))
    return found


def fault(one: Resource, message: str) -> Fault:
    """At the resource."""
    return Fault(one.file.name, one.declaration.node.start_point[0] + 1, f"{one.declaration.name}: {message}")


def differs(one: Resource, path: str, expected, why: str) -> list[Fault]:
    """A value that is not as it must be."""
    value = one.at(path)
    return [] if value == expected else [fault(one, f"{path} is {value!r}, not {expected!r}: {why}")]


def given_parameters(templates, name="main", **environment):
    """What a file of parameters passes with these variables."""
    path = templates.root / f"infra/{name}.bicepparam"
    return Parameters(templates, path, {"CLOAKROOM_CLIENT_ID": CLIENT} | environment)


def _defaults(templates):
    yield from default_faults(templates, given_parameters(templates), templates.main(), {"clientId": CLIENT})


def default_faults(templates, passed, template, required):
    """The file of parameters passes the defaults of its template where no variable is set."""
    default = Deployment(templates, template, required)
    for name, value in passed.values().items():
        one = template.declarations.get(name)
        if one is not None and one.value is not None and value != default.of(one.value, {}):
            text = f"without a variable '{name}' is {value!r}, but its default is {default.of(one.value, {})!r}"
            yield Fault(passed.file.name, passed.file.declarations[name].node.start_point[0] + 1, text)


def _regions(templates):
    """Everything is in the group's region or in the one that is chosen; the vault may have its own."""
    for variables, expected, vault in [
        ({}, REGION, REGION),
        ({"AZURE_LOCATION": "chosen"}, "chosen", "chosen"),
        ({"AZURE_LOCATION": "chosen", "KEY_VAULT_LOCATION": "shared"}, "chosen", "shared"),
    ]:
        given = given_parameters(templates, **variables).values()
        for one in App(templates, **given | EVERYTHING).deployment.resources:
            wanted = vault if one.type == "Microsoft.KeyVault/vaults" else expected
            if "location" in one.values and one.at("location") not in (wanted, "global"):
                yield fault(one, f"it is in '{one.at('location')}', not in '{wanted}', by the variables {variables}")


def _origins(templates):
    """No origin ends in a slash, and the platform's list is the gateway's."""
    for plan in PLANS:
        for public in ("https://app.example.org", "https://app.example.org/"):
            given = {"publicOrigin": public, "allowedOrigins": "https://a.example.org/, https://b.example.org"}
            app = App(templates, hostingPlan=plan, **given)
            setting, output = (one.get("CLOAKROOM_PUBLIC_ORIGIN") for one in (app.settings, app.deployment.outputs))
            if {setting, output} != {"https://app.example.org"}:
                yield fault(app.site, f"of publicOrigin '{public}' the setting is '{setting}', the output '{output}'")
            listed = ["https://a.example.org", "https://b.example.org"]
            if app.settings.get("CLOAKROOM_ALLOWED_ORIGINS") != ",".join(listed):
                yield fault(app.site, "CLOAKROOM_ALLOWED_ORIGINS is not the list without spaces and slashes")
            expected = {"allowedOrigins": listed, "supportCredentials": True}
            yield from differs(app.site, "properties.siteConfig.cors", expected, "the host answers preflights by it")
        app = App(templates, hostingPlan=plan)
        yield from differs(app.site, "properties.siteConfig.cors", None, "there is no other origin")


def _registration(templates):
    """The app registration gets the same redirect URIs with and without a slash at the end of the origin."""
    path = (templates.root / "infra/app-registration/main.bicep").resolve()
    for public in ("https://app.example.org", "https://app.example.org/"):
        for one in Deployment(templates, templates.files[path], {"publicOrigin": public}).resources:
            if one.type == "Microsoft.Graph/applications":
                expected = [f"https://app.example.org/auth/{name}" for name in ("callback", "logout")]
                yield from differs(one, "web.redirectUris", expected, f"publicOrigin is '{public}'")


def _identity(templates):
    """References to Key Vault use the identity that the app has."""
    for plan in PLANS:
        app = App(templates, hostingPlan=plan)
        why = "references to Key Vault would use no identity of the app"
        yield from differs(app.site, "properties.keyVaultReferenceIdentity", app.identity.id, why)


def _package(templates):
    """The package lies in an account of its own, of which the app has only the role that its plan needs."""
    for plan, allowed in (("flex", {BLOB_CONTRIBUTOR, BLOB_READER}), ("consumption", {BLOB_READER})):
        app = App(templates, hostingPlan=plan)
        package, host = app.package(), app.account(app.settings.get("AzureWebJobsStorage__blobServiceUri", ""))
        if package is None or host is None or package.id == host.id:
            yield fault(app.site, f"on {plan} the package does not lie in an account of its own")
            continue
        principal = f"{{{app.identity.id}.properties.principalId}}"
        for one in app.of("Microsoft.Authorization/roleAssignments"):
            role = one.at("properties.roleDefinitionId").rpartition("/")[2]
            scope = one.values.get("scope")
            if one.at("properties.principalId") != principal:
                continue
            if scope is None:
                yield fault(one, "it gives the app's identity a role in the whole group; name a scope")
            elif scope.id.startswith(package.id) and role not in allowed:
                yield fault(one, f"on {plan} the app could replace its package, by the role {role}")


def _front_door(templates):
    """With `frontDoorId` only that Front Door may call the app; deployments go another way."""
    at = "properties.siteConfig."
    for plan in PLANS:
        site = App(templates, hostingPlan=plan, frontDoorId=FRONT_DOOR).site
        why = "others call around the Front Door"
        yield from differs(site, f"{at}ipSecurityRestrictionsDefaultAction", "Deny", why)
        why = "no deployment gets past Front Door"
        yield from differs(site, f"{at}scmIpSecurityRestrictionsUseMain", False, why)
        for rule in site.at(f"{at}ipSecurityRestrictions") or [{}]:
            admitted = (rule.get("action"), rule.get("tag"), rule.get("ipAddress"), rule.get("headers"))
            header = {"x-azure-fdid": [FRONT_DOOR]}
            if admitted != ("Allow", "ServiceTag", "AzureFrontDoor.Backend", header):
                text = f"ipSecurityRestrictions has {admitted}: it admits others than the Front Door with {header}"
                yield fault(site, text)
        site = App(templates, hostingPlan=plan).site
        yield from differs(site, f"{at}ipSecurityRestrictionsDefaultAction", "Allow", "no Front Door was chosen")
        yield from differs(site, f"{at}ipSecurityRestrictions", [], "no Front Door was chosen")


def _network(templates):
    """With `virtualNetwork` vault and storage admit the app's subnet only; without it they have no rule."""
    app = App(templates, virtualNetwork=True, otherSubnetIds=[OTHER_SUBNET])
    subnets = [one.id for one in app.of(SUBNET) if one.at("properties.delegations")]
    if len(subnets) != 1 or app.site.at("properties.virtualNetworkSubnetId") != subnets[0]:
        yield fault(app.site, f"virtualNetworkSubnetId is not the subnet of the app: {subnets}")
    for one in _closable(app):
        others = [OTHER_SUBNET] if one.type == "Microsoft.KeyVault/vaults" else []
        yield from differs(one, DEFAULT_ACTION, "Deny", "with virtualNetwork nothing else closes it")
        yield from admitted(one, subnets + others)
    app = App(templates)
    yield from differs(app.site, "properties.virtualNetworkSubnetId", None, "there is no virtual network")
    for one in _closable(app):
        yield from differs(one, DEFAULT_ACTION, "Allow", "without virtualNetwork the app could not reach it")
        yield from admitted(one, [])
    yield from _without_networks(templates)


def _closable(app):
    """The vault and all accounts but the website's: what a website serves is public."""
    website = app.account(app.settings.get("CLOAKROOM_SPA", ""))
    return [one for one in app.of(ACCOUNT) + app.of("Microsoft.KeyVault/vaults") if one is not website]


def admitted(one, expected):
    """Other subnets than these that a vault or an account admits."""
    rules = one.at("properties.networkAcls") or {}
    subnets = [rule.get("id") for rule in rules.get("virtualNetworkRules", [])]
    if subnets != expected or rules.get("ipRules"):
        yield fault(one, f"networkAcls admit {subnets + rules.get('ipRules', [])}, not {expected}")


def _without_networks(templates):
    """Linux Consumption has no networks, so that the deployment must stop instead of leaving all open."""
    try:
        site = App(templates, hostingPlan="consumption", virtualNetwork=True).site
    except Stopped:
        return
    yield fault(site, "on consumption a deployment with virtualNetwork does not stop, and leaves all open")


def _redis(templates):
    """With `redis` the gateway stores sessions in one that only its identity can sign in to; without it there is none."""
    for plan in PLANS:
        app = App(templates, hostingPlan=plan, redis=False)
        for one in app.of(CLUSTER) + app.of(ENDPOINT):
            yield fault(one, "it is deployed and billed, although it was not chosen")
        if "CLOAKROOM_STORE" in app.settings:
            yield fault(app.site, "there is no Redis, but CLOAKROOM_STORE is set")
        yield from store_faults(App(templates, hostingPlan=plan), "Enabled")
    app = App(templates, virtualNetwork=True)
    yield from store_faults(app, "Disabled")
    yield from private_faults(app)


def store_faults(app, public):
    """What would let others into Redis, or end sessions."""
    cluster, database = app.only(CLUSTER), app.only(DATABASE)
    address = f"rediss://{{{cluster.id}.properties.hostName}}:{{{database.id}.properties.port}}"
    if app.settings.get("CLOAKROOM_STORE") != address:
        yield fault(app.site, f"CLOAKROOM_STORE is {app.settings.get('CLOAKROOM_STORE')}, not {address}")
    yield from differs(cluster, "properties.publicNetworkAccess", public, "that is how the app reaches it")
    yield from differs(cluster, "properties.highAvailability", "Enabled", "maintenance would end all sessions")
    yield from differs(cluster, "properties.minimumTlsVersion", "1.2", "older versions are broken")
    for name, expected, why in [
        ("accessKeysAuthentication", "Disabled", "who has a key needs no identity"),
        ("clientProtocol", "Encrypted", "tokens of Entra would be readable"),
        ("evictionPolicy", "NoEviction", "sessions would end before their time"),
        ("port", 10000, "that is the port of the service"),
    ]:
        yield from differs(database, f"properties.{name}", expected, why)
    user = app.only(f"{DATABASE}/accessPolicyAssignments")
    principal = f"{{{app.identity.id}.properties.principalId}}"
    yield from differs(user, "properties.user.objectId", principal, "the app signs in with its identity")


def private_faults(app):
    """The network leads to it, by a subnet that is not the app's, which is delegated."""
    network, endpoint, zone = app.only("Microsoft.Network/virtualNetworks"), app.only(ENDPOINT), app.only(ZONE)
    free = [one.id for one in app.of(SUBNET) if not one.at("properties.delegations")]
    if endpoint.at("properties.subnet.id") not in free:
        yield fault(endpoint, f"its subnet is {endpoint.at('properties.subnet.id')}, not of {free}")
    [connection] = endpoint.at("properties.privateLinkServiceConnections")
    if connection["properties"]["privateLinkServiceId"] != app.only(CLUSTER).id:
        yield fault(endpoint, "it does not lead to Redis")
    yield from differs(zone, "name", "privatelink.redis.azure.net", "by that name Azure finds the endpoint")
    link, records = app.only(LINK), app.only(f"{ENDPOINT}/privateDnsZoneGroups")
    yield from differs(link, "properties.virtualNetwork.id", network.id, "the app would get the public address")
    if [one["properties"]["privateDnsZoneId"] for one in records.at("properties.privateDnsZoneConfigs")] != [zone.id]:
        yield fault(records, "the endpoint's address is not in the zone")
    for one, parent in ((link, zone), (records, endpoint)):
        if one.values["parent"] is not parent:
            yield fault(one, f"it does not belong to {parent.declaration.name}")
