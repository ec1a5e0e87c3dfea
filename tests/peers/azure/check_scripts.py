"""Runs shellcheck on every script of the project: the hooks of azd, `.ci/run`, scripts of workflows, and the lines that
azure.yaml gives to a shell. Scripts inside workflows are checked by check_workflows.py.

    python check_scripts.py [--root FOLDER]
"""

import argparse
import subprocess
import sys
from pathlib import Path

import ruamel.yaml

PROJECT = Path(__file__).resolve().parents[3]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def scripts(root: Path) -> list[Path]:
    """The files that a shell runs."""
    return sorted([*root.glob("infra/**/*.sh"), *root.glob(".github/**/*.sh"), *root.glob(".ci/run")])


def hooks(content) -> list[str]:
    """What azure.yaml gives to `sh`, at any depth."""
    if isinstance(content, list):
        return [line for one in content for line in hooks(one)]
    if not isinstance(content, dict):
        return []
    own = [content["run"]] if content.get("shell") == "sh" and "run" in content else []
    return own + [line for one in content.values() for line in hooks(one)]


def passes(root: Path, *arguments, text=None) -> bool:
    """Whether shellcheck has nothing to say; every level counts."""
    command = [SHELLCHECK, "--color=never", "--severity=style", "--enable=check-unassigned-uppercase", *arguments]
    return subprocess.run(command, cwd=root, input=text, text=True, timeout=120, check=False).returncode == 0


def main():
    """Gives 1 if anything is wrong, or if there is nothing to check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    root = parser.parse_args().root
    files = scripts(root)
    if not files:
        print("infra/hooks: there is no script here")
        return 1
    good = [passes(root, *[file.relative_to(root) for file in files])]
    azure = root / "azure.yaml"
    lines = hooks(ruamel.yaml.YAML(typ="safe").load(azure.read_text())) if azure.is_file() else []
    good += [passes(root, "--shell=sh", "-", text=line) for line in lines]
    print(f"{len(files)} scripts, {len(lines)} lines in azure.yaml")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
