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
    ("Dockerfile", "docker"),
]  # fmt: skip
# What runs code of dependencies: build scripts, macros, scripts of packages.
BUILDS = re.compile(r"\b(cargo|npm|npx|pip|pipx|uv|go) ")
PUBLISHES = re.compile(r"\bgh release create\b|\bskopeo copy\b")
RELEASE = re.compile(r"\bgh release (create|download|upload)\b|\bskopeo copy\b")
# What makes a part of a release.
PACKAGES = re.compile(r"\bcargo dev (package|image|release --archive)\b")
# The runners of the platforms on which every change is tested, by what each of their names looks like.
PLATFORMS = {
    "Linux x64": re.compile(r"ubuntu-[0-9.]+"),
    "Linux arm64": re.compile(r"ubuntu-[0-9.]+-arm"),
    "macOS arm64": re.compile(r"macos-[0-9]+"),
    "Windows x64": re.compile(r"windows-[0-9]+"),
}
TESTS = re.compile(r"(^|\s)(cargo dev test|\.ci/run)\b")
VERIFIES_ARCHIVE = re.compile(r"\bcargo dev release --verify\b")
ADVISORIES = re.compile(r"\bcargo dev check-dependencies --advisories\b")
# Everything that must hold, by one script.
EVERYTHING = re.compile(r"(^|\s)\.ci/run\b")
ATTESTATION = ("--signer-workflow", "--source-ref", "--source-digest", "--deny-self-hosted-runners")


def faults(root: Path) -> list[Fault]:
    """All faults of the workflows and of dependabot's configuration."""
    found, daily, tested, prepared = _dependabot(root), False, set(), []
    for path in sorted((root / ".github/workflows").glob("*.y*ml")):
        content = ruamel.yaml.YAML().load(path.read_text()) or {}
        name = str(path.relative_to(root))
        jobs = content.get("jobs") or {}
        triggers = content.get("on") or {}
        daily |= "schedule" in triggers and any(_checks_advisories(job) for job in jobs.values())
        if "pull_request" in triggers:
            tested |= _runners(jobs, TESTS)
        if any(PUBLISHES.search(script) for job in jobs.values() for script in _own(job)):
            started = _runners(jobs, VERIFIES_ARCHIVE)
            found += [Fault(name, 1, f"no job starts the archive on {one}") for one in _missing_platforms(started)]
        prepared += [(name, key, job, _preparation(job)) for key, job in jobs.items()]
        for key, job in jobs.items():
            found += _job(name, job) + [Fault(name, job.lc.line + 1, text) for text in _before_release(jobs, key)]
    if not daily:
        text = "no workflow with a schedule runs cargo dev check-dependencies --advisories in any case"
        found.append(Fault(".github/workflows", 1, text))
    found += _unequal([one for one in prepared if one[-1] is not None])
    for one in _missing_platforms(tested):
        found.append(Fault(".github/workflows", 1, f"no workflow of pull requests runs cargo dev test on {one}"))
    return found


def _runners(jobs, pattern):
    """The runners of the jobs that have a step whose script matches, whatever the outcome of others is."""
    found = set()
    for job in jobs.values():
        steps = [step for step in job.get("steps") or [] if pattern.search(str(step.get("run", "")))]
        if not steps or any("if" in one or one.get("continue-on-error") for one in [job, *steps]):
            continue
        runner = str(job.get("runs-on", ""))
        matrix = (job.get("strategy") or {}).get("matrix") or {}
        by_matrix = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", runner)
        rows = matrix.get("include") or []
        found |= {str(row.get(by_matrix[1])) for row in rows} if by_matrix else {runner}
    return found


def _preparation(job):
    """The runner of a job that runs everything, and its steps before; None for another job."""
    steps = job.get("steps") or []
    at = next((at for at, step in enumerate(steps) if EVERYTHING.search(str(step.get("run", "")))), None)
    return None if at is None else [str(job.get("runs-on")), *(dict(step) for step in steps[:at])]


def _unequal(prepared):
    """Before a release the same can run as for every change: a tool that is missing there leaves out its tests."""
    for name, key, job, steps in prepared:
        first_name, first_key, _, first = prepared[0]
        if steps != first:
            text = f"the job {key} prepares .ci/run by other steps than the job {first_key} of {first_name}"
            yield Fault(name, job.lc.line + 1, text)


def _missing_platforms(runners):
    return [name for name, runner in PLATFORMS.items() if not any(runner.fullmatch(one) for one in runners)]


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
        packaged |= bool(PACKAGES.search(script)) and "--existing" not in script
    if any(PUBLISHES.search(script) for script in _own(job)):
        found += [Fault(path, step.lc.line + 1, text) for step in job["steps"] for text in _downloads(step)]
    return found


def _downloads(step):
    """A job that publishes names what it takes: any job of the run can add artifacts."""
    options = step.get("with") or {}
    if "actions/download-artifact@" in str(step.get("uses", "")) and ("name" not in options or "pattern" in options):
        yield "a job that publishes downloads each artifact by its name"


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
