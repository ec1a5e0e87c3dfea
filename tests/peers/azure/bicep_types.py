"""The types of resources: Microsoft's own definitions out of azmcp, and transcriptions of the few that it lacks."""

import json
import os
import subprocess
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

TRANSCRIBED = Path(__file__).parent / "types"


@dataclass(frozen=True)
class Property:
    """One property of an object type."""

    type: str
    flags: frozenset
    limits: str = ""


@dataclass(frozen=True)
class ObjectType:
    """The properties of an object type; `others` is the type of those that have no name of their own."""

    properties: dict
    others: str | None = None


@dataclass(frozen=True)
class ResourceType:
    """A resource type: bodies by name (`""` unless the name decides), and the object types that they mention."""

    versions: tuple
    bodies: dict
    objects: dict


class Types:
    """Looks types up, in a folder of answers first: azmcp takes seconds for each."""

    def __init__(self, cache: Path):
        self.cache = cache
        self.known: dict[str, ResourceType | str] = {}

    def get(self, name: str) -> ResourceType | str:
        """The type, or a sentence on why there is none."""
        if name not in self.known:
            transcribed = TRANSCRIBED / f"{name.replace('/', '_')}.json"
            self.known[name] = _transcribed(transcribed) if transcribed.is_file() else self._asked(name)
        return self.known[name]

    def _asked(self, name):
        answer = self.cache / metadata.version("msmcp-azure") / f"{name.replace('/', '_')}.json"
        if not answer.is_file():
            answer.parent.mkdir(parents=True, exist_ok=True)
            text = self._azmcp(name)
            if json.loads(text)["status"] != 200:
                return f"azmcp knows no such type: {json.loads(text)['message'].split('. ')[0]}"
            answer.write_text(text)
        return _read(json.loads(answer.read_text())["results"]["BicepSchemaResult"])

    def _azmcp(self, name):
        program = Path(str(resources.files("msmcp_azure"))) / "bin" / "azmcp"
        program.chmod(0o755)
        home = self.cache / "home"
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "DOTNET_BUNDLE_EXTRACT_BASE_DIR": str(home),
            "AZURE_MCP_COLLECT_TELEMETRY": "false",
        }
        command = [program, "bicepschema", "get", "--resource-type", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
        return done.stdout


def _object(entry):
    named = {
        one["name"]: Property(one["type"], frozenset(one.get("flags", "").split(", ")), one.get("modifiers", ""))
        for one in entry.get("properties", [])
    }
    return ObjectType(named, entry.get("additionalPropertiesType"))


def _read(entries):
    objects, bodies, versions = {}, {}, []
    for entry in entries:
        if entry["$type"] == "Resource":
            versions.append(entry["name"].partition("@")[2])
            body = entry["bodyType"]
            for one in body.get("elements", [body]):
                kind = _object(one)
                bodies[kind.properties["name"].type if "elements" in body else ""] = kind
        elif entry["$type"] == "Object":
            objects[entry["name"]] = _object(entry)
        elif "elements" in entry:
            # An object whose shape one of its properties decides: every property that any shape has.
            merged = {}
            for one in [*entry["elements"], {"properties": entry.get("baseProperties", [])}]:
                for key, value in _object(one).properties.items():
                    merged[key] = Property(value.type, value.flags - {"Required"})
            objects[entry["name"]] = ObjectType(merged, "any")
    return ResourceType(tuple(versions), bodies, objects)


def _transcribed(path):
    """Our own short form: `{"apiVersion", "objects": {name: {property: "type; Flag, Flag"}}}`, `*` for all others."""
    content = json.loads(path.read_text())
    objects = {}
    for name, entries in content["objects"].items():
        named = {}
        for key, text in entries.items():
            kind, _, flags = text.partition("; ")
            named[key] = Property(kind, frozenset(flags.split(", ")))
        others = named.pop("*", None)
        objects[name] = ObjectType(named, others.type if others else None)
    return ResourceType((content["apiVersion"],), {"": objects.pop("")}, objects)
