"""Checks in the templates what no compiler knows: names that Azure refuses, names that become too long, and names that
hooks, pages and workflows read although nothing sets them.

    python check_templates.py [--root FOLDER]
"""

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path

import app_settings
import container_app_rules
import deployment_rules
import name_lengths
import outputs
from bicep_file import Fault
from shell_commands import commands
from template_graph import Templates

PROJECT = Path(__file__).resolve().parents[3]
NAMES = Path(__file__).with_name("names.toml")
# Files besides templates that name the gateway's settings; those with `.md` are checked by the tidy tests.
NAMING = ["infra/**/*.bicep", "infra/**/*.bicepparam", "infra/**/*.sh", "deploy/**/*", "azure.yaml",
          ".github/workflows/*.y*ml", "local.settings.json.sample"]  # fmt: skip


def known_settings(root: Path) -> set[str]:
    """The settings of the gateway, from the table that is generated from its code."""
    page = (root / "docs/configuration.md").read_text()
    table = page.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    return set(re.findall(r"^\| `([A-Z0-9_]+)`", table, re.MULTILINE))


def setting_faults(root: Path) -> list[Fault]:
    """Names with the gateway's prefix that are no setting of it: the gateway would not start with one."""
    known = known_settings(root)
    if not known:
        return [Fault("docs/configuration.md", 1, "the table of settings is not there")]
    found = []
    for path in sorted(path for pattern in NAMING for path in root.glob(pattern) if path.is_file()):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"CLOAKROOM_([A-Z0-9_]+)", line):
                if name not in known:
                    found.append(Fault(str(path.relative_to(root)), number, f"CLOAKROOM_{name} is no setting"))
    return found


def function_faults(root: Path, functions: set[str]) -> list[Fault]:
    """Functions that scripts and pages call by a name that does not exist."""
    found = []
    for path in sorted([*root.glob("infra/**/*.sh"), *root.glob("docs/*.md"), *root.glob("*.md")]):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"/admin/functions/([a-z][\w-]*)", line):
                if name not in functions:
                    found.append(Fault(str(path.relative_to(root)), number, f"there is no function {name}"))
    return found


def command_faults(root: Path, functions: set[str]) -> list[Fault]:
    """Settings that a documented command sets by a name that Azure refuses."""
    found = []
    for one in commands(root):
        if one.program == "az" and "appsettings" in one.arguments and "--settings" in one.arguments:
            after = one.arguments[one.arguments.index("--settings") + 1 :]
            for setting in after:
                if setting.startswith("-"):
                    break
                message = app_settings.name_fault(setting.partition("=")[0], functions)
                if message:
                    found.append(Fault(one.path, one.line, message))
    return found


def rule_faults(root: Path) -> list[Fault]:
    """Rules of Bicep's linter: an error each, or off with the reason in front; the same in every configuration."""
    found, first = [], None
    for path in sorted((root / "infra").rglob("bicepconfig.json")):
        lines, name = path.read_text().splitlines(), str(path.relative_to(root))
        content = json.loads("\n".join("" if line.lstrip().startswith("//") else line for line in lines))
        rules = content.get("analyzers", {}).get("core", {}).get("rules", {})
        first = rules if first is None else first
        if rules != first:
            found.append(Fault(name, 1, "its rules are not those of the other bicepconfig.json"))
        for number, line in enumerate(lines, 1):
            level = re.search(r'"level": "(\w+)"', line)
            excused = level and level[1] == "off" and lines[number - 2].lstrip().startswith("//")
            if level and level[1] != "error" and not excused:
                found.append(Fault(name, number, "a rule is an error, or off with the reason in the line before"))
    return found or ([] if first else [Fault("infra", 1, "there is no bicepconfig.json")])


def faults(root: Path) -> list[Fault]:
    """All faults, in the order of files and lines."""
    templates = Templates(root)
    if templates.main() is None:
        return [Fault("infra/main.bicep", 1, "it is not there")]
    functions = {path.parent.name for path in root.glob("*/function.json")}
    found = rule_faults(root) + setting_faults(root) + function_faults(root, functions) + command_faults(root, functions)
    found += app_settings.faults(templates, functions)
    found += deployment_rules.faults(templates) + container_app_rules.faults(templates)
    found += name_lengths.faults(templates, tomllib.loads(NAMES.read_text()))
    return sorted(set(found + outputs.faults(root, templates)))


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    found = faults(parser.parse_args().root)
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
