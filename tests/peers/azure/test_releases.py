"""Shows that the scripts of release.yml publish nothing but what was built, and move no tag of an image: run by
`cargo dev check-infra`.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

import ruamel.yaml
from planted import PROJECT

# A registry in a folder: each reference is a file with the digest that it names, and the index in a file of that digest.
SKOPEO = """\
#!/bin/sh
case "$1" in
login) cat > /dev/null ;;
inspect)
  [ ! -f broken ] || { echo 'reading manifest: unauthorized' >&2; exit 1; }
  cat "registry/$(echo "$3" | tr / _)" 2> /dev/null || { echo 'reading manifest 1.2.3: manifest unknown' >&2; exit 1; } ;;
copy)
  mkdir -p registry
  tar --extract --to-stdout --file "${4#oci-archive:}" index.json | jq --raw-output --join-output .content \\
    > "registry/$(echo "$5" | tr / _)" ;;
esac
"""
NAMES = {
    "PACKAGE": "app.zip",
    "PROFILE": "cloakroom-1.2.3-x86_64-unknown-linux-gnu-rustc-1.95.0.profdata",
    "LINUX_X64": "cloakroom-1.2.3-x86_64-unknown-linux-gnu.tar.gz",
    "LINUX_ARM64": "cloakroom-1.2.3-aarch64-unknown-linux-gnu.tar.gz",
    "WINDOWS_X64": "cloakroom-1.2.3-x86_64-pc-windows-gnu.zip",
    "MACOS_ARM64": "cloakroom-1.2.3-aarch64-apple-darwin.tar.gz",
    "IMAGE": "cloakroom-1.2.3.oci.tar",
    "MATERIALS": "sbom.cdx.json",
}


def sha256(text):
    """In hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class Release(unittest.TestCase):
    """A folder for the steps of release.yml."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "dist").mkdir()
        self.jobs = ruamel.yaml.YAML(typ="safe").load((PROJECT / ".github/workflows/release.yml").read_text())["jobs"]

    def program(self, name, script):
        """A stand-in for a program."""
        (self.root / name).write_text(script)
        (self.root / name).chmod(0o755)

    def run_step(self, job, name, **environment):
        """The exit code and the output of a step, started as the runner does."""
        script = next(step["run"] for step in self.jobs[job]["steps"] if step.get("name") == name)
        own = os.environ | {"PATH": f"{self.root}:{os.environ['PATH']}", "TAG": "v1.2.3"} | environment
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(["bash", "-e", "-c", script], cwd=self.root, env=own, text=True, check=False, **streams)
        return done.returncode, done.stdout


class Publication(Release):
    """The job publish"""

    def setUp(self):
        super().setUp()
        for name in NAMES.values():
            (self.root / "dist" / name).write_text(name)

    def checksums(self, **changed):
        """The exit code and the output of the step that checks all files."""
        hashes = {variable: sha256(name) for variable, name in NAMES.items()}
        return self.run_step("publish", "Checksums", **hashes | {"PROFILE_NAME": NAMES["PROFILE"]} | changed)

    def test_the_checksums_are_those_of_the_jobs_that_built(self):
        code, output = self.checksums()
        self.assertEqual(code, 0, output)
        expected = "".join(f"{sha256(name)}  {name}\n" for name in sorted(NAMES.values()))
        self.assertEqual((self.root / "dist/SHA256SUMS").read_text(), expected)

    def test_every_job_that_builds_gives_a_hash(self):
        """An output that is misspelled is empty."""
        for variable, name in NAMES.items():
            with self.subTest(name):
                code, output = self.checksums(**{variable: ""})
                self.assertNotEqual(code, 0, output)
        step = next(step for step in self.jobs["publish"]["steps"] if step.get("name") == "Checksums")
        self.assertEqual(set(step["env"]), {*NAMES, "PROFILE_NAME", "TAG"})

    def test_a_file_that_is_surplus_missing_or_changed_stops_it(self):
        for path, text in [("dist/install.sh", "surplus"), ("dist/.hidden", "surplus"), ("dist/app.zip", "changed")]:
            with self.subTest(path):
                file = self.root / path
                before = file.read_text() if file.exists() else None
                file.write_text(text)
                code, output = self.checksums()
                file.unlink() if before is None else file.write_text(before)
                self.assertNotEqual(code, 0)
                self.assertIn(file.name, output)
        (self.root / "dist/sbom.cdx.json").unlink()
        self.assertNotEqual(self.checksums()[0], 0)

    def test_each_file_has_one_step_that_downloads_it(self):
        names = [step["with"]["name"] for step in self.jobs["publish"]["steps"] if "download" in step.get("uses", "")]
        triples = [row["triple"] for row in self.jobs["archives"]["strategy"]["matrix"]["include"]]
        others = ["package", "profile", "image", "materials"]
        self.assertEqual(sorted(names), sorted([*others, *(f"archive-{one}" for one in triples)]))
        self.assertEqual(set(self.jobs["archives"]["outputs"]), set(triples))

    def test_a_version_before_the_release_is_marked(self):
        self.program("gh", '#!/bin/sh\necho "$@"\n')
        for tag, is_marked in [("v1.0.0-rc.1", True), ("v1.0.0", False)]:
            code, output = self.run_step("publish", "Make the release", TAG=tag, GH_REPO="Owner/name", DIGEST="sha256:1")
            self.assertEqual(code, 0, output)
            self.assertEqual("--prerelease" in output, is_marked, output)
            self.assertIn(f"Image: `ghcr.io/owner/name:{tag[1:]}@sha256:1`", output)


class Push(Release):
    """The job push"""

    def setUp(self):
        super().setUp()
        self.program("skopeo", SKOPEO)

    def push(self, content, **changed):
        """The exit code and the output of a push of an image with this index."""
        archive = self.root / "dist/cloakroom-1.2.3.oci.tar"
        index = json.dumps({"manifests": [{"digest": f"sha256:{sha256(content)}"}], "content": content}).encode()
        with tarfile.open(archive, "w") as tar:
            entry = tarfile.TarInfo("index.json")
            entry.size = len(index)
            tar.addfile(entry, io.BytesIO(index))
        (self.root / "output").write_text("")
        given = {"TOKEN": "t", "GITHUB_ACTOR": "a", "GITHUB_REPOSITORY": "Owner/Name", "GITHUB_OUTPUT": "output"}
        given["SHA256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
        return self.run_step("push", "Push", **given | changed)

    def tagged(self):
        """What the tag names."""
        file = self.root / "registry/docker:__ghcr.io_owner_name:1.2.3"
        return file.read_text() if file.exists() else None

    def test_a_tag_is_pushed_once_and_not_moved(self):
        for _ in range(2):
            code, output = self.push("first")
            self.assertEqual(code, 0, output)
            self.assertEqual(self.tagged(), "first")
            expected = f"image=ghcr.io/owner/name\ndigest=sha256:{sha256('first')}\n"
            self.assertEqual((self.root / "output").read_text(), expected)
        code, output = self.push("second")
        self.assertEqual(code, 1)
        self.assertIn(f"::error::the tag names sha256:{sha256('first')} already", output)
        self.assertEqual((self.tagged(), (self.root / "output").read_text()), ("first", ""))

    def test_a_registry_that_does_not_say_what_the_tag_names_stops_it(self):
        (self.root / "broken").write_text("")
        code, output = self.push("first")
        self.assertEqual(code, 1)
        self.assertIn("unauthorized", output)
        self.assertIsNone(self.tagged())

    def test_another_archive_than_the_one_that_was_built_is_not_pushed(self):
        for changed in (sha256("another"), ""):
            self.assertNotEqual(self.push("first", SHA256=changed)[0], 0)
            self.assertFalse((self.root / "registry").exists())
