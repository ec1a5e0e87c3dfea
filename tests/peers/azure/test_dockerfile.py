"""Shows that check_dockerfile.py finds planted faults: run by `cargo dev check-infra`."""

import shutil
import unittest

from planted import PROJECT, Planted

FAULTS = [
    ("-bookworm AS", " AS", "the first stage must be FROM docker.io/library/rust:"),
    ("library/rust:1.", "library/rust:0.", "the first stage must be FROM docker.io/library/rust:"),
    ("FROM docker.io/library/rust:", "FROM docker.io/library/rust AS other\nFROM docker.io/library/rust:", "DL3006"),
    ("WORKDIR /source", "WORKDIR source", "DL3000"),
    ("FROM scratch", "FROM docker.io/library/alpine:3.22", "exactly one FROM scratch"),
    ("USER 65532:65532\n", "", "exactly one USER 65532:65532"),
    ("USER 65532:65532\n", "USER 65532:65532\nUSER 0\n", "exactly one USER 65532:65532"),
    ("CLOAKROOM_DRAIN_DELAY=5s", "CLOAKROOM_DRAIN_DELAY=0s", "exactly one ENV CLOAKROOM_LISTEN"),
    ('ENTRYPOINT ["/cloakroom"]', "ENTRYPOINT /cloakroom", "DL3025"),
    ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "exactly one STOPSIGNAL SIGTERM"),
    ("EXPOSE 8080/tcp", 'RUN ["/cloakroom", "check"]\nEXPOSE 8080/tcp', "no shell that could run something"),
    ("COPY --from=build /image/ /", "COPY --from=builder /image/ /", "DL3022"),
    ('triple="$(uname -m)-unknown-linux-gnu"', "triple=$(echo `uname -m`)", "SC2006"),
]


class Dockerfile(Planted):
    """check_dockerfile.py"""

    def check(self, old="", new=""):
        """The exit code and the output for the project's Dockerfile with another text."""
        text = (PROJECT / "Dockerfile").read_text()
        self.assertIn(old, text)
        self.write("Dockerfile", text.replace(old, new, 1) if old else text)
        for name in ("Cargo.toml", ".dockerignore"):
            if not (self.root / name).exists():
                shutil.copy(PROJECT / name, self.root)
        (self.root / ".github").mkdir(exist_ok=True)
        shutil.copy(PROJECT / ".github/rust-toolchain.toml", self.root / ".github")
        return self.run_check("check_dockerfile.py")

    def test_the_projects_own_passes(self):
        self.assertEqual(self.check(), (0, ""))

    def test_every_planted_fault_is_reported(self):
        for old, new, expected in FAULTS:
            with self.subTest(new):
                code, output = self.check(old, new)
                self.assertEqual(code, 1, output)
                self.assertIn(expected, output)

    def test_a_package_of_the_workspace_that_is_not_copied_is_reported(self):
        ignored = (PROJECT / ".dockerignore").read_text()
        self.write(".dockerignore", ignored.replace("!devkit\n", ""))
        self.assertEqual(self.check(), (1, "Dockerfile: add !devkit to .dockerignore\n"))

    def test_no_dockerfile_is_a_fault(self):
        self.assertEqual(self.run_check("check_dockerfile.py"), (1, "Dockerfile: missing\n"))


if __name__ == "__main__":
    unittest.main()
