"""Checks of Bicep files: symbols, types, modules, parameters. Imported by check_bicep.py and by the tests."""

import re
from pathlib import Path

from api_versions import ApiVersions
from bicep_file import BicepFile, Fault, plain_string, properties
from bicep_types import ResourceType, Types
from bicep_values import ANY, BASIC, FUNCTIONS, Value, Values, loops_around

DECORATORS = {"allowed", "description", "maxLength", "maxValue", "metadata", "minLength", "minValue"}
# What any resource may have besides its type's own properties.
EVERYWHERE = {"dependsOn", "parent", "scope"}


class Checker:
    """Checks every Bicep file under a folder, including those that modules reference."""

    def __init__(self, root: Path, types: Types, api_versions: ApiVersions):
        self.root = root
        self.types = types
        self.api_versions = api_versions
        self.files: dict[Path, BicepFile] = {}
        self.values: dict[str, Values] = {}

    def run(self, folder: Path) -> list[Fault]:
        """All faults, in the order of files and lines."""
        paths = sorted([*folder.rglob("*.bicep"), *folder.rglob("*.bicepparam")])
        if not paths:
            return [Fault(str(folder), 1, "there is no Bicep file here")]
        for path in paths:
            file = self._file(path)
            if not file.faults:
                self._check(file)
        return sorted({fault for file in self.files.values() for fault in file.faults})

    def _file(self, path):
        path = path.resolve()
        if path not in self.files:
            self.files[path] = BicepFile(path, self.root.resolve())
        return self.files[path]

    def _check(self, file):
        values = Values(file, self._resource_property, self._module_output)
        self._symbols(file)
        for one in [*file.declarations.values(), *file.outputs.values()]:
            if one.kind in ("param", "output") and file.path.suffix == ".bicep":
                self._described(file, one)
            if one.kind == "resource":
                self._resource(file, one, values)
            elif one.kind == "module":
                self._module(file, one, values)
            elif one.value is not None:
                self._expect(file, one.value, values, one.type, one.name)
        if file.path.suffix == ".bicepparam":
            self._parameter_file(file, values)

    # Symbols

    def _symbols(self, file):
        used = set()
        for node in _walk(file.root):
            if node.type == "call_expression":
                self._call(file, node)
            elif node.type == "identifier" and _is_reference(node):
                name = file.text(node)
                used.add(name)
                if name not in file.declarations and not self._is_bound(file, node, name):
                    file.fault(node, f"'{name}' is not declared")
            elif node.type == "member_expression":
                Values(file, self._resource_property, self._module_output).of(node)
        for one in file.declarations.values():
            if one.kind in ("param", "var") and one.name not in used and file.path.suffix == ".bicep":
                file.fault(one.node, f"{one.kind} '{one.name}' is used nowhere")

    def _call(self, file, node):
        called = node.child_by_field_name("function")
        name = file.text(called).removeprefix("sys.").removeprefix("az.")
        if called.type == "member_expression" and name.split(".")[-1].startswith(("list", "getSecret")):
            file.fault(node, f"{name.split('.')[-1]}() reads a secret; nothing here may need one")
        elif re.match("list[A-Z]", name):
            file.fault(node, f"{name}() reads a secret; nothing here may need one")
        elif name not in FUNCTIONS and not _decorates(node):
            file.fault(node, f"'{name}' is no function that is known here")
        elif _decorates(node) and name not in DECORATORS:
            file.fault(node, f"@{name}() is not among what is used here")

    def _is_bound(self, file, node, name):
        loops = [file.text(one) for names, _ in loops_around(node) for one in names]
        outer, lambdas = node.parent, []
        while outer is not None:
            if outer.type == "lambda_expression":
                lambdas += [file.text(one) for one in _walk(outer.named_children[0]) if one.type == "identifier"]
            outer = outer.parent
        return name in loops or name in lambdas or name in ("sys", "az")

    def _described(self, file, one):
        if "description" not in one.decorators:
            file.fault(one.node, f"{one.kind} '{one.name}' has no @description")

    # Resources

    def _type(self, file, one) -> ResourceType | None:
        name, _, version = one.type.partition("@")
        found = self.types.get(name)
        if isinstance(found, str):
            file.fault(one.node, f"{name}: {found}")
            return None
        message = self.api_versions.message(name, version, found.versions)
        if message:
            file.fault(one.node, message)
            return None
        return found

    def _body(self, file, one, found):
        if "" in found.bodies:
            return found.bodies[""]
        names = [plain_string(file, value) for key, _, value in properties(file, one.value) if key == "name"]
        if names and names[0] in found.bodies:
            return found.bodies[names[0]]
        file.fault(one.node, f"name of {one.name} is none of {', '.join(sorted(found.bodies))}")
        return None

    def _resource(self, file, one, values):
        found = self._type(file, one)
        if found is None or one.value is None or one.value.type != "object":
            return
        body = self._body(file, one, found)
        if body is None:
            return
        if one.existing:
            return
        self._object(file, one.value, values, body, found, one.name, partial=False, everywhere=EVERYWHERE)

    def _object(self, file, node, values, kind, found, where, partial, everywhere=frozenset()):
        seen = set()
        for key, key_node, value in properties(file, node):
            if key in seen:
                file.fault(key_node, f"{where}.{key} is there twice")
            seen.add(key)
            if key in everywhere:
                continue
            if key is not None and key in kind.properties:
                known = kind.properties[key]
                if "ReadOnly" in known.flags:
                    file.fault(key_node, f"{where}.{key} is read-only")
                self._typed(file, value, values, known.type, found, f"{where}.{key}", known.limits)
            elif kind.others is not None:
                self._typed(file, value, values, kind.others, found, f"{where}.{key or '${…}'}")
            else:
                close = ", ".join(sorted(name for name in kind.properties if _alike(name, key or "")))
                hint = f"; there is {close}" if close else ""
                file.fault(key_node, f"{where} has no property '{key}'{hint}")
        missing = {name for name, known in kind.properties.items() if "Required" in known.flags} - seen
        if missing and not partial:
            file.fault(node, f"{where} lacks {', '.join(sorted(missing))}")

    def _typed(self, file, node, values, kind, found, where, limits=""):
        """Checks all that an expression can be against a type as the definitions write it."""
        if kind in ("any", "object"):
            return
        for value in values.of(node):
            self._one(file, node, values, value, kind, found, where, limits)

    def _one(self, file, node, values, value, kind, found, where, limits):
        if value.kind in ("any", "null"):
            return
        if kind.endswith("[]"):
            self._array(file, node, value, kind, found, where)
        elif kind in found.objects:
            if value.kind != "object":
                file.fault(node, f"{where} is an object, not {_article(value.kind)}")
            elif value.node is not None:
                inner = Values(value.file, self._resource_property, self._module_output)
                self._object(value.file, value.node, inner, found.objects[kind], found, where, value.partial)
        elif kind in BASIC:
            if value.kind != kind:
                file.fault(node, f"{where} is {_article(kind)}, not {_article(value.kind)}")
            else:
                self._limits(file, node, value.literal, limits, where)
        else:
            self._choice(file, node, value, kind, where)

    def _array(self, file, node, value, kind, found, where):
        if value.kind != "array":
            file.fault(node, f"{where} is an array, not {_article(value.kind)}")
        elif value.node is not None:
            element = kind[:-2]
            inner = Values(value.file, self._resource_property, self._module_output)
            for child in value.node.named_children:
                if child.type != "comment":
                    self._typed(value.file, child, inner, element, found, f"{where}[]")
        else:
            self._loop_body(file, node, kind, found, where)

    def _loop_body(self, file, node, kind, found, where):
        if node.type == "for_statement":
            inner = Values(file, self._resource_property, self._module_output)
            self._typed(file, node.named_children[-1], inner, kind[:-2], found, f"{where}[]")

    def _choice(self, file, node, value, kind, where):
        """`A | B | string`: what is spelled out must be one of the names, although Azure would take others."""
        choices = [choice for choice in kind.split(" | ") if choice not in ("string", "int")]
        if value.kind not in ("string", "int"):
            file.fault(node, f"{where} is one of {', '.join(choices)}, not {_article(value.kind)}")
        elif value.literal is not None and str(value.literal) not in choices:
            file.fault(node, f"{where} is one of {', '.join(choices)}, not '{value.literal}'")

    def _limits(self, file, node, literal, limits, where):
        if literal is None or not limits:
            return
        rules = dict(rule.split(": ", 1) for rule in re.split(r", (?=(?:min|max)\w+: |pattern: )", limits))
        size = len(literal) if isinstance(literal, str) else literal
        least, most = rules.get("minLength", rules.get("minValue")), rules.get("maxLength", rules.get("maxValue"))
        if (least and size < int(least)) or (most and size > int(most)):
            file.fault(node, f"{where} is outside of {least or '…'} to {most or '…'}")
        if "pattern" in rules and not re.search(rules["pattern"], str(literal)):
            file.fault(node, f"{where} does not match {rules['pattern']}")

    def _resource_property(self, file, one, path, node):
        """What a property of a resource is, by its type."""
        name = one.type.partition("@")[0]
        found = self.types.get(name)
        if isinstance(found, str) or one.value is None or one.value.type != "object":
            return [ANY]
        kind = next(iter(found.bodies.values())) if len(found.bodies) == 1 else None
        if kind is None or one.loop is not None:
            return [ANY]
        for at, step in enumerate(path):
            if step not in kind.properties:
                if kind.others is None:
                    file.fault(node, f"{one.name} has no property '{'.'.join(path[: at + 1])}'")
                return [ANY]
            text = kind.properties[step].type
            if text not in found.objects:
                return [Value(text if text in BASIC else "array" if text.endswith("[]") else "string")]
            kind = found.objects[text]
        return [Value("object")]

    # Modules and parameters

    def _module_output(self, file, one, path, node):
        target = self._target(file, one.node, one.type)
        if target is None or path[0] != "outputs" or len(path) < 2 or one.loop is not None:
            return [ANY]
        if path[1] not in target.outputs:
            file.fault(node, f"module '{one.name}' ({target.name}) has no output '{path[1]}'")
            return [ANY]
        kind = target.outputs[path[1]].type
        return [Value(kind)] if kind in BASIC and len(path) == 2 else [ANY]

    def _target(self, file, node, path):
        target = (file.path.parent / path).resolve()
        if path and target.is_file() and target.is_relative_to(self.root.resolve()):
            return self._file(target)
        file.fault(node, f"there is no file '{path}'")
        return None

    def _module(self, file, one, values):
        target = self._target(file, one.node, one.type)
        if target is None or one.value is None:
            return
        given = {}
        for key, key_node, value in properties(file, one.value):
            if key == "params" and value.type == "object":
                given = {name: inner for name, _, inner in properties(file, value)}
            elif key not in ("name", "params", "scope", "dependsOn"):
                file.fault(key_node, f"a module has no property '{key}'")
        self._parameters(file, one.node, values, target, given, f"module '{one.name}'")

    def _parameters(self, file, node, values, target, given, where):
        wanted = {name: one for name, one in target.declarations.items() if one.kind == "param"}
        for name, value in given.items():
            if name not in wanted:
                file.fault(value, f"{where}: {target.name} has no param '{name}'")
                continue
            one = wanted[name]
            self._expect(file, value, values, one.type, f"param '{name}' of {target.name}")
            self._constraints(file, value, values, target, one)
        needed = {name for name, one in wanted.items() if one.value is None and not one.type.endswith("?")}
        missing = needed - set(given)
        if missing:
            file.fault(node, f"{where} lacks param {', '.join(sorted(missing))} of {target.name}")

    def _constraints(self, file, node, values, target, one):
        allowed = [
            value.literal
            for choice in (one.decorators.get("allowed") or [None])[:1]
            if choice is not None
            for value in Values(target, None, None).of(choice)
            for child in value.node.named_children
            for value in Values(target, None, None).of(child)
        ]
        for value in values.of(node):
            if allowed and value.literal is not None and value.literal not in allowed:
                choices = ", ".join(map(str, allowed))
                file.fault(node, f"param '{one.name}' of {target.name} is one of {choices}, not '{value.literal}'")

    def _expect(self, file, node, values, kind, where):
        """Checks a value against a declared type."""
        kind = kind.rstrip("?")
        member = re.fullmatch(r"\{ \*: (\w+) \}", kind)
        wanted = "object" if member else "array" if kind.endswith("[]") else kind
        for value in values.of(node):
            if wanted in BASIC and value.kind not in ("any", "null", wanted):
                file.fault(node, f"{where} is {_article(wanted)}, not {_article(value.kind)}")
            elif member and value.node is not None:
                inner = Values(value.file, self._resource_property, self._module_output)
                for key, _, child in properties(value.file, value.node):
                    self._expect(value.file, child, inner, member[1], f"'{key}' of {where}")

    def _parameter_file(self, file, values):
        target = self._target(file, file.root, file.parameters_of or "")
        if target is None:
            return
        given = {one.name: one.value for one in file.declarations.values()}
        self._parameters(file, file.root, values, target, given, file.name)


def _walk(node):
    yield node
    for child in node.named_children:
        yield from _walk(child)


def _is_reference(node):
    """Whether an identifier stands for a symbol: not for a key, a type, a name that is declared or a function."""
    parent = node.parent
    first = parent.named_children[0].id == node.id
    if parent.type in ("object_property", "call_expression", "for_statement") and first:
        return False
    if parent.type in ("for_loop_parameters", "loop_variable", "loop_enumerator", "nullable_type", "type"):
        return False
    if parent.type in ("lambda_expression", "metadata_declaration") and first:
        return False
    outer = parent.parent
    if parent.type == "parenthesized_expression" and outer.type == "lambda_expression":
        return outer.named_children[0].id != parent.id
    return not (parent.type.endswith("_declaration") and first)


def _decorates(node):
    return node.parent is not None and node.parent.type == "decorator"


def _alike(one, other):
    one, other = one.lower(), other.lower()
    return one.startswith(other[:5]) or other in one or one in other


def _article(kind):
    names = {"int": "a number", "array": "an array", "object": "an object", "bool": "true or false"}
    return names.get(kind, f"a {kind}")
