"""Checks the GitHub workflows: their form by the published schema, their safety by zizmor, both offline.

    python check_workflows.py [--root FOLDER]
"""

import argparse
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(sys.executable).parent


def passes(*command) -> bool:
    """Whether a program of this environment says that all is well; it prints for itself what is not."""
    program, *arguments = map(str, command)
    return subprocess.run([PROGRAMS / program, *arguments], timeout=120, check=False).returncode == 0


def main():
    """Gives 1 if anything is wrong, or if there is nothing to check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    github = parser.parse_args().root / ".github"
    workflows = sorted([*github.glob("workflows/*.yml"), *github.glob("workflows/*.yaml")])
    if not workflows:
        print(".github/workflows: there is no workflow here")
        return 1
    good = [passes("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)]
    for dependabot in sorted(github.glob("dependabot.y*ml")):
        good.append(passes("check-jsonschema", "--builtin-schema", "vendor.dependabot", dependabot))
    good.append(passes("zizmor", "--offline", "--no-progress", "--quiet", *workflows))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
