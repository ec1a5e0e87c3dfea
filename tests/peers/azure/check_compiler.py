"""Runs the Bicep compiler on every template and on parameters with and without each option.

Any line that it prints is a fault: Bicep reports type errors as warnings, with exit code 0. The rules of its linter are
in infra/bicepconfig.json, each an error. Without a compiler this prints so and passes, unless it is required.

    python check_compiler.py [--root FOLDER] --work FOLDER [--require] [--update-snapshots]
    python check_compiler.py --find
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bicep_file import BicepFile

PROJECT = Path(__file__).resolve().parents[3]
SNAPSHOTS = "tests/peers/azure/snapshots"
# The templates that are deployed, and what every deployment of them is given: of main.bicep, for each plan.
PLANS = ("flex", "consumption")
CONTAINER = "container-app"
# Snapshots depend on where a deployment goes.
PLACE = ["--tenant-id", "11111111-1111-1111-1111-111111111111", "--subscription-id",
         "22222222-2222-2222-2222-222222222222", "--resource-group", "cloakroom", "--location", "westeurope",
         "--deployment-name", "cloakroom"]  # fmt: skip
CLIENT_ID = "33333333-3333-3333-3333-333333333333"


def find() -> Path | None:
    """`bicep` of the path, or the one that `az bicep install` has put into az's folder."""
    on_path = shutil.which("bicep")
    if on_path:
        return Path(on_path)
    folder = Path(os.environ.get("AZURE_CONFIG_DIR") or Path.home() / ".azure")
    return folder / "bin/bicep" if shutil.which("az") and os.access(folder / "bin/bicep", os.X_OK) else None


@dataclass
class Compiler:
    """Runs the compiler and collects what it prints."""

    program: Path
    root: Path
    calls: int = 0
    failed: int = 0

    def run(self, *arguments, environment=None):
        """One call, which must print nothing but what it makes. A comparison of snapshots says by its exit code whether
        there is a difference, and may print that there is none."""
        self.calls += 1
        command, variables = [self.program, *arguments], {**os.environ, **(environment or {})}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(command, cwd=self.root, env=variables, timeout=120, check=False, **streams)
        made = b"" if "--stdout" in arguments else done.stdout
        unwanted = done.stderr if arguments[0] == "snapshot" else done.stderr + made
        if done.returncode != 0 or unwanted.strip():
            printed = (done.stderr + made).decode()
            self.fault(f"bicep {' '.join(map(str, arguments))}: exit code {done.returncode}\n{printed}")
        return done.stdout

    def fault(self, text):
        """Prints what is wrong, and counts it."""
        self.failed += 1
        print(text)


def literal(text: str) -> str:
    """A text as Bicep writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"


def values(file: BicepFile, one) -> list[str]:
    """What an option can be besides its default: both texts of a flag, each allowed value, both ends of a range."""
    decorators = {name: [file.text(node) for node in nodes] for name, nodes in one.decorators.items()}
    if "allowed" in decorators:
        return [file.text(child) for child in one.decorators["allowed"][0].named_children if child.type != "comment"]
    kind = one.type.rstrip("?")
    if kind == "bool":
        return ["true", "false"]
    if kind == "int":
        return [decorators[name][0] for name in ("minValue", "maxValue") if name in decorators] or ["1"]
    if kind.startswith("{") or kind == "object":
        return ["{ EXAMPLE: 'example' }"]
    if kind.endswith("[]") or kind == "array":
        return ["[]", "['example']"]
    longest = int(decorators.get("maxLength", ["20"])[0])
    return ["''", literal(("example" * 40)[:longest])]


def variants(template: BicepFile, bases: dict[str, dict]) -> dict[str, dict]:
    """Parameters of deployments by a name: each base without options, with all of them, and with each value of each."""
    options = {one.name: one for one in template.declarations.values() if one.kind == "param" and one.value is not None}
    found = {}
    for kind, base in bases.items():
        others = {name: values(template, one) for name, one in options.items() if name not in base}
        found[f"{kind}-alone"] = base
        found[f"{kind}-all"] = base | {name: choices[-1] for name, choices in others.items()}
        for name, choices in others.items():
            found |= {f"{kind}-{name}-{number}": base | {name: one} for number, one in enumerate(choices)}
    return found


def check_files(compiler: Compiler):
    """Form, types and rules of each file by itself."""
    patterns = ["infra/**/*.bicep", "infra/**/*.bicepparam", f"{SNAPSHOTS}/*.bicepparam"]
    for path in sorted(path for pattern in patterns for path in compiler.root.glob(pattern)):
        # Not by an option that only compares, which not every version of the compiler has.
        if compiler.run("format", path, "--stdout") != path.read_bytes():
            compiler.fault(f"{path.relative_to(compiler.root)}: not as bicep format writes it")
        if path.suffix == ".bicep":
            compiler.run("build", path, "--stdout")
            compiler.run("lint", path)


def check_parameters(compiler: Compiler, work: Path):
    """The parameters of each template: the committed file with and without its variables, and every variant."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    required = {"clientId": literal(CLIENT_ID)}
    plans = {plan: required | {"hostingPlan": literal(plan)} for plan in PLANS}
    _template(compiler, work, "main", plans)
    _template(compiler, work, CONTAINER, {CONTAINER: required | {"image": literal("example")}})


def _template(compiler, work, template, bases):
    committed = compiler.root / f"infra/{template}.bicepparam"
    names = re.findall(r"readEnvironmentVariable\('(\w+)'(?:, '(\w*)')?\)", committed.read_text())
    optional = {name for name, _ in re.findall(r"readEnvironmentVariable\('(\w+)', '(\w*)'", committed.read_text())}
    filled = {name: CLIENT_ID if name == "CLOAKROOM_CLIENT_ID" else default or "example" for name, default in names}
    for environment in ({name: text for name, text in filled.items() if name not in optional}, filled):
        compiler.run("build-params", committed, "--stdout", environment=environment)
    file = BicepFile((compiler.root / f"infra/{template}.bicep").resolve(), compiler.root.resolve())
    using = os.path.relpath(file.path, work.resolve())
    for name, parameters in variants(file, bases).items():
        lines = [f"using '{using}'", *(f"param {key} = {value}" for key, value in parameters.items())]
        path = work / f"{name}.bicepparam"
        path.write_text("\n".join(lines) + "\n")
        compiler.run("build-params", path, "--stdout")


def check_snapshots(compiler: Compiler, update: bool):
    """What each committed file of parameters deploys, compared with its snapshot."""
    for path in sorted((compiler.root / SNAPSHOTS).glob("*.bicepparam")):
        snapshot = path.with_suffix(".snapshot.json")
        if update:
            compiler.run("snapshot", path, "--mode", "overwrite", *PLACE)
        elif snapshot.is_file():
            compiler.run("snapshot", path, "--mode", "validate", *PLACE)
        else:
            print(f"there is no {snapshot.relative_to(compiler.root)} yet: cargo dev check-infra --update-snapshots")


def main():
    """Prints the faults; gives 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--require", action="store_true")
    parser.add_argument("--update-snapshots", action="store_true")
    parser.add_argument("--find", action="store_true")
    arguments = parser.parse_args()
    program = find()
    if arguments.find:
        return 0 if program else 1
    if program is None:
        print("There is no Bicep compiler here, neither bicep nor that of az. Only the partial check ran.")
        return 1 if arguments.require else 0
    compiler = Compiler(program, arguments.root)
    print(subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout.strip())
    check_files(compiler)
    check_parameters(compiler, arguments.work)
    check_snapshots(compiler, arguments.update_snapshots)
    print(f"{compiler.calls} calls, {compiler.failed} with faults")
    return 1 if compiler.failed else 0


if __name__ == "__main__":
    sys.exit(main())
