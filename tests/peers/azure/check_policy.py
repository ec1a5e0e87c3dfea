"""Runs checkov on the Bicep files of `infra/`. What stays as it is has its reason in policy.toml.

    python check_policy.py [--root FOLDER] --checkov PROGRAM
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
SKIPS = Path(__file__).parent / "policy.toml"
# Graph's resources, of which checkov knows nothing; it cannot read their `extension` line either.
NOT_FOR_CHECKOV = "app-registration"


def scan(checkov: Path, folder: Path) -> dict:
    """What checkov tells, without its asking anybody else."""
    command = [checkov, "--directory", folder, "--framework", "bicep", "--skip-path", NOT_FOR_CHECKOV]
    command += ["--skip-download", "--quiet", "--compact", "--output", "json"]
    # It keeps a cache in its home, which is its own environment here.
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(checkov.parents[1]), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    return json.loads(done.stdout)


def faults(told: dict, skips: dict) -> list[str]:
    """The findings that nothing excuses, and the excuses that nothing needs."""
    if "summary" not in told or told["summary"]["passed"] == 0:
        return ["infra: checkov found nothing to check"]
    results, found = told["results"], set()
    complaints = [f"infra{path}: checkov cannot read it" for path in results.get("parsing_errors", [])]
    if told["summary"]["parsing_errors"] and not complaints:
        complaints.append("infra: there is a file that checkov cannot read")
    for one in results["failed_checks"]:
        found.add(one["check_id"])
        if one["check_id"] not in skips:
            place = f"infra{one['file_path']}:{one['file_line_range'][0]}"
            complaints.append(f"{place}: {one['check_id']}: {one['check_name']} ({one['resource']})")
    stale = sorted(set(skips) - found)
    return complaints + [f"{SKIPS.name}: {name} excuses nothing; take it out" for name in stale]


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--checkov", type=Path, required=True)
    arguments = parser.parse_args()
    told = scan(arguments.checkov, arguments.root / "infra")
    found = faults(told, tomllib.loads(SKIPS.read_text())["skip"])
    for fault in found:
        print(fault)
    print(f"{told.get('summary', {}).get('passed', 0)} policies hold, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
