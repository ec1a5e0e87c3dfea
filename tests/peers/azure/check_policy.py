"""Runs checkov on the Bicep files of `infra/`. What stays as it is has its reason in policy.toml.

    python check_policy.py [--root FOLDER] --checkov PROGRAM
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from bicep_file import for_checkov

PROJECT = Path(__file__).resolve().parents[3]
SKIPS = Path(__file__).parent / "policy.toml"
# Graph's resources, of which checkov knows nothing; it cannot read their `extension` line either.
NOT_FOR_CHECKOV = "app-registration"
# Rules on names of storage accounts. checkov compares the expression or its value, by the order of its sets, which
# depends on the seed of hashes in Python. name_lengths.py knows the rule, for the longest value that is possible.
NOT_OF_CHECKOV = "CKV_AZURE_43"
# The same order in each run.
SEED = 0


def scan(checkov: Path, folder: Path, seed: int = SEED) -> dict:
    """The report of checkov on a copy of the templates that it can read."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        for path in Path(copy).rglob("*.bicep"):
            path.write_text(for_checkov(path.read_text()))
        return run(checkov, Path(copy), seed)


def run(checkov: Path, folder: Path, seed: int, framework: str = "bicep") -> dict:
    """The report of checkov, which runs without network access."""
    command = [checkov, "--directory", folder, "--framework", framework, "--skip-path", NOT_FOR_CHECKOV]
    command += ["--skip-check", NOT_OF_CHECKOV, "--skip-download", "--quiet", "--compact", "--output", "json"]
    # It keeps a cache in its home, which is its own environment here.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(checkov.parents[1]), "LOG_LEVEL": "ERROR"}
    environment["PYTHONHASHSEED"] = str(seed)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    return json.loads(done.stdout)


def exceptions(framework: str) -> dict:
    """The policies that do not count for one framework, with their reasons."""
    return tomllib.loads(SKIPS.read_text())[framework]


def faults(report: dict, skips: dict, folder: str = "infra") -> list[str]:
    """The findings without an exception, and the exceptions that match nothing."""
    if "summary" not in report or report["summary"]["passed"] == 0:
        return [f"{folder}: checkov found nothing to check"]
    results, found = report["results"], set()
    found_faults = [f"{folder}{path}: checkov cannot read it" for path in results.get("parsing_errors", [])]
    if report["summary"]["parsing_errors"] and not found_faults:
        found_faults.append(f"{folder}: there is a file that checkov cannot read")
    for one in results["failed_checks"]:
        found.add(one["check_id"])
        if one["check_id"] not in skips:
            place = f"{folder}{one['file_path']}:{one['file_line_range'][0]}"
            found_faults.append(f"{place}: {one['check_id']}: {one['check_name']} ({one['resource']})")
    stale = sorted(set(skips) - found)
    return found_faults + [f"{SKIPS.name}: {name} matches nothing; remove it" for name in stale]


def main():
    """Prints the faults; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--checkov", type=Path, required=True)
    arguments = parser.parse_args()
    report = scan(arguments.checkov, arguments.root / "infra")
    found = faults(report, exceptions("bicep"))
    for fault in found:
        print(fault)
    print(f"{report.get('summary', {}).get('passed', 0)} policies hold, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
