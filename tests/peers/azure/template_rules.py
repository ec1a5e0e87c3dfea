"""Rules of this project's templates that no type definition has, about single declarations."""

import re

from bicep_file import Fault
from template_graph import property_at

# Types that say nothing of what is in them.
UNTYPED = re.compile(r"\b(any|array|object)\b")


def rule_faults(files) -> list[Fault]:
    """Breaches of the rules in the files."""
    found = []
    for file in files:
        for one in [*file.declarations.values(), *file.outputs.values()]:
            found += [Fault(file.name, one.node.start_point[0] + 1, text) for text in _messages(file, one)]
    return found


def _messages(file, one):
    if one.kind == "module" and property_at(file, one.value, "name") is not None:
        yield f"module '{one.name}' has a name: two deployments at once would collide"
    if one.kind in ("param", "output") and UNTYPED.search(one.type):
        yield f"{one.kind} '{one.name}' is an {one.type} of anything: say of what, such as {{ *: string }} or string[]"
