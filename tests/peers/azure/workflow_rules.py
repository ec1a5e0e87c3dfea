"""The project's own rules for workflows: what schema, actionlint and zizmor do not know."""

import re
from pathlib import Path

import ruamel.yaml

from bicep_file import Fault

# Where lockfiles stand, and the name that dependabot has for each kind.
LOCKFILES = [
    ("Cargo.lock", "cargo"), ("*/Cargo.lock", "cargo"), ("*/package-lock.json", "npm"), ("*/go.sum", "gomod"),
    ("tests/peers/*/package-lock.json", "npm"), ("tests/peers/*/go.sum", "gomod"),
    ("tests/peers/*/requirements/*.txt", "pip"), (".github/rust-toolchain.toml", "rust-toolchain"),
]  # fmt: skip
# What runs code of dependencies: build scripts, macros, scripts of packages.
BUILDS = re.compile(r"\b(cargo|npm|npx|pip|pipx|uv|go) ")
RELEASE = re.compile(r"\bgh release (create|download|upload)\b")
ATTESTATION = ("--signer-workflow", "--source-ref", "--source-digest", "--deny-self-hosted-runners")


def faults(root: Path) -> list[Fault]:
    """All faults of the workflows and of dependabot's configuration."""
    found = _dependabot(root)
    for path in sorted((root / ".github/workflows").glob("*.y*ml")):
        content = ruamel.yaml.YAML().load(path.read_text()) or {}
        name = str(path.relative_to(root))
        jobs = content.get("jobs") or {}
        for key, job in jobs.items():
            found += _job(name, job)
            scripts = "\n".join(_scripts(jobs, key))
            if RELEASE.search("\n".join(_own(job))) and "verify-tag.sh" not in scripts:
                text = f"the job {key} uses a release whose tag nothing verifies; run verify-tag.sh before"
                found.append(Fault(name, job.lc.line + 1, text))
    return found


def _own(job):
    return [str(step.get("run", "")) for step in job.get("steps") or []]


def _scripts(jobs, key):
    """The scripts of a job and of all jobs that it waits for."""
    needs = jobs[key].get("needs") or []
    found = _own(jobs[key])
    for one in [needs] if isinstance(needs, str) else needs:
        found += _scripts(jobs, one)
    return found


def _job(path, job):
    found, packaged = [], False
    writes = {key for key, level in (job.get("permissions") or {}).items() if level == "write"}
    for step in job.get("steps") or []:
        script = re.sub(r"\\\n\s*", "", str(step.get("run", "")))
        line = step.lc.line + 1
        found += [Fault(path, line, message) for message in _script(script)]
        if BUILDS.search(script) and writes:
            text = f"a job that may write ({', '.join(sorted(writes))}) builds nothing; do it in a job of its own"
            found.append(Fault(path, line, text))
        if BUILDS.search(script) and packaged:
            found.append(Fault(path, line, "nothing is built in the job that holds the package, once it is made"))
        packaged |= "cargo dev package" in script and "--existing" not in script
    return found


def _script(script):
    if re.search(r"\brustup .*\b(stable|beta|nightly)\b", script):
        yield "the Rust of workflows is that of .github/rust-toolchain.toml: use .github/scripts/install-rust.sh"
    for command in re.findall(r"\bcargo install [^\n;&|]*", script):
        if "--locked" not in command or "--version" not in command:
            yield "cargo install needs --locked and --version"
    for command in re.findall(r"\bgh attestation verify [^\n;&|]*", script):
        missing = [option for option in ATTESTATION if option not in command]
        if missing:
            yield f"gh attestation verify lacks {', '.join(missing)}"


def _dependabot(root):
    path = root / ".github/dependabot.yml"
    if not path.is_file():
        return [Fault(".github/dependabot.yml", 1, "it is not there")]
    covered = set()
    for update in ruamel.yaml.YAML(typ="safe").load(path.read_text())["updates"]:
        folders = update.get("directories") or [update["directory"]]
        covered |= {(update["package-ecosystem"], folder.strip("/")) for folder in folders}
    found = [] if any(kind == "github-actions" for kind, _ in covered) else ["there is no github-actions"]
    for pattern, kind in LOCKFILES:
        for lockfile in sorted(root.glob(pattern)):
            folder = "" if lockfile.parent == root else lockfile.parent.relative_to(root).as_posix()
            if (kind, folder) not in covered:
                found.append(f"there is no {kind} for {lockfile.relative_to(root)}")
    return [Fault(".github/dependabot.yml", 1, text) for text in found]
