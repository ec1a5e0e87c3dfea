"""Names that hooks, pages and workflows read: outputs of the templates, and what azd or GitHub sets."""

import re
from pathlib import Path

import ruamel.yaml
import tree_sitter
import tree_sitter_bash

from bicep_file import Fault
from shell_commands import commands
from template_graph import Templates

# What azd itself sets for hooks and parameters.
AZD = {
    "AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE", "AZURE_RESOURCE_GROUP",
    "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID",
}  # fmt: skip
# What a shell or GitHub sets.
ELSEWHERE = re.compile(r"HOME|PATH|PWD|TMPDIR|USER|GITHUB_\w+|RUNNER_\w+")
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def faults(root: Path, templates: Templates) -> list[Fault]:
    """Names that nothing sets."""
    main = templates.main()
    known = AZD | (set(main.outputs) if main else set()) | _set_by_commands(root)
    page = _text(root / "infra/README.md")
    found = []
    for script in sorted((root / "infra").rglob("*.sh")):
        found += _script(root, script, known)
    for one in commands(root):
        if one.program == "azd" and one.arguments[:2] == ("env", "get-value") and one.arguments[2] not in known:
            found.append(Fault(one.path, one.line, f"azd has no {one.arguments[2]}: it is no output of main.bicep"))
    for file in sorted((root / "infra").rglob("*.bicepparam")):
        for line, name in _matches(file, r"readEnvironmentVariable\('(\w+)'"):
            if f"`{name}`" not in page:
                found.append(Fault(_relative(root, file), line, f"infra/README.md does not say what {name} is"))
    return found + _variables(root) + _azure_yaml(root, templates)


def _script(root, path, known):
    source = path.read_bytes()
    used, own = [], set()
    for node in _walk(_PARSER.parse(source).root_node):
        if node.type == "variable_name":
            name = source[node.start_byte : node.end_byte].decode()
            if node.parent.type in ("variable_assignment", "for_statement"):
                own.add(name)
            elif name.isupper() and len(name) > 1:
                used.append((node.start_point[0] + 1, name))
    strange = [(line, name) for line, name in used if name not in known | own and not ELSEWHERE.fullmatch(name)]
    return [Fault(_relative(root, path), line, f"nothing sets {name}: it is no output of main.bicep") for line, name in strange]


def _set_by_commands(root):
    """What users and hooks set by `azd env set`."""
    found = [one.arguments for one in commands(root) if one.program == "azd" and one.arguments[:2] == ("env", "set")]
    return {arguments[2] for arguments in found if len(arguments) > 2}


def _variables(root):
    """Variables of a GitHub environment, which the page about deployment must name."""
    name = "docs/deploy-functions.md"
    page, found = _text(root / name), []
    for file in sorted((root / ".github/workflows").glob("*.y*ml")):
        for line, variable in _matches(file, r"\bvars\.(\w+)"):
            if f"`{variable}`" not in page:
                found.append(Fault(_relative(root, file), line, f"{name} does not name the variable {variable}"))
    return found


def _azure_yaml(root, templates):
    """Scripts that azd runs, and services that it finds by their tag."""
    file = root / "azure.yaml"
    if not file.is_file():
        return [Fault("azure.yaml", 1, "it is not there")]
    content = ruamel.yaml.YAML(typ="safe").load(file.read_text())
    found = []
    for line, script in _matches(file, r"\brun: (\S+\.sh)\b"):
        path = root / script
        if not path.is_file() or not path.stat().st_mode & 0o111:
            found.append(Fault("azure.yaml", line, f"{script} is no executable file"))
    tags = {name for one in templates.files.values() for name in re.findall(rb"'azd-service-name': '(\w+)'", one.source)}
    for service in content.get("services", {}):
        if service.encode() not in tags:
            found.append(Fault("azure.yaml", 1, f"no template has the tag azd-service-name: {service}"))
    return found


def _matches(path, pattern):
    lines = path.read_text().splitlines()
    return [(number, name) for number, line in enumerate(lines, 1) for name in re.findall(pattern, line)]


def _text(path):
    return path.read_text() if path.is_file() else ""


def _relative(root, path):
    return str(path.relative_to(root))


def _walk(node):
    yield node
    for child in node.children:
        yield from _walk(child)
