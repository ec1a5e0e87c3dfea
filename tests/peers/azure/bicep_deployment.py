"""What a template deploys for given parameters: its expressions evaluated, without a compiler and without Azure.

What only Azure knows, such as the address of an account, is a text that names the resource: `{<id>.properties.…}`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from bicep_file import BicepFile, Declaration, plain_string
from bicep_functions import FUNCTIONS, OPERATORS, Stopped
from template_graph import Templates, parameters


class Unreadable(Exception):
    """An expression that cannot be evaluated here: its file, its node and why."""

    def __init__(self, file, node, message):
        super().__init__(message)
        self.file, self.node = file, node


@dataclass(frozen=True)
class Resource:
    """A resource that is deployed: where it is declared, its id, and the values of its properties."""

    file: BicepFile
    declaration: Declaration
    id: str
    values: dict

    @property
    def type(self) -> str:
        """Its type without the version."""
        return self.declaration.type.partition("@")[0]

    def at(self, path: str):
        """The value at a path of keys, such as `properties.siteConfig`; None if there is none."""
        value = self.values
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


class Deployment:
    """One file, deployed with its parameters; `resources` has those of its modules too."""

    def __init__(self, templates: Templates, file: BicepFile, given: dict):
        self.templates, self.file, self.given = templates, file, given
        self.known: dict[str, object] = {}
        self.resources: list[Resource] = []
        for one in file.declarations.values():
            if one.kind in ("resource", "module"):
                self._named(one)
        self.outputs = {name: self.of(one.value, {}) for name, one in file.outputs.items()}

    def _named(self, one):
        """The value of a declaration, evaluated once; of a resource or module what it deploys."""
        if one.name not in self.known:
            self.known[one.name] = self._declared(one)
        return self.known[one.name]

    def _declared(self, one):
        if one.kind == "param" and one.name in self.given:
            return self.given[one.name]
        if one.value is None:
            raise Stopped(f"there is no value for param '{one.name}' of {self.file.name}")
        if one.kind in ("resource", "module"):
            return self._deployed(one, one.node.named_children[-1], {})
        return self.of(one.value, {})

    def _deployed(self, one, node, names):
        """What a body deploys: None by its `if`, a list by its loop."""
        if node.type == "for_statement":
            return [self._deployed(one, node.named_children[-1], inner) for inner in self._turns(node, names)]
        if node.type == "if_statement":
            condition, body = node.named_children[0], node.named_children[-1]
            return self._deployed(one, body, names) if self.of(condition, names) else None
        if one.kind == "module":
            return self._module(one, names)
        values = self.of(node, names)
        resource = Resource(self.file, one, _id(one, values), values)
        if not one.existing:
            self.resources.append(resource)
        return resource

    def _module(self, one, names):
        target = self.templates.files.get((self.file.path.parent / one.type).resolve())
        if target is None:
            raise Unreadable(self.file, one.node, f"there is no file '{one.type}'")
        given = {name: self.of(node, names) for name, node in parameters(self.file, one).items()}
        inner = Deployment(self.templates, target, given)
        self.resources += inner.resources
        return inner

    # Expressions

    def of(self, node, names):
        """The value of an expression; `names` are those of loops around it."""
        try:
            return getattr(self, f"_{node.type}")(node, names)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Unreadable(self.file, node, f"this cannot be evaluated here: {error!r}") from error

    def _string(self, node, names):
        text = plain_string(self.file, node)
        return "".join(self._part(child, names) for child in node.named_children) if text is None else text

    def _part(self, node, names):
        if node.type != "interpolation":
            return re.sub(r"\\(.)", r"\1", self.file.text(node))
        value = self.of(node.named_children[0], names)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _number(self, node, _names):
        return int(self.file.text(node))

    def _boolean(self, node, _names):
        return self.file.text(node) == "true"

    def _null(self, _node, _names):
        return None

    def _array(self, node, names):
        return [self.of(child, names) for child in node.named_children if child.type != "comment"]

    def _object(self, node, names):
        pairs = [child.named_children for child in node.named_children if child.type == "object_property"]
        return {self._key(pair[0], names): self.of(pair[-1], names) for pair in pairs}

    def _key(self, node, names):
        return self._string(node, names) if node.type == "string" else self.file.text(node)

    def _for_statement(self, node, names):
        return [self.of(node.named_children[-1], inner) for inner in self._turns(node, names)]

    def _turns(self, node, names):
        bound, array = node.named_children[0], node.named_children[1]
        bound = bound.named_children if bound.type == "for_loop_parameters" else [bound]
        for number, element in enumerate(self.of(array, names)):
            yield names | dict(zip(map(self.file.text, bound), (element, number), strict=False))

    def _parenthesized_expression(self, node, names):
        return self.of(node.named_children[0], names)

    def _unary_expression(self, node, names):
        value = self.of(node.child_by_field_name("argument"), names)
        return not value if self.file.text(node).startswith("!") else -value

    def _ternary_expression(self, node, names):
        chosen = "consequence" if self.of(node.child_by_field_name("condition"), names) else "alternative"
        return self.of(node.child_by_field_name(chosen), names)

    def _binary_expression(self, node, names):
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        sign = self.file.source[left.end_byte : right.start_byte].decode().strip()
        first = self.of(left, names)
        if sign in ("&&", "||", "??"):
            decided = {"&&": first is False, "||": first is True, "??": first is not None}[sign]
            return first if decided else self.of(right, names)
        return OPERATORS[sign](first, self.of(right, names))

    def _call_expression(self, node, names):
        name = self.file.text(node.child_by_field_name("function")).removeprefix("sys.")
        arguments = [child for child in node.child_by_field_name("arguments").named_children if child.type != "comment"]
        return FUNCTIONS[name](*[self.of(argument, names) for argument in arguments])

    def _identifier(self, node, names):
        name = self.file.text(node)
        return names[name] if name in names else self._named(self.file.declarations[name])

    def _member_expression(self, node, names):
        owner, path = node, []
        while owner.type == "member_expression":
            path.insert(0, self.file.text(owner.child_by_field_name("property")))
            owner = owner.child_by_field_name("object")
        if owner.type == "ternary_expression":
            # The grammar reads `a ? b : c!.d` as `(a ? b : c!).d`.
            if self.of(owner.child_by_field_name("condition"), names):
                return self.of(owner.child_by_field_name("consequence"), names)
            owner = owner.child_by_field_name("alternative")
        value = self.of(owner, names)
        for name in path:
            value = _member(value, name)
        return value


class Parameters(Deployment):
    """A `.bicepparam` file: `given` is the environment."""

    def __init__(self, templates: Templates, path: Path, environment: dict):
        super().__init__(templates, BicepFile(path.resolve(), templates.root.resolve()), environment)

    def values(self) -> dict:
        """The parameters that it passes."""
        return {name: self._named(one) for name, one in self.file.declarations.items()}

    def _call_expression(self, node, names):
        if self.file.text(node.child_by_field_name("function")) != "readEnvironmentVariable":
            return super()._call_expression(node, names)
        name, *default = [self.of(child, names) for child in node.child_by_field_name("arguments").named_children]
        if name not in self.given and not default:
            raise Stopped(f"the variable {name} is not set")
        return self.given.get(name, *default)


def _id(one, values):
    kind = one.type.partition("@")[0]
    parent = values.get("parent")
    if parent is not None:
        return f"{parent.id}/{kind.rpartition('/')[2]}/{values['name']}"
    return f"/providers/{kind}/{values.get('name', values.get('uniqueName', one.name))}"


def _member(owner, name):
    """A member of an object, of a module or of a resource."""
    if owner is None:
        raise Stopped(f"'{name}' is read of what is not deployed")
    if isinstance(owner, Deployment):
        return owner.outputs if name == "outputs" else owner.outputs[name]
    if isinstance(owner, Resource):
        return owner.id if name == "id" else owner.values[name] if name == "name" else f"{{{owner.id}.{name}}}"
    return f"{owner[:-1]}.{name}}}" if isinstance(owner, str) and owner.startswith("{") else owner[name]
