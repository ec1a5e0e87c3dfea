"""A copy of the project to plant faults in. Imported by the tests of the checks, which `cargo dev check-infra` runs."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import check_bicep

HERE = Path(__file__).resolve().parent
PROJECT = check_bicep.PROJECT
CACHE, CHECKOV, AZURE_CLI, HOME, ACTIONLINT, CARGO_DENY, KUSTOMIZE = (
    Path(os.environ[f"CHECKS_{name}"])
    for name in ("CACHE", "CHECKOV", "AZURE_CLI", "HOME", "ACTIONLINT", "CARGO_DENY", "KUSTOMIZE")
)


class Planted(unittest.TestCase):
    """A copy of the project's files, to plant faults in."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        for folder in ("infra", check_bicep.SNAPSHOTS):
            shutil.copytree(PROJECT / folder, self.root / folder)

    def replace(self, path, old, new):
        """Plants a fault where the old text stands first."""
        file = self.root / "infra" / path
        text = file.read_text()
        self.assertIn(old, text, path)
        file.write_text(text.replace(old, new, 1))

    def write(self, path, text):
        """A file of the planted project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_check(self, script, *options, **environment):
        """The exit code of a check, and what it prints."""
        command = [sys.executable, HERE / script, "--root", self.root, *options]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, env=os.environ | environment, text=True, check=False, **streams)
        return done.returncode, done.stdout
