"""What an expression can be, as far as known without deploying: kinds, literals, and objects to look into."""

from dataclasses import dataclass

import tree_sitter

from bicep_file import plain_string, properties

# What the functions of Bicep give; `=` is what the arguments give. A function that is not here is unknown.
FUNCTIONS = {
    "any": "any", "array": "array", "base64": "string", "bool": "bool", "concat": "=",
    "contains": "bool", "deployment": "any", "empty": "bool", "endsWith": "bool", "environment": "any",
    "extensionResourceId": "string", "fail": "any", "filter": "array", "first": "any", "flatten": "array",
    "format": "string", "guid": "string", "indexOf": "int", "int": "int", "intersection": "any", "items": "array",
    "join": "string", "json": "any", "last": "any", "length": "int", "loadTextContent": "string", "map": "array",
    "max": "int", "min": "int", "object": "object", "padLeft": "string", "range": "array",
    "readEnvironmentVariable": "string", "replace": "string", "resourceGroup": "any", "resourceId": "string",
    "skip": "any", "split": "array", "startsWith": "bool", "string": "string", "subscription": "any",
    "subscriptionResourceId": "string", "substring": "string", "take": "any", "tenant": "any",
    "tenantResourceId": "string", "toLower": "string", "toObject": "object", "toUpper": "string", "trim": "string",
    "union": "=", "uniqueString": "string", "uri": "string",
}  # fmt: skip
BASIC = ("string", "int", "bool", "array", "object")
OPERATORS = {"+": "int", "-": "int", "*": "int", "/": "int", "%": "int"}


@dataclass(frozen=True)
class Value:
    """One thing that an expression can be."""

    kind: str  # string, int, bool, null, array, object, any
    literal: object = None
    # An array or object literal, the file that it is in, and whether it is only a part of the whole.
    node: tree_sitter.Node | None = None
    file: object = None
    partial: bool = False


ANY = Value("any")


class Values:
    """Values of one file's expressions. `resource_property` and `module_output` resolve names in other files."""

    def __init__(self, file, resource_property, module_output):
        self.file = file
        self.resource_property = resource_property
        self.module_output = module_output

    def of(self, node) -> list[Value]:
        """All that the expression can be; never empty."""
        read = getattr(self, f"_{node.type}", None)
        return read(node) if read else [ANY]

    def _string(self, node):
        return [Value("string", plain_string(self.file, node))]

    def _number(self, node):
        return [Value("int", int(self.file.text(node)))]

    def _boolean(self, node):
        return [Value("bool", self.file.text(node) == "true")]

    def _null(self, _node):
        return [Value("null")]

    def _array(self, node):
        return [Value("array", node=node, file=self.file)]

    def _object(self, node):
        return [Value("object", node=node, file=self.file)]

    def _for_statement(self, _node):
        return [Value("array")]

    def _parenthesized_expression(self, node):
        return self.of(node.named_children[0])

    def _unary_expression(self, node):
        return [Value("bool" if self.file.text(node).startswith("!") else "int")]

    def _ternary_expression(self, node):
        return self.of(node.child_by_field_name("consequence")) + self.of(node.child_by_field_name("alternative"))

    def _binary_expression(self, node):
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = self.file.source[left.end_byte : right.start_byte].decode().strip()
        if operator == "??":
            return [value for value in self.of(left) if value.kind != "null"] + self.of(right)
        return [Value(OPERATORS.get(operator, "bool"))]

    def _call_expression(self, node):
        name = self.file.text(node.child_by_field_name("function")).removeprefix("sys.")
        arguments = node.child_by_field_name("arguments").named_children
        gives = FUNCTIONS.get(name, "any")
        if name == "readEnvironmentVariable" and len(arguments) > 1:
            return [Value(gives), *self.of(arguments[1])]
        if gives != "=":
            return [Value(gives)]
        found = []
        for argument in arguments:
            found += [Value(one.kind, one.literal, one.node, one.file, partial=True) for one in self.of(argument)]
        return found or [ANY]

    def _identifier(self, node):
        one = self.file.declarations.get(self.file.text(node))
        looped = _loop_variable(self.file, node)
        if looped is not None:
            return self._elements(looped)
        if one is None or one.kind in ("resource", "module"):
            return [ANY]
        return self.of(one.value) if one.kind == "var" else self._parameter(one)

    def _parameter(self, one):
        if "allowed" in one.decorators:
            choices = one.decorators["allowed"][0].named_children
            return [value for choice in choices for value in self.of(choice)]
        kind = one.type.rstrip("?")
        kind = "array" if kind.endswith("[]") else "object" if kind.startswith("{") else kind
        return [Value(kind if kind in BASIC else "any")]

    def _elements(self, array):
        """What a loop over the array gives."""
        found = []
        for value in self.of(array):
            if value.node is None:
                return [ANY]
            found += [one for child in value.node.named_children if child.type != "comment" for one in self.of(child)]
        return found or [ANY]

    def _member_expression(self, node):
        owner, name = node.child_by_field_name("object"), self.file.text(node.child_by_field_name("property"))
        path = [name]
        while owner.type == "member_expression":
            path.insert(0, self.file.text(owner.child_by_field_name("property")))
            owner = owner.child_by_field_name("object")
        if owner.type != "identifier":
            return [ANY]
        one = self.file.declarations.get(self.file.text(owner))
        if one is not None and one.kind == "resource":
            return self.resource_property(self.file, one, path, node)
        if one is not None and one.kind == "module":
            return self.module_output(self.file, one, path, node)
        return self._inside(self.of(owner), path, node)

    def _inside(self, values, path, node):
        """The property of objects that are written out; `any` of everything else."""
        for name in path:
            found = []
            for value in values:
                if value.kind != "object" or value.node is None or value.partial:
                    return [ANY]
                known = {key: inner for key, _, inner in properties(value.file, value.node)}
                if name in known:
                    found += self.of(known[name])
                elif None not in known:
                    self.file.fault(node, f"there is no '{name}' in that object")
                    return [ANY]
            values = found or [ANY]
        return values


def loops_around(node):
    """The loops around a node: the names that they bind, and the array that they run over."""
    inner, outer = node, node.parent
    while outer is not None:
        if outer.type == "for_statement":
            names, array = outer.named_children[0], outer.named_children[1]
            if inner.id not in (names.id, array.id):
                yield (names.named_children if names.type == "for_loop_parameters" else [names]), array
        inner, outer = outer, outer.parent


def _loop_variable(file, node):
    for names, array in loops_around(node):
        if file.text(names[0]) == file.text(node):
            return array
    return None
