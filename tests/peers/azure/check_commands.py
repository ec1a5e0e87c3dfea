"""Checks every `az`, `azd` and `func` command in pages, hooks, workflows and templates.

`az` is parsed by azure-cli itself, not signed in, and nothing is done: unknown commands and arguments, and missing
ones, are faults. Rules between arguments that azure-cli only applies later are not seen. `func` and `azd` are checked
by the tables of command_tables.py.

    python check_commands.py [--root FOLDER] --azure-cli PYTHON --home FOLDER
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import command_tables
from shell_commands import commands

PROJECT = Path(__file__).resolve().parents[3]


def az_messages(python: Path, home: Path, found: list) -> list:
    """What azure-cli has against each command; all in one process, which takes a second to start."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "AZURE_CONFIG_DIR": str(home),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_CHECK_FOR_UPDATES": "no",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "PYTHONWARNINGS": "ignore",
    }
    parser = Path(__file__).with_name("az_parse.py")
    asked = json.dumps([one.arguments for one in found])
    done = subprocess.run(
        [python, parser], input=asked, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    )
    return json.loads(done.stdout)


def faults(root: Path, python: Path, home: Path) -> tuple[list[str], int]:
    """The faults, and how many commands there are."""
    found = commands(root)
    az = [one for one in found if one.program == "az"]
    if not az:
        return ["README.md, docs: there is no az command to check"], 0
    messages = list(zip(az, az_messages(python, home, az), strict=True))
    for one in found:
        if one.program == "func":
            messages.append((one, command_tables.message(command_tables.FUNC, ((), ()), one.arguments)))
        elif one.program == "azd":
            messages.append((one, command_tables.message(command_tables.AZD, command_tables.AZD_EVERYWHERE, one.arguments)))
    missing = re.compile("are required|expected (one|at least one) argument|lacks its value")
    bad = [(one, message) for one, message in messages if message and not (one.partial and missing.search(message))]
    return [f"{one}\n    {message}" for one, message in bad], len(found)


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--azure-cli", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    found, count = faults(arguments.root, arguments.azure_cli, arguments.home)
    for fault in found:
        print(fault)
    print(f"{count} commands, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
