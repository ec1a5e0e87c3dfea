"""Checks the Bicep files of `infra/` against the real types of Azure, their parameters against the page about them,
and the events of alerts against those that the gateway logs.

    python check_bicep.py [--root FOLDER] [--today YYYY-MM-DD] --cache FOLDER
"""

import argparse
import re
import sys
from datetime import date
from pathlib import Path

from api_versions import LIST, ApiVersions
from bicep_check import Checker
from bicep_file import BicepFile, Declaration, Fault
from bicep_types import Types
from template_rules import rule_faults

PROJECT = Path(__file__).resolve().parents[3]
# The table of a template's parameters in infra/README.md, by its heading.
TABLES = {"main.bicep": "Parameters", "container-app.bicep": "Parameters on Container Apps"}
# Parameters of deployments that the compiler compares with snapshots.
SNAPSHOTS = "tests/peers/azure/snapshots"


def shown(file: BicepFile, one: Declaration) -> str:
    """How the table of parameters begins its description of a default; nothing of one that is computed."""
    text = file.text(one.value) if one.value is not None else "required"
    if text.isdigit() or text == "required":
        return text
    return "" if "(" in text else "empty" if text == "''" else "`" + text.strip("'") + "`"


def page_faults(root: Path, template: BicepFile, heading: str) -> list[Fault]:
    """Differences between the parameters of a template and their table in infra/README.md."""
    parameters = {one.name: shown(template, one) for one in template.declarations.values() if one.kind == "param"}
    page, name = root / "infra/README.md", template.path.name
    section = (page.read_text() if page.is_file() else "").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", section, re.MULTILINE))
    texts = [f"there is no row for param '{one}' of {name}" for one in parameters.keys() - rows.keys()]
    texts += [f"{name} has no param '{one}'" for one in rows.keys() - parameters.keys()]
    for one in parameters.keys() & rows.keys():
        if not rows[one].startswith(parameters[one]):
            texts.append(f"the default of '{one}' is {parameters[one]} in {name}, not {rows[one]}")
    return [Fault("infra/README.md", 1, text) for text in texts]


def version_faults(files: list[BicepFile], listed: ApiVersions) -> list[Fault]:
    """Versions that no template names any more: while the list has them, a template could return to one. Those that
    retire stay, for their date."""
    used = {one.type for file in files for one in file.declarations.values() if one.kind == "resource"}
    lasting = [(name, version) for name, one in listed.types.items() for version in one if "retires" not in one[version]]
    unused = [f"{name}@{version}" for name, version in lasting if f"{name}@{version}" not in used]
    return [Fault(LIST.name, 1, f"no template names {name}: remove it") for name in unused]


def event_faults(root: Path) -> list[Fault]:
    """Events that an alert waits for and the gateway never logs."""
    path = root / "infra/modules/alerts.bicep"
    logged = {name for file in PROJECT.glob("src/**/*.rs") for name in re.findall(r'event = "(\w+)"', file.read_text())}
    asked = re.findall(r"\bevent (?:==|in) ([^|]*?)(?: and|\||'$)", path.read_text(), re.MULTILINE)
    names = {name for part in asked for name in re.findall(r"\\'(\w+)\\'", part)}
    if not names:
        return [Fault(str(path.relative_to(root)), 1, "there is no alert on an event")]
    unknown = sorted(names - logged)
    return [Fault(str(path.relative_to(root)), 1, f"the gateway logs no event '{name}'") for name in unknown]


def faults(root: Path, cache: Path, today: date) -> tuple[list[Fault], int]:
    """The faults, and how many files there are."""
    checker = Checker(root, Types(cache), ApiVersions.read(today))
    checker.run(root / "infra")
    found = checker.run(root / SNAPSHOTS)
    main = checker.files.get((root / "infra/main.bicep").resolve())
    if main is not None:
        for name, heading in TABLES.items():
            found += page_faults(root, checker.files[(root / "infra" / name).resolve()], heading)
        found += event_faults(root) + rule_faults(checker.files.values())
        found += version_faults(checker.files.values(), checker.api_versions)
    return found, len(checker.files)


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--today", type=date.fromisoformat, default=date.today())
    arguments = parser.parse_args()
    found, count = faults(arguments.root, arguments.cache, arguments.today)
    for fault in found:
        print(fault)
    print(f"{count} Bicep files, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
