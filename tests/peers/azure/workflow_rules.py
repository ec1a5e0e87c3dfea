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
PUBLISHES = re.compile(r"\bgh release create\b")
RELEASE = re.compile(r"\bgh release (create|download|upload)\b")
ADVISORIES = re.compile(r"\bcargo dev check-dependencies --advisories\b")
ATTESTATION = ("--signer-workflow", "--source-ref", "--source-digest", "--deny-self-hosted-runners")


def faults(root: Path) -> list[Fault]:
    """All faults of the workflows and of dependabot's configuration."""
    found, daily = _dependabot(root), False
    for path in sorted((root / ".github/workflows").glob("*.y*ml")):
        content = ruamel.yaml.YAML().load(path.read_text()) or {}
        name = str(path.relative_to(root))
        jobs = content.get("jobs") or {}
        triggers = content.get("on") or {}
        daily |= "schedule" in triggers and any(_checks_advisories(job) for job in jobs.values())
        for key, job in jobs.items():
            found += _job(name, job) + [Fault(name, job.lc.line + 1, text) for text in _before_release(jobs, key)]
    if not daily:
        text = "no workflow with a schedule runs cargo dev check-dependencies --advisories in any case"
        found.append(Fault(".github/workflows", 1, text))
    return found


def _before_release(jobs, key):
    """What a job that makes or uses a release lacks, in itself and the jobs that it waits for."""
    own, earlier = "\n".join(_own(jobs[key])), [jobs[one] for one in _with_needs(jobs, key)]
    if RELEASE.search(own) and "verify-tag.sh" not in "\n".join(script for job in earlier for script in _own(job)):
        yield f"the job {key} uses a release whose tag nothing verifies; run verify-tag.sh before"
    if PUBLISHES.search(own) and not any(_checks_advisories(job) for job in earlier):
        yield f"the job {key} publishes without a check for advisories: check-dependencies --advisories"


def _own(job):
    return [str(step.get("run", "")) for step in job.get("steps") or []]


def _with_needs(jobs, key):
    """A job and all jobs that it waits for."""
    needs, found = jobs[key].get("needs") or [], [key]
    for one in [needs] if isinstance(needs, str) else needs:
        found += _with_needs(jobs, one)
    return found


def _checks_advisories(job):
    """Whether it fails for an advisory: a condition or an ignored failure could hide it."""
    steps = [job, *(step for step in job.get("steps") or [] if ADVISORIES.search(str(step.get("run", ""))))]
    return len(steps) > 1 and not any("if" in one or one.get("continue-on-error") for one in steps)


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
