"""Checks the Bicep files of `infra/` against the real types of Azure, and their settings against the gateway's.

    python check_bicep.py [--root FOLDER] --cache FOLDER
"""

import argparse
import re
import sys
from pathlib import Path

from bicep_check import Checker
from bicep_file import Fault
from bicep_types import Types

PROJECT = Path(__file__).resolve().parents[3]


def setting_faults(root: Path, page: str) -> list[Fault]:
    """Names with the gateway's prefix that are no setting of it: the gateway would not start with one."""
    table = page.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0]
    known = set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE))
    if not known:
        return [Fault("docs/configuration.md", 1, "the table of settings is not there")]
    faults = []
    for path in sorted([*root.rglob("infra/**/*.bicep"), *root.rglob("infra/**/*.bicepparam")]):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"CLOAKROOM_([A-Z_]+)", line):
                if name not in known:
                    faults.append(Fault(str(path.relative_to(root)), number, f"CLOAKROOM_{name} is no setting"))
    return faults


def faults(root: Path, cache: Path) -> tuple[list[Fault], int]:
    """The faults, and how many files there are."""
    checker = Checker(root, Types(cache))
    found = checker.run(root / "infra")
    found += setting_faults(root, (PROJECT / "docs/configuration.md").read_text())
    return found, len(checker.files)


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--cache", type=Path, required=True)
    arguments = parser.parse_args()
    found, count = faults(arguments.root, arguments.cache)
    for fault in found:
        print(fault)
    print(f"{count} Bicep files, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
