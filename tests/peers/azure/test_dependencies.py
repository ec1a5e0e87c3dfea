"""Shows that cargo-deny reports planted packages, and advisories of a planted database, by the rules of the project: run
by `cargo dev check-infra`.
"""

import os
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

from planted import CARGO_DENY, PROJECT

ADVISORY = """\
```toml
[advisory]
id = "RUSTSEC-2026-0253"
package = "lru"
date = "2026-09-01"

[versions]
patched = [">= 0.18.2"]
```

# Use after free in `pop`

Planted for a test.
"""


class Dependencies(unittest.TestCase):
    """deny.toml"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        # Nothing planted needs a registry, nor may it use that of the project. Packages of crates.io are those of a
        # folder, and the database of advisories is one of this machine.
        self.environment = os.environ | {
            "CARGO_HOME": str(self.root / "cargo"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{self.root}/database.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/RustSec/advisory-db",
        }
        sources = f'[source.crates-io]\nreplace-with = "folder"\n[source.folder]\ndirectory = "{self.root}/registry"\n'
        self.write("cargo/config.toml", sources)
        self.package("main", 'license = "MIT"\npublish = false', "")

    def write(self, path, text):
        """A file beside the packages."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def package(self, path, metadata, dependencies, version="0.1.0"):
        """A package without code, named as its folder."""
        head = f'[package]\nname = "{Path(path).name}"\nversion = "{version}"\nedition = "2024"\n{metadata}\n'
        self.write(f"{path}/src/lib.rs", "")
        self.write(f"{path}/Cargo.toml", f"{head}[dependencies]\n{dependencies}\n[workspace]\n")

    def commit(self, folder):
        """Makes a Git repository of a folder."""
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        begin = ["init", "--quiet", "--initial-branch", "main"]
        for command in (begin, ["add", "."], [*who, "commit", "--quiet", "--message", "a"]):
            subprocess.run(["git", *command], cwd=self.root / folder, check=True)

    def deny(self, *checks):
        """What cargo-deny says of the package, by the rules of the project."""
        rules = (PROJECT / "deny.toml").read_text().replace('unused-allowed-license = "deny"', "")
        (self.root / "deny.toml").write_text(rules)
        command = [CARGO_DENY, "--manifest-path", self.root / "main/Cargo.toml", "--config", self.root / "deny.toml",
                   "check", *(checks or ("bans", "licenses", "sources"))]  # fmt: skip
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, env=self.environment, text=True, check=False, **streams)
        return done.returncode, done.stdout

    def test_a_good_package_passes(self):
        code, output = self.deny()
        self.assertEqual(code, 0, output)

    def test_a_licence_that_is_not_accepted_is_reported(self):
        self.package("strict", 'license = "AGPL-3.0-only"', "")
        self.package("main", 'license = "MIT"\npublish = false', 'strict = { path = "../strict" }')
        code, output = self.deny()
        self.assertNotEqual(code, 0)
        self.assertIn("licenses FAILED", output)

    def test_every_banned_package_is_reported(self):
        rules = tomllib.loads((PROJECT / "deny.toml").read_text())["bans"]["deny"]
        self.assertIn("lru:<0.18.2", [rule["crate"] for rule in rules])
        for rule in rules:
            name, _, versions = rule["crate"].partition(":<")
            version = "0.16.4" if versions else "0.1.0"
            with self.subTest(name):
                self.package(name, 'license = "MIT"', "", version)
                self.package("main", 'license = "MIT"\npublish = false', f'{name} = {{ path = "../{name}" }}')
                code, output = self.deny()
                self.assertNotEqual(code, 0)
                self.assertIn(f"crate '{name} = {version}' is explicitly banned", output)

    def test_a_version_with_an_advisory_is_reported_and_a_later_one_is_not(self):
        self.write("database/crates/lru/RUSTSEC-2026-0253.md", ADVISORY)
        self.commit("database")
        for version, expected in (("0.18.1", 1), ("0.18.2", 0)):
            with self.subTest(version):
                self.package("registry/lru", 'license = "MIT"', "", version)
                self.write("registry/lru/.cargo-checksum.json", f'{{"files": {{}}, "package": "{"0" * 64}"}}')
                self.package("main", 'license = "MIT"\npublish = false', f'lru = "={version}"')
                (self.root / "main/Cargo.lock").unlink(missing_ok=True)
                code, output = self.deny("advisories")
                self.assertEqual(code, expected, output)
                self.assertEqual("ID: RUSTSEC-2026-0253" in output, expected == 1, output)

    def test_a_source_that_is_no_registry_is_reported(self):
        self.package("other", 'license = "MIT"', "")
        self.commit("other")
        self.package("main", 'license = "MIT"\npublish = false', f'other = {{ git = "file://{self.root}/other" }}')
        code, output = self.deny()
        self.assertNotEqual(code, 0)
        self.assertIn("sources FAILED", output)
