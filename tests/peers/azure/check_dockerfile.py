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
# Where `cargo dev image` has the same (contract 17.8).
LAYOUT, LAYER = "devkit/src/commands/image/layout.rs", "devkit/src/commands/image/layer.rs"


def _found(text, pattern):
    return re.search(pattern, text, re.DOTALL)[1]


def image(root: Path) -> dict[str, str]:
    """What `cargo dev image` gives the image, by the name of the instruction or of the constant."""
    layout, layer = (root / LAYOUT).read_text(), (root / LAYER).read_text()
    constants = {name: _found(layer, rf'const {name}: &str = "(.*?)"') for name in ("BINARY", "APP", "CA_BUNDLE", "SPA")}
    return constants | {
        "ENV": " ".join(re.findall(r'"(.*?)"', _found(layout, r"const ENVIRONMENT: .*? = \[(.*?)\];"))),
        "EXPOSE": _found(layout, r'set_exposed_ports\(.*?"(.*?)"'),
        "USER": _found(layout, r'const USER: &str = "(.*?)"'),
        "STOPSIGNAL": _found(layout, r'set_stop_signal\(.*?"(.*?)"'),
    }


def commands(one: dict[str, str]) -> list[str]:
    """What the first stage runs: the files of the image, in a folder of their own."""
    binary, bundle = one["BINARY"], one["CA_BUNDLE"]
    return [
        'triple="$(uname -m)-unknown-linux-gnu"',
        'export RUSTFLAGS="-C target-feature=+crt-static"',
        f'cargo build --release --locked --package cloakroom --bin {binary} --target "$triple"',
        f'install -D --mode=755 "target/$triple/release/{binary}" /image/{binary}',
        f"install -D --mode=644 /{bundle} /image/{bundle}",
        f"install -D --mode=644 apis.json /image/{one['APP']}/apis.json",
        f"mkdir -p /image/{one['SPA'].rpartition('/')[0]}",
        f"cp --recursive web/dist /image/{one['SPA']}",
        "chmod --recursive u=rwX,go=rX /image",
    ]


def shipped(one: dict[str, str]) -> list[tuple[str, str]]:
    """All instructions of the last stage but its labels."""
    same = [(name, one[name]) for name in ("ENV", "EXPOSE", "USER", "STOPSIGNAL")]
    first = [("FROM", "scratch"), ("COPY", "--from=build /image/ /"), ("WORKDIR", f"/{one['APP']}")]
    return [*first, *same, ("ENTRYPOINT", f'["/{one["BINARY"]}"]')]


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
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
    build, last = found[1 : stages[1]], [one for one in found[stages[1] :] if one[0] != "LABEL"]
    made = image(root)
    run = [one for name, arguments in build for one in arguments.split(" && ") if name == "RUN"]
    others = [one for one in build if one[0] != "RUN"]
    faults += [f"the first stage does not run {one}" for one in commands(made) if one not in run]
    faults += [f"the first stage runs {one}, which is not expected" for one in run if one not in commands(made)]
    if others != [("WORKDIR", "/source"), ("COPY", ". .")]:
        faults.append(f"the first stage has {others} besides what it runs")
    for at in range(max(len(last), len(shipped(made)))):
        one, expected = (lines[at] if at < len(lines) else None for lines in (last, shipped(made)))
        if one != expected:
            return [*faults, f"the last stage has {one} in place of {expected}"]
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
