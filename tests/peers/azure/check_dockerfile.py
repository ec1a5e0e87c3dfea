"""Checks the Dockerfile: by hadolint, and against what `cargo dev image` gives the image.

    python check_dockerfile.py [--root FOLDER]
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
HADOLINT = Path(sys.executable).with_name("hadolint")
# The instructions of the last stage, as in devkit/src/commands/image/layout.rs (contract 17.8).
REQUIRED = {
    "FROM": "scratch",
    "WORKDIR": "/app",
    "ENV": "CLOAKROOM_LISTEN=0.0.0.0:8080 CLOAKROOM_DRAIN_DELAY=5s",
    "EXPOSE": "8080/tcp",
    "USER": "65532:65532",
    "STOPSIGNAL": "SIGTERM",
    "ENTRYPOINT": '["/cloakroom"]',
}


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def own_faults(root: Path, text: str) -> list[str]:
    """What no linter knows."""
    found = instructions(text)
    stages = [at for at, (name, _) in enumerate(found) if name == "FROM"]
    if len(stages) != 2:
        return ["there must be one stage that builds and one that is shipped"]
    toolchain = (root / ".github/rust-toolchain.toml").read_text()
    version = re.search(r'^channel = "(.*)"$', toolchain, re.MULTILINE)[1]
    base = f"docker.io/library/rust:{version}-bookworm AS build"
    faults = [] if found[stages[0]][1] == base else [f"the first stage must be FROM {base}"]
    shipped = found[stages[1]:]
    for name, value in REQUIRED.items():
        values = [arguments for instruction, arguments in shipped if instruction == name]
        if values != [value]:
            faults.append(f"the last stage must have exactly one {name} {value}, not {values}")
    if any(name == "RUN" for name, _ in shipped):
        faults.append("the last stage has no shell that could run something")
    return faults


def missing_members(root: Path) -> list[str]:
    """Packages of the workspace that .dockerignore leaves out: cargo needs the manifests of all."""
    workspace = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]
    kept = (root / ".dockerignore").read_text().splitlines()
    return [f"add !{member} to .dockerignore" for member in workspace["members"] if f"!{member}" not in kept]


def lint(root: Path) -> list[str]:
    """hadolint's findings of every level."""
    command = [HADOLINT, "--no-fail", "--failure-threshold", "style", "--format", "json", "Dockerfile"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    return [f"line {one['line']}: {one['code']} {one['message']}" for one in json.loads(done.stdout)]


def main():
    """Gives 1 if anything is wrong, or if there is no Dockerfile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    root = parser.parse_args().root
    file = root / "Dockerfile"
    if not file.is_file():
        print("Dockerfile: missing")
        return 1
    faults = lint(root) + own_faults(root, file.read_text()) + missing_members(root)
    for fault in faults:
        print(f"Dockerfile: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
