"""The functions of Bicep that the templates call, and its operators. What Azure makes of names is a stand-in here: equal
arguments have equal results, and other arguments have others."""

import hashlib
import json
import operator
import uuid

# Where a deployment goes.
REGION = "region-of-the-group"
GROUP = {"id": "/subscriptions/s/resourceGroups/g", "name": "g", "location": REGION}
TENANT = {"tenantId": "tenant-of-the-subscription"}
ENVIRONMENT = {"authentication": {"loginEndpoint": "https://login.microsoftonline.com/"}}


class Stopped(Exception):
    """A deployment that does not begin: by fail(), or for want of a value."""


def fail(message):
    """Stops the deployment."""
    raise Stopped(message)


def unique(*parts):
    """13 letters and digits."""
    return hashlib.sha256("-".join(parts).encode()).hexdigest()[:13]


def guid(*parts):
    """The same in the form of a GUID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "-".join(parts)))


def union(first, *others):
    """Of objects the last value of each key, of arrays every element once."""
    if isinstance(first, dict):
        merged = dict(first)
        for other in others:
            merged |= other
        return merged
    merged = list(first)
    for other in others:
        merged += [element for element in other if element not in merged]
    return merged


def items(given):
    """The pairs of an object, by their keys."""
    return [{"key": key, "value": given[key]} for key in sorted(given)]


def boolean(given):
    """A text that says true or false; case does not matter."""
    return given if isinstance(given, bool) else {"true": True, "false": False}[given.lower()]


FUNCTIONS = {
    "bool": boolean,
    "empty": lambda given: not given,
    "endsWith": lambda text, end: text.lower().endswith(end.lower()),
    "environment": lambda: ENVIRONMENT,
    "fail": fail,
    "guid": guid,
    "int": int,
    "items": items,
    "json": json.loads,
    "length": len,
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda: GROUP,
    "split": lambda text, delimiter: text.split(delimiter),
    "startsWith": lambda text, start: text.lower().startswith(start.lower()),
    "subscriptionResourceId": lambda *parts: "/subscriptions/s/" + "/".join(parts),
    "take": lambda given, number: given[: max(number, 0)],
    "tenant": lambda: TENANT,
    "toLower": str.lower,
    "union": union,
    "uniqueString": unique,
}
OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv, "%": operator.mod,
}  # fmt: skip
