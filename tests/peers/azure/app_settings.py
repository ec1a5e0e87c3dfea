"""The app settings of the templates: their names, wherever the objects that hold them are written."""

import re

from bicep_file import Fault, properties
from template_graph import Templates, call, property_at

# On Linux a setting becomes an environment variable, and Azure refuses the whole site for another name.
LINUX = re.compile(r"[A-Za-z0-9._]+")
DISABLED = re.compile(r"AzureWebJobs\.(.+)\.Disabled")


class Settings:
    """Finds the names of the settings of all sites."""

    def __init__(self, templates: Templates):
        self.templates = templates
        self.names: list[tuple] = []
        self.faults: list[Fault] = []

    def read(self):
        """All names, with file and node, and what cannot be read."""
        for file, one in self.templates.resources():
            kind = one.type.partition("@")[0]
            if kind == "Microsoft.Web/sites":
                self._array(file, one, property_at(file, one.value, "properties", "siteConfig", "appSettings"))
            elif kind == "Microsoft.Web/sites/config":
                self._keys(file, property_at(file, one.value, "properties"))
        return self

    def _array(self, file, one, node):
        before = len(self.names)
        if node is None:
            self._unread(file, one.node, f"{one.name} has no siteConfig.appSettings")
        elif node.type == "for_statement":
            self._entries(file, node.named_children[1])
        elif node.type == "array":
            for child in node.named_children:
                name = property_at(file, child, "name")
                if name is not None:
                    self.names.append((file, name, file.text(name).strip("'")))
        else:
            self._unread(file, node, f"the settings of {one.name} cannot be read here; write [for … in items(…)]")
        if len(self.names) == before and not self.faults:
            self._unread(file, node, f"{one.name} has no app setting")

    def _entries(self, file, node):
        name, arguments = call(file, node)
        if name == "items":
            self._keys(file, arguments[0])
        else:
            self._unread(file, node, "the settings cannot be read here; write items(…)")

    def _keys(self, file, node):
        """The keys of an object, however it is put together."""
        name, arguments = call(file, node)
        if node.type == "object":
            for key, key_node, _ in properties(file, node):
                if key is None:
                    self._unread(file, key_node, "the name of this setting is computed")
                else:
                    self.names.append((file, key_node, key))
        elif name == "union":
            for argument in arguments:
                self._keys(file, argument)
        elif node.type == "parenthesized_expression":
            self._keys(file, node.named_children[0])
        elif node.type == "ternary_expression":
            for branch in ("consequence", "alternative"):
                self._keys(file, node.child_by_field_name(branch))
        elif node.type == "identifier" and file.text(node) in file.declarations:
            self._declared(file, file.declarations[file.text(node)])
        else:
            self._unread(file, node, "these settings cannot be read here")

    def _declared(self, file, one):
        if one.value is not None:
            self._keys(file, one.value)
        if one.kind == "param":
            # What users pass to main.bicep is theirs.
            for caller, node in self.templates.arguments(file, one.name):
                self._keys(caller, node)

    def _unread(self, file, node, message):
        self.faults.append(Fault(file.name, node.start_point[0] + 1, message))


def faults(templates: Templates, functions: set[str]) -> list[Fault]:
    """Names that Azure refuses, and functions that are disabled but do not exist."""
    settings = Settings(templates).read()
    found = list(settings.faults)
    for file, node, name in settings.names:
        message = name_fault(name, functions)
        if message:
            found.append(Fault(file.name, node.start_point[0] + 1, message))
    return found


def name_fault(name: str, functions: set[str]) -> str | None:
    """What is wrong with the name of a setting."""
    disabled = DISABLED.fullmatch(name)
    if not LINUX.fullmatch(name):
        return f"'{name}' is no name of a setting on Linux: letters, digits, '.' and '_' only"
    if disabled and disabled[1] not in functions:
        return f"'{name}': there is no function {disabled[1]}"
    return None
