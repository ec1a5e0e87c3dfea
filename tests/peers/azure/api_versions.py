"""Which API versions templates may name: the list in api_versions.toml."""

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

LIST = Path(__file__).with_name("api_versions.toml")
# How long a version must last, so that its replacement is not a matter of days.
NOTICE = timedelta(days=365)


@dataclass(frozen=True)
class ApiVersions:
    """The versions of each resource type, read on a given day."""

    types: dict
    today: date

    @classmethod
    def read(cls, today: date) -> "ApiVersions":
        """The list of the project."""
        return cls(tomllib.loads(LIST.read_text()), today)

    def message(self, name: str, version: str, checked: tuple) -> str | None:
        """What is wrong with a version of a type whose definitions are those of the versions `checked`."""
        known = self.types.get(name, {})
        if version not in known:
            listed = ", ".join(sorted(known)) or "none"
            return f"{name}: {LIST.name} does not list the version {version}; it lists {listed}"
        retires = known[version].get("retires")
        if retires and retires - self.today < NOTICE:
            return f"{name}: Azure retires the version {version} on {retires}; take a newer one"
        definitions = known[version].get("types", version)
        if definitions not in checked:
            return f"{name}: {LIST.name} checks {version} by the types of {definitions}, but there are {checked[0]}"
        return None
