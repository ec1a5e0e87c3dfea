"""How long names of resources can become: for the longest value that each parameter admits."""

import re

from bicep_file import Fault, plain_string, properties
from bicep_values import Values
from template_graph import Templates, call

# The length of what these functions give; of those in SAME it is that of their first argument.
FIXED = {"uniqueString": 13, "guid": 36, "newGuid": 36}
SAME = ("toLower", "toUpper", "trim")


class Lengths:
    """The longest text of an expression, None if nothing limits it. `fragments` collects its literal parts."""

    def __init__(self, templates: Templates):
        self.templates = templates

    def of(self, file, node, fragments=None) -> int | None:
        """The longest text."""
        text = plain_string(file, node)
        if text is not None:
            return self._literal(text, fragments)
        read = getattr(self, f"_{node.type}", None)
        return read(file, node, fragments) if read else None

    def _literal(self, text, fragments):
        if fragments is not None:
            fragments.append(text)
        return len(text)

    def _string(self, file, node, fragments):
        parts = []
        for child in node.named_children:
            if child.type == "interpolation":
                parts.append(self.of(file, child.named_children[0], fragments))
            else:
                parts.append(self._literal(re.sub(r"\\(.)", r"\1", file.text(child)), fragments))
        return None if None in parts else sum(parts)

    def _parenthesized_expression(self, file, node, fragments):
        return self.of(file, node.named_children[0], fragments)

    def _ternary_expression(self, file, node, fragments):
        names = ("consequence", "alternative")
        return _longest([self.of(file, node.child_by_field_name(name), fragments) for name in names])

    def _binary_expression(self, file, node, fragments):
        sides = [node.child_by_field_name(name) for name in ("left", "right")]
        return _longest([self.of(file, side, fragments) for side in sides])

    def _call_expression(self, file, node, fragments):
        name, arguments = call(file, node)
        if name in FIXED:
            return FIXED[name]
        inner = self.of(file, arguments[0], fragments) if arguments else None
        if name in SAME:
            return inner
        if name == "take":
            limits = [value.literal for value in self._values(file).of(arguments[1])]
            if len(limits) == 1 and isinstance(limits[0], int):
                return limits[0] if inner is None else min(inner, limits[0])
        return None

    def _identifier(self, file, node, fragments):
        one = file.declarations.get(file.text(node))
        if one is None:
            return self._known(file, node, fragments)
        if one.kind == "var":
            return self.of(file, one.value, fragments)
        return self._parameter(file, one, fragments) if one.kind == "param" else None

    def _parameter(self, file, one, fragments):
        limit = one.decorators.get("maxLength")
        limit = int(file.text(limit[0])) if limit else None
        passed = self.templates.arguments(file, one.name)
        given = [self.of(caller, node, fragments) for caller, node in passed]
        if one.value is not None:
            given.append(self.of(file, one.value, fragments))
        if not passed:
            return limit
        longest = _longest(given)
        return limit if longest is None else longest

    def _member_expression(self, file, node, fragments):
        owner, name = node.child_by_field_name("object"), file.text(node.child_by_field_name("property"))
        one = file.declarations.get(file.text(owner)) if owner.type == "identifier" else None
        if one is not None and one.kind == "resource" and name == "name":
            value = next((value for key, _, value in properties(file, one.value) if key == "name"), None)
            return None if value is None else self.of(file, value, fragments)
        return self._known(file, node, fragments)

    def _known(self, file, node, fragments):
        """Of the members of arrays and objects that are written out, as in loops."""
        texts = [value.literal for value in self._values(file).of(node)]
        if not texts or not all(isinstance(text, str) for text in texts):
            return None
        return max(self._literal(text, fragments) for text in texts)

    def _values(self, file):
        return Values(file, lambda *_: [], lambda *_: [])


def _longest(lengths):
    return None if None in lengths else max(lengths)


def faults(templates: Templates, rules: dict) -> list[Fault]:
    """Names that Azure can refuse."""
    lengths = Lengths(templates)
    found = []
    for file, one in templates.resources():
        kind = one.type.partition("@")[0]
        name = next((value for key, _, value in properties(file, one.value) if key == "name"), None)
        if name is not None:
            found += _resource(lengths, file, one, name, kind, rules.get(kind))
    for file in templates.files.values():
        for one in file.declarations.values():
            found += _limits(lengths, file, one) if one.kind == "module" else []
    return found


def _resource(lengths, file, one, name, kind, rule):
    def fault(message):
        return [Fault(file.name, name.start_point[0] + 1, message)]

    if rule is None:
        return fault(f"names.toml has no rule for the names of {kind}")
    if "longest" not in rule:
        return []
    fragments = []
    longest = lengths.of(file, name, fragments)
    if longest is None:
        return fault(f"nothing limits the name of {one.name}; give the parameter a @maxLength")
    found = []
    if longest > rule["longest"]:
        found += fault(f"the name of {one.name} can have {longest} characters; {kind} allows {rule['longest']}")
    allowed = rule.get("characters")
    wrong = [text for text in fragments if allowed and not re.fullmatch(f"[{allowed}]*", text)]
    if wrong:
        found += fault(f"the name of {one.name} has '{wrong[0]}'; {kind} allows {allowed}")
    return found


def _limits(lengths, file, module):
    """Arguments of a module that can be longer than its parameter admits."""
    found = []
    target = lengths.templates.files.get((file.path.parent / module.type).resolve())
    for caller, one, given in lengths.templates.calls.get(target.path, []) if target else []:
        for name, node in given.items() if caller is file and one is module else ():
            declared = target.declarations.get(name)
            limit = declared.decorators.get("maxLength") if declared else None
            longest = lengths.of(file, node) if limit else None
            if longest is not None and longest > int(target.text(limit[0])):
                text = f"'{name}' of {target.name} can have {longest} characters; it allows {target.text(limit[0])}"
                found.append(Fault(file.name, node.start_point[0] + 1, text))
    return found
