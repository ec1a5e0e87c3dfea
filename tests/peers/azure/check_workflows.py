"""Checks the GitHub workflows: their form by the published schema, their meaning by actionlint, the scripts in them by
shellcheck, which actionlint starts, their safety by zizmor, and the project's own rules. All of it is offline.

    python check_workflows.py [--root FOLDER] --actionlint PROGRAM
"""

import argparse
import subprocess
import sys
from pathlib import Path

import workflow_rules

PROJECT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(sys.executable).parent


def passes(*command) -> bool:
    """Whether a program says that all is well; it prints for itself what is not."""
    return subprocess.run([str(word) for word in command], timeout=120, check=False).returncode == 0


def main():
    """Gives 1 if anything is wrong, or if there is nothing to check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--actionlint", type=Path, required=True)
    arguments = parser.parse_args()
    github = arguments.root / ".github"
    workflows = sorted([*github.glob("workflows/*.yml"), *github.glob("workflows/*.yaml")])
    if not workflows:
        print(".github/workflows: there is no workflow here")
        return 1
    schema = [PROGRAMS / "check-jsonschema", "--builtin-schema"]
    good = [passes(*schema, "vendor.github-workflows", *workflows)]
    dependabot = sorted(github.glob("dependabot.y*ml"))
    good += [passes(*schema, "vendor.dependabot", file) for file in dependabot]
    # pyflakes would check Python in workflows, of which there is none.
    good.append(passes(arguments.actionlint, "-no-color", "-shellcheck", PROGRAMS / "shellcheck", "-pyflakes=", *workflows))
    # The persona that also reports what is not a vulnerability by itself, such as permissions without a reason.
    good.append(passes(PROGRAMS / "zizmor", "--offline", "--quiet", "--persona=pedantic", *workflows, *dependabot))
    found = workflow_rules.faults(arguments.root)
    for fault in found:
        print(fault)
    return 0 if all(good) and not found else 1


if __name__ == "__main__":
    sys.exit(main())
