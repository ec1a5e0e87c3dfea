"""Shows that check_workflows.py and check_scripts.py find planted faults, and that the script for tags rejects every tag but
a signed one of the default branch: run by `cargo dev check-infra`.
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from planted import ACTIONLINT, PROJECT, Planted

WORKFLOW = """\
name: test
on: { push: { branches: [main] } }
permissions: {}
concurrency: { group: test, cancel-in-progress: true }
jobs:
  test:
    name: test
    runs-on: ubuntu-24.04
    outputs: { built: "${{ steps.build.outputs.built }}" }
    permissions: {}
    steps:
      - uses: actions/checkout@0123456789012345678901234567890123456789 # v5.0.0
        with: { persist-credentials: false }
      - id: build
        run: echo "built=$(date)" >> "$GITHUB_OUTPUT"
"""
STEP = '        run: echo "built=$(date)" >> "$GITHUB_OUTPUT"\n'
VERIFY = "gh attestation verify a.zip --signer-workflow a --source-ref b --source-digest c --deny-self-hosted-runners"
# What stands there, what is planted instead, and what the check must say.
FAULTS = [
    # The schema.
    ("    steps:", "    iff: true\n    steps:", "'iff' was unexpected"),
    # actionlint.
    ("steps.build.outputs", "steps.biuld.outputs", 'property "biuld" is not defined'),
    ("ubuntu-24.04", "ubuntu-24.40", 'label "ubuntu-24.40" is unknown'),
    (STEP, "        run: echo $(date) $HOME/*.x\n", "shellcheck reported issue"),
    # zizmor.
    ("0123456789012345678901234567890123456789", "v5", "unpinned-uses"),
    ("        with: { persist-credentials: false }\n", "", "artipacked"),
    ("permissions: {}\nconc", "permissions: write-all\nconc", "excessive-permissions"),
    (STEP, "        run: echo '${{ github.head_ref }}'\n", "template-injection"),
    # The project's own rules.
    (STEP, "        run: rustup toolchain install stable\n", "use .github/scripts/install-rust.sh"),
    (STEP, "        run: cargo install x --version 1.0.0\n", "cargo install needs --locked and --version"),
    (STEP, "        run: |\n          cargo dev package\n      - run: cargo build\n",
     "nothing is built in the job that holds the package"),
    ("    permissions: {}\n    steps:", "    permissions:\n      contents: write # why\n    steps:\n      - run: npm ci",
     "a job that may write (contents) builds nothing"),
    (STEP, "        run: gh release download v1\n", "the job test uses a release whose tag nothing verifies"),
    (STEP, f"        run: {VERIFY.replace('--source-digest c', '')}\n", "gh attestation verify lacks --source-digest"),
    (STEP, "        run: |\n          cargo dev release --archive x\n      - run: cargo build\n",
     "nothing is built in the job that holds the package"),
    (STEP, "        run: .ci/run\n", "the job test prepares .ci/run by other steps than the job linux of"),
    (STEP, "        run: gh release create v1\n      - uses: actions/download-artifact@0123456789012345678901234567890123456789 #"
     " v7.0.0\n        with: { path: dist, merge-multiple: true }\n",
     "a job that publishes downloads each artifact by its name"),
]  # fmt: skip
DEPENDABOT = """\
version: 2
updates:
  - { package-ecosystem: github-actions, directory: /, schedule: { interval: weekly }, cooldown: { default-days: 7 } }
  - { package-ecosystem: cargo, directory: /, schedule: { interval: weekly }, cooldown: { default-days: 7 } }
"""


AUDIT = """\
name: audit
on: { schedule: [{ cron: '23 5 * * *' }] }
permissions: {}
concurrency: { group: audit, cancel-in-progress: false }
jobs:
  audit:
    name: audit
    runs-on: ubuntu-24.04
    permissions: {}
    steps:
      - run: cargo dev check-dependencies --advisories
"""


PLATFORMS = """\
name: platforms
on: { pull_request: {} }
permissions: {}
concurrency: { group: platforms, cancel-in-progress: true }
jobs:
  linux:
    name: linux
    runs-on: ubuntu-24.04
    permissions: {}
    steps:
      - run: .ci/run
  others:
    name: others
    strategy:
      matrix:
        include:
          - { platform: Linux, runner: ubuntu-24.04-arm }
          - { platform: macOS, runner: macos-15 }
          - { platform: Windows, runner: windows-2025 }
    runs-on: ${{ matrix.runner }}
    permissions: {}
    steps:
      - run: cargo dev test
"""


class Workflows(Planted):
    """check_workflows.py"""

    def check(self, workflow=WORKFLOW, dependabot=DEPENDABOT, audit=AUDIT, platforms=PLATFORMS):
        """The exit code and the output for these files."""
        self.write(".github/workflows/platforms.yml", platforms)
        self.write(".github/workflows/test.yml", workflow)
        self.write(".github/workflows/audit.yml", audit)
        self.write(".github/dependabot.yml", dependabot)
        return self.run_check("check_workflows.py", "--actionlint", ACTIONLINT)

    def test_a_good_workflow_passes(self):
        code, output = self.check()
        self.assertEqual(code, 0, output)
        self.assertEqual(self.check(WORKFLOW.replace(STEP, f"        run: {VERIFY}\n"))[0], 0)

    def test_every_planted_fault_is_reported_with_its_file(self):
        for old, new, expected in FAULTS:
            with self.subTest(expected):
                self.assertIn(old, WORKFLOW)
                code, output = self.check(WORKFLOW.replace(old, new))
                self.assertEqual(code, 1)
                self.assertIn(expected, output)
                self.assertIn("workflows/test.yml", output)

    def test_a_tag_is_verified_in_any_job_before(self):
        tag = "  tag: { name: tag, runs-on: ubuntu-24.04, permissions: {}, steps: [{ run: ./verify-tag.sh }] }\n"
        release = WORKFLOW.replace(STEP, "        run: gh release download v1\n") + tag
        self.assertIn("nothing verifies", self.check(release)[1])
        code, output = self.check(release.replace("    outputs:", "    needs: tag\n    outputs:"))
        self.assertEqual(code, 0, output)

    def test_advisories_are_checked_on_a_schedule_and_by_nothing_that_can_be_left_out(self):
        for old, new in [
            (" --advisories", ""),
            ("schedule: [{ cron: '23 5 * * *' }]", "push: { branches: [main] }"),
            ("      - run", "      - continue-on-error: true\n        run"),
            ("      - run", "      - if: github.ref_type == 'tag'\n        run"),
            ("    permissions: {}\n    steps", "    permissions: {}\n    if: github.ref_type == 'tag'\n    steps"),
        ]:
            with self.subTest(new):
                self.assertIn(old, AUDIT)
                code, output = self.check(audit=AUDIT.replace(old, new))
                self.assertEqual(code, 1)
                self.assertIn("no workflow with a schedule runs cargo dev check-dependencies --advisories", output)

    def test_nothing_is_published_without_a_check_for_advisories(self):
        release = WORKFLOW.replace(STEP, "        run: ./verify-tag.sh && gh release create v1\n")
        code, output = self.check(release)
        self.assertEqual(code, 1)
        self.assertIn("the job test publishes without a check for advisories", output)
        check = AUDIT.partition("jobs:\n")[2]
        output = self.check(release.replace("    outputs:", "    needs: audit\n    outputs:") + check)[1]
        self.assertNotIn("without a check for advisories", output)

    def test_a_platform_that_is_not_tested_is_reported(self):
        for old, new, platform in [
            (".ci/run", "cargo build", "Linux x64"),
            ("          - { platform: Linux, runner: ubuntu-24.04-arm }\n", "", "Linux arm64"),
            ("macos-15", "macos-15-intel", "macOS arm64"),
            ("windows-2025", "windows-11-arm", "Windows x64"),
            ("cargo dev test", "cargo dev up", "Windows x64"),
            ("      - run: cargo dev test", "      - continue-on-error: true\n        run: cargo dev test", "macOS arm64"),
            ("pull_request: {}", "workflow_dispatch: {}", "Linux x64"),
        ]:
            with self.subTest(new):
                self.assertIn(old, PLATFORMS)
                code, output = self.check(platforms=PLATFORMS.replace(old, new))
                self.assertEqual(code, 1)
                self.assertIn(f"no workflow of pull requests runs cargo dev test on {platform}", output)

    def test_an_archive_is_started_on_every_platform_before_it_is_published(self):
        audit = AUDIT.partition("jobs:\n")[2]
        starts = PLATFORMS.partition("jobs:\n")[2].replace(".ci/run", "cargo dev release --verify x")
        starts = starts.replace("cargo dev test", "cargo dev release --verify x")
        publish = STEP.replace('echo "built=$(date)" >> "$GITHUB_OUTPUT"', "./verify-tag.sh && gh release create v1")
        release = WORKFLOW.replace(STEP, publish).replace("    outputs:", "    needs: audit\n    outputs:") + audit
        code, output = self.check(release + starts)
        self.assertEqual(code, 0, output)
        code, output = self.check(release + starts.replace("windows-2025", "ubuntu-22.04"))
        self.assertEqual(code, 1)
        self.assertIn("no job starts the archive on Windows x64", output)

    def test_a_lockfile_that_dependabot_does_not_know_is_reported(self):
        self.write("Cargo.lock", "")
        self.write("tests/peers/a/package-lock.json", "{}")
        self.write("Dockerfile", "FROM scratch\n")
        code, output = self.check()
        self.assertEqual(code, 1)
        self.assertIn("there is no npm for tests/peers/a/package-lock.json", output)
        self.assertIn("there is no docker for Dockerfile", output)
        self.assertNotIn("for Cargo.lock", output)

    def test_an_unknown_key_of_dependabot_is_reported(self):
        code, output = self.check(dependabot=DEPENDABOT.replace("version: 2", "version: 2\nversoin: 2"))
        self.assertEqual(code, 1)
        self.assertIn("versoin", output)

    def test_no_workflow_is_a_fault(self):
        self.assertEqual(self.run_check("check_workflows.py", "--actionlint", ACTIONLINT)[0], 1)


class Scripts(Planted):
    """check_scripts.py"""

    def test_the_hooks_of_the_project_pass(self):
        code, output = self.run_check("check_scripts.py")
        self.assertEqual(code, 0, output)

    def test_a_fault_in_each_place_is_reported(self):
        for path in ("infra/hooks/a.sh", ".ci/run", ".github/scripts/a.sh"):
            with self.subTest(path):
                self.write(path, "#!/bin/sh\nrm -r $1\n")
                code, output = self.run_check("check_scripts.py")
                (self.root / path).unlink()
                self.assertEqual(code, 1)
                self.assertIn(f"In {path} line 2:", output)

    def test_a_line_of_azure_yaml_is_checked(self):
        self.write("azure.yaml", "hooks:\n  a:\n    posix: { shell: sh, run: 'rm $X' }\n")
        code, output = self.run_check("check_scripts.py")
        self.assertEqual(code, 1)
        self.assertIn("SC2086", output)

    def test_no_script_is_a_fault(self):
        shutil.rmtree(self.root / "infra")
        self.assertEqual(self.run_check("check_scripts.py")[0], 1)


# Answers `gh api PATH --jq FILTER` from a file of answers by path, with jq's result for the filters of the script.
GH = """\
#!/usr/bin/env python3
import json, os, sys
answers = json.load(open(os.environ["ANSWERS"]))
path = sys.argv[2].removeprefix("repos/owner/name")
if path not in answers:
    sys.exit("gh: Not Found (HTTP 404)")
print(answers[path])
"""


class Tags(unittest.TestCase):
    """.github/scripts/verify-tag.sh"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "gh").write_text(GH)
        (self.root / "gh").chmod(0o755)
        self.answers = {
            "": "main",
            "/git/ref/tags/v1.2.3": "tag aaaa",
            "/git/tags/aaaa": "v1.2.3 commit cccc true valid",
            "/compare/cccc...main": "ahead",
        }

    def verify(self, tag="v1.2.3", **changed):
        """The exit code, what the script prints, and its error."""
        names = {"reference": "/git/ref/tags/v1.2.3", "signed": "/git/tags/aaaa", "compared": "/compare/cccc...main"}
        answers = self.answers | {names[name]: value for name, value in changed.items()}
        (self.root / "answers").write_text(json.dumps(answers))
        environment = os.environ | {
            "PATH": f"{self.root}:{os.environ['PATH']}",
            "ANSWERS": str(self.root / "answers"),
            "GITHUB_REPOSITORY": "owner/name",
        }
        command = [PROJECT / ".github/scripts/verify-tag.sh", tag]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_a_signed_tag_of_the_default_branch_gives_its_commit(self):
        self.assertEqual(self.verify(), (0, "cccc\n", ""))
        self.assertEqual(self.verify(compared="identical")[:2], (0, "cccc\n"))

    def test_every_other_tag_is_rejected(self):
        for changed, expected in [
            ({"reference": "commit cccc"}, "it is not annotated"),
            ({"signed": "v1.2.3 commit cccc false unsigned"}, "its signature is not verified: unsigned"),
            ({"signed": "v1.2.2 commit cccc true valid"}, "the signed name is v1.2.2"),
            ({"signed": "v1.2.3 tree cccc true valid"}, "it does not name a commit"),
            ({"compared": "diverged"}, "its commit cccc is not on the branch main"),
            ({"compared": "behind"}, "its commit cccc is not on the branch main"),
            ({"tag": "v1.2.4"}, "Not Found"),
            ({"tag": "main"}, "a release is named v and a version"),
            ({"tag": "v1.2.3/../../heads/main"}, "a release is named v and a version"),
        ]:
            with self.subTest(expected):
                code, output, error = self.verify(**changed)
                self.assertNotEqual(code, 0)
                self.assertEqual(output, "")
                self.assertIn(expected, error)


class Versions(unittest.TestCase):
    """.github/scripts/check-version.sh"""

    def check(self, tag="v1.2.3", manifests=("1.2.3",) * 4, heading="## [1.2.3] - 2026-12-01", image="1.2.3", source="O/n",
              dockerfile="O/n", registry="ghcr.io/o/n"):  # fmt: skip
        """The exit code and the error, for a project with these versions in the repository O/n."""
        with tempfile.TemporaryDirectory() as folder:
            scripts = Path(folder, ".github/scripts")
            scripts.mkdir(parents=True)
            script = shutil.copy(PROJECT / ".github/scripts/check-version.sh", scripts)
            for name, version in zip([".", "devkit", "benches", "models"], manifests, strict=True):
                Path(folder, name).mkdir(exist_ok=True)
                text = f'[package]\nname = "x"\nversion = "{version}"\nrepository = "https://github.com/{source}"\n'
                text += '\n[dependencies]\nversion = "9"\n'
                Path(folder, name, "Cargo.toml").write_text(text)
            for name, text in [("base", "resources: []"), ("azure", f"images:\n  - name: {registry}\n    newTag: {image}")]:
                file = Path(folder, "deploy/kubernetes", name, "kustomization.yaml")
                file.parent.mkdir(parents=True)
                file.write_text(f"{text}\n")
            Path(folder, "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n{heading}\n\n## [1.2.2]\n")
            label = f'LABEL org.opencontainers.image.source="https://github.com/{dockerfile}" \\\n'
            Path(folder, "Dockerfile").write_text(label)
            environment = os.environ | {"GITHUB_REPOSITORY": "O/n"}
            done = subprocess.run([script, tag], env=environment, capture_output=True, text=True, check=False)
            return done.returncode, done.stderr

    def test_a_tag_that_agrees_with_packages_and_changelog_passes(self):
        self.assertEqual(self.check(), (0, ""))
        self.assertEqual(self.check("v2.0.0-rc.1", ("2.0.0-rc.1",) * 4, "## [2.0.0-rc.1]", "2.0.0-rc.1"), (0, ""))

    def test_every_other_version_is_rejected(self):
        for changed, expected in [
            ({"tag": "v1.2.4"}, "Cargo.toml has the version 1.2.3"),
            ({"manifests": ("1.2.3", "1.2.2", "1.2.3", "1.2.3")}, "devkit/Cargo.toml has the version 1.2.2"),
            ({"manifests": ("1.2.3", "1.2.3", "1.2.2", "1.2.3")}, "benches/Cargo.toml has the version 1.2.2"),
            ({"manifests": ("1.2.3", "1.2.3", "1.2.3", "1.2.2")}, "models/Cargo.toml has the version 1.2.2"),
            ({"image": "1.2.2"}, "deploy/kubernetes/azure/kustomization.yaml names the image 1.2.2"),
            ({"heading": ""}, "the newest heading of CHANGELOG.md is '1.2.2'"),
            ({"source": "o/m"}, "Cargo.toml names the repository https://github.com/o/m, not https://github.com/O/n"),
            ({"dockerfile": "o/m"}, "the Dockerfile names the repository https://github.com/o/m, not"),
            ({"registry": "ghcr.io/o/m"}, "deploy/kubernetes names the image ghcr.io/o/m, not ghcr.io/o/n"),
        ]:
            with self.subTest(expected):
                code, error = self.check(**changed)
                self.assertNotEqual(code, 0)
                self.assertIn(expected, error)

    def test_the_project_names_one_repository_and_image(self):
        environment = os.environ | {"GITHUB_REPOSITORY": "cloakroom/cloakroom"}
        command = [PROJECT / ".github/scripts/check-version.sh", "v0.1.0"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.assertNotRegex(done.stderr, "names the (repository|image)")


class Installers(unittest.TestCase):
    """The other scripts of .github/scripts"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def install(self, name, program, script, *arguments):
        """The exit code and the output of a script, with a stand-in for the program that it calls."""
        (self.root / program).write_text(script)
        (self.root / program).chmod(0o755)
        environment = os.environ | {"PATH": f"{self.root}:{os.environ['PATH']}"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = [PROJECT / ".github/scripts" / name, *arguments]
        done = subprocess.run(command, env=environment, text=True, check=False, **streams)
        return done.returncode, done.stdout

    def test_a_compiler_with_another_checksum_is_rejected(self):
        # Writes to the file that follows --output.
        curl = '#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\necho "echo ran" > "$2"\n'
        code, output = self.install("install-bicep.sh", "curl", curl, self.root / "bin")
        self.assertNotEqual(code, 0)
        self.assertIn("FAILED", output)
        self.assertNotIn("ran", output)
        self.assertFalse(os.access(self.root / "bin/bicep", os.X_OK))

    def test_the_page_about_the_templates_names_the_compiler_of_the_workflows(self):
        script = (PROJECT / ".github/scripts/install-bicep.sh").read_text()
        version = next(line.partition("=")[2] for line in script.splitlines() if line.startswith("version="))
        page = (PROJECT / "infra/README.md").read_text()
        self.assertIn(f"The workflows *test* and *release* install {version},", " ".join(page.split()))

    def test_rust_is_installed_in_the_version_of_its_file(self):
        rustup = '#!/bin/sh\necho "$*"\n'
        code, output = self.install("install-rust.sh", "rustup", rustup, "--component", "clippy")
        self.assertEqual(code, 0, output)
        version = r"\d+\.\d+\.\d+"
        self.assertRegex(output, f"^toolchain install {version} --profile minimal --component clippy\ndefault {version}\n$")
