"""The templates of a folder as one graph: which module is deployed with which parameters."""

from pathlib import Path

from bicep_file import BicepFile, properties


class Templates:
    """The files under `infra/`, and what calls them."""

    def __init__(self, root: Path):
        self.root = root
        self.files = {path.resolve(): BicepFile(path.resolve(), root.resolve()) for path in _paths(root)}
        # The file of a module: the file that deploys it, the module, and its parameters.
        self.calls: dict[Path, list] = {path: [] for path in self.files}
        for file in self.files.values():
            for one in file.declarations.values():
                if one.kind == "module":
                    target = (file.path.parent / one.type).resolve()
                    self.calls.setdefault(target, []).append((file, one, parameters(file, one)))

    def main(self) -> BicepFile | None:
        """The template that users deploy."""
        return self.files.get((self.root / "infra/main.bicep").resolve())

    def resources(self):
        """Every resource that a template creates: its file and declaration."""
        for file in self.files.values():
            for one in file.declarations.values():
                if one.kind == "resource" and not one.existing and one.value is not None:
                    yield file, one

    def arguments(self, file, name):
        """What callers pass for a parameter: pairs of a file and an expression."""
        return [(caller, given[name]) for caller, _, given in self.calls[file.path] if name in given]


def _paths(root):
    return sorted((root / "infra").rglob("*.bicep"))


def parameters(file, module) -> dict:
    """The parameters of a module by name."""
    for key, _, value in properties(file, module.value) if module.value is not None else ():
        if key == "params" and value.type == "object":
            return {name: inner for name, _, inner in properties(file, value)}
    return {}


def property_at(file, node, *path):
    """The value at a path of keys in an object that is written out, or None."""
    for step in path:
        if node is None or node.type != "object":
            return None
        node = next((value for key, _, value in properties(file, node) if key == step), None)
    return node


def call(file, node):
    """The name and the arguments of a function call, else None and nothing."""
    if node.type != "call_expression":
        return None, []
    name = file.text(node.child_by_field_name("function")).removeprefix("sys.")
    return name, [child for child in node.child_by_field_name("arguments").named_children if child.type != "comment"]
