"""Bicep files as trees, with what they declare.

tree-sitter's grammar gives the tree. pycep, with which checkov reads Bicep, is a second check of the syntax: it reports
names from strings too poorly to check symbols by. The grammar lacks two things, which are rewritten with their places
kept: `extension` lines, and the parameters of `.bicepparam` files, which are read as variables.
"""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

import pycep
import tree_sitter
import tree_sitter_bicep

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
KINDS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}
SCOPES = ("resourceGroup", "subscription", "managementGroup", "tenant")


@dataclass(frozen=True, order=True)
class Fault:
    """What is wrong, and where."""

    path: str
    line: int
    message: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.message}"


@dataclass
class Declaration:
    """A param, var, resource, module or output."""

    kind: str
    name: str
    node: tree_sitter.Node
    decorators: dict = field(default_factory=dict)
    # The type of a param or output, the type or path of a resource or module.
    type: str = ""
    # The value; of a resource or module its body.
    value: tree_sitter.Node | None = None
    # The for_statement around a body, and whether there is an `if`.
    loop: tree_sitter.Node | None = None
    conditional: bool = False
    existing: bool = False


class BicepFile:
    """A parsed file. `faults` holds what was wrong with its syntax."""

    def __init__(self, path: Path, root: Path):
        self.path = path
        self.name = str(path.relative_to(root))
        self.source = path.read_bytes()
        self.parameters_of = None
        self.declarations: dict[str, Declaration] = {}
        self.outputs: dict[str, Declaration] = {}
        self.faults: list[Fault] = []
        self.root = _PARSER.parse(self._readable()).root_node
        self._syntax(self.root)
        if path.suffix == ".bicep":
            self._second_opinion()
        self._collect()

    def fault(self, node, message):
        self.faults.append(Fault(self.name, node.start_point[0] + 1, message))

    def text(self, node) -> str:
        return self.source[node.start_byte : node.end_byte].decode()

    def _readable(self) -> bytes:
        blank = lambda match: b" " * len(match.group())  # noqa: E731
        source = re.sub(rb"(?m)^extension \w+$", blank, self.source)
        if self.path.suffix == ".bicepparam":
            source = re.sub(rb"(?m)^param(?= )", b"var  ", source)
        return source

    def _syntax(self, node):
        if node.is_missing:
            self.fault(node, f"syntax: {node.type} is missing")
        elif node.is_error:
            self.fault(node, f"syntax: this cannot be read: {self.text(node)[:60]!r}")
        elif node.has_error:
            for child in node.children:
                self._syntax(child)

    def _second_opinion(self):
        error = pycep_error(for_pycep(self.source.decode()))
        if error is not None:
            self.faults.append(Fault(self.name, error[0], f"syntax, says pycep: {error[1]}"))

    def _collect(self):
        decorators = {}
        for node in self.root.named_children:
            if node.type == "decorators":
                decorators = dict(self._decorator(child) for child in node.named_children)
                continue
            if node.type == "using_statement":
                self.parameters_of = plain_string(self, node.named_children[0])
            elif node.type in KINDS:
                self._declare(node, decorators)
            elif node.type == "target_scope_assignment":
                if plain_string(self, node.named_children[0]) not in SCOPES:
                    self.fault(node, f"targetScope is one of {', '.join(SCOPES)}")
            elif node.type not in ("comment", "metadata_declaration", "ERROR"):
                self.fault(node, f"{node.type} is not among what is checked here; write it without")
            if node.type != "comment":
                decorators = {}

    def _decorator(self, node):
        call = node.named_children[0]
        name = self.text(call.child_by_field_name("function")).removeprefix("sys.")
        arguments = call.child_by_field_name("arguments").named_children
        return name, [child for child in arguments if child.type != "comment"]

    def _declare(self, node, decorators):
        parts = [child for child in node.named_children if child.type != "comment"]
        if not parts or parts[0].type != "identifier":
            return
        one = Declaration(KINDS[node.type], self.text(parts[0]), node, decorators)
        rest = parts[1:]
        if one.kind in ("param", "output") and rest:
            one.type = self.text(rest.pop(0))
        elif one.kind in ("resource", "module") and rest:
            one.type = plain_string(self, rest.pop(0)) or ""
            one.existing = any(child.type == "existing" or self.text(child) == "existing" for child in node.children)
        one.value = rest[-1] if rest else None
        if one.kind in ("resource", "module"):
            self._unwrap(one)
        known = self.outputs if one.kind == "output" else self.declarations
        if one.name in known:
            self.fault(node, f"'{one.name}' is declared twice")
        known[one.name] = one

    def _unwrap(self, one):
        while one.value is not None and one.value.type in ("for_statement", "if_statement"):
            if one.value.type == "for_statement":
                one.loop = one.value
            else:
                one.conditional = True
            one.value = one.value.named_children[-1]


def for_pycep(text: str) -> str:
    """The text without types such as `{ *: string }`, which pycep, and so checkov, cannot read."""
    return re.sub(r"\{ \*: \w+ \}", "object", text)


def for_checkov(text: str) -> str:
    """As above, and without `string[]` and `fail()`, which the older pycep of checkov cannot read."""
    return re.sub(r"\bfail\(", "any(", re.sub(r"(?m)^(param \w+) \w+\[\]", r"\1 array", for_pycep(text)))


@functools.cache
def pycep_error(text):
    """The line and the message of a syntax error by pycep, or None."""
    try:
        pycep.BicepParser().parse(text=text)
    except Exception as error:  # Whatever lark raises.
        return max(getattr(error, "line", 1), 1), str(error).splitlines()[0]
    return None


def plain_string(file, node):
    """What a string says that has no `${…}` in it, else None."""
    if node.type != "string" or any(child.type == "interpolation" for child in node.named_children):
        return None
    text = file.text(node)
    if text.startswith("'''"):
        return text[3:-3].removeprefix("\n")
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def properties(file, node):
    """The properties of an object: key (None if it is computed), key node, value node."""
    for child in node.named_children:
        if child.type == "object_property" and len(child.named_children) > 1:
            key, value = child.named_children[0], child.named_children[-1]
            yield plain_string(file, key) if key.type == "string" else file.text(key), key, value
