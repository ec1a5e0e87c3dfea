"""Rules of this project's templates that no type definition has: what Azure needs, and what keeps other callers out."""

from bicep_file import Fault, properties

# For each resource type: where a property stands, what its text must contain, and why.
REQUIRED = {
    "Microsoft.Web/sites": [
        ("properties.keyVaultReferenceIdentity", "identityId", "or references to Key Vault use no identity of the app"),
        ("properties.siteConfig.cors", "allowedOrigins", "or the host answers preflights of other origins without it"),
        ("properties.siteConfig.ipSecurityRestrictions", "frontDoorId", "or others call around the Front Door"),
        ("properties.siteConfig.ipSecurityRestrictionsDefaultAction", "'Deny'", "or others call around the Front Door"),
        ("properties.siteConfig.scmIpSecurityRestrictionsUseMain", "false", "or no deployment gets past Front Door"),
    ],
    "Microsoft.KeyVault/vaults": [("properties.networkAcls.defaultAction", "'Deny'", "or nothing can close it")],
    "Microsoft.Storage/storageAccounts": [("properties.networkAcls.defaultAction", "'Deny'", "or nothing can close it")],
}
# What a website serves is public.
OPEN = "infra/modules/static-website.bicep"
SETTING = "CLOAKROOM_ALLOWED_ORIGINS"


def rule_faults(files) -> list[Fault]:
    """Breaches of the rules in the files."""
    faults = [fault for file in files for one in file.declarations.values() for fault in _declaration(file, one)]
    return faults + [fault for file in files if file.name == "infra/main.bicep" for fault in _origins(file)]


def _declaration(file, one):
    if one.kind == "module" and _at(file, one.value, "name") is not None:
        yield _fault(file, one.node, f"module '{one.name}' has a name: two deployments at once would collide")
    for path, text, why in REQUIRED.get(one.type.partition("@")[0], []):
        value = _at(file, one.value, path)
        if file.name != OPEN and (value is None or text not in file.text(value)):
            yield _fault(file, one.node, f"{one.name}.{path} needs {text}, {why}")


def _origins(file):
    """The platform's list and the gateway's setting are of one variable."""
    names = set()
    for one in file.declarations.values():
        given = _at(file, one.value, "params.allowedOrigins") if one.kind == "module" else None
        if given is not None:
            names |= {file.text(node) for node in _walk(given) if node.type == "identifier"}
    pairs = [node.named_children for node in _walk(file.root) if node.type == "object_property"]
    if not any(file.text(pair[0]) == SETTING and file.text(pair[-1]) in names for pair in pairs):
        yield _fault(file, file.root, f"{SETTING} and allowedOrigins of the app are not of one variable")


def _at(file, node, path):
    for name in path.split("."):
        if node is None or node.type != "object":
            return None
        node = next((value for key, _, value in properties(file, node) if key == name), None)
    return node


def _walk(node):
    yield node
    for child in node.named_children:
        yield from _walk(child)


def _fault(file, node, message):
    return Fault(file.name, node.start_point[0] + 1, message)
