"""Shows that check_dockerfile.py finds planted faults: run by `cargo dev check-infra`."""

import shutil
import unittest

from check_dockerfile import LAYER, LAYOUT
from planted import PROJECT, Planted

COPY = "COPY --from=build /image/ /\n"
FAULTS = [
    ("-bookworm AS", " AS", "the first stage must be FROM docker.io/library/rust:"),
    ("library/rust:1.", "library/rust:0.", "the first stage must be FROM docker.io/library/rust:"),
    ("FROM docker.io/library/rust:", "FROM docker.io/library/rust AS other\nFROM docker.io/library/rust:", "DL3006"),
    ("WORKDIR /source", "WORKDIR source", "DL3000"),
    ("FROM scratch", "FROM docker.io/library/alpine:3.22", "in place of ('FROM', 'scratch')"),
    ("USER 65532:65532\n", "", "in place of ('USER', '65532:65532')"),
    ("USER 65532:65532\n", "USER 65532:65532\nUSER 0\n", "has ('USER', '0')"),
    ("CLOAKROOM_DRAIN_DELAY=5s", "CLOAKROOM_DRAIN_DELAY=0s", "in place of ('ENV', 'CLOAKROOM_LISTEN="),
    ('ENTRYPOINT ["/cloakroom"]', "ENTRYPOINT /cloakroom", "DL3025"),
    ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "in place of ('STOPSIGNAL', 'SIGTERM')"),
    ("EXPOSE 8080/tcp", 'RUN ["/cloakroom", "check"]\nEXPOSE 8080/tcp', "has ('RUN', "),
    ("COPY --from=build /image/ /", "COPY --from=builder /image/ /", "DL3022"),
    (COPY, f"{COPY}COPY --from=build /bin/ /bin/\n", "has ('COPY', '--from=build /bin/ /bin/')"),
    (COPY, f"{COPY}ADD https://example.org/a /a\n", "has ('ADD', 'https://example.org/a /a')"),
    (COPY, "COPY --from=build --chown=65532:65532 /image/ /\n", "in place of ('COPY', '--from=build /image/ /')"),
    (COPY, "", "in place of ('COPY', '--from=build /image/ /')"),
    ("EXPOSE 8080/tcp", "VOLUME /app\nEXPOSE 8080/tcp", "has ('VOLUME', '/app')"),
    ("EXPOSE 8080/tcp\n", "EXPOSE 8081/tcp\n", "in place of ('EXPOSE', '8080/tcp')"),
    ('ENTRYPOINT ["/cloakroom"]', 'ENTRYPOINT ["/cloakroom"]\nCMD ["check"]', "has ('CMD', "),
    ("target-feature=+crt-static", "opt-level=3", "the first stage does not run export RUSTFLAGS"),
    (" && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \\\n", "",
     "the first stage does not run install -D --mode=644 /etc/ssl/certs/ca-certificates.crt"),
    (" && chmod", " && cp /bin/sh /image/sh \\\n && chmod", "the first stage runs cp /bin/sh /image/sh, which is not expected"),
    ("COPY . .", "COPY . .\nADD https://example.org/a /image/a", "the first stage has "),
    ('triple="$(uname -m)-unknown-linux-gnu"', "triple=$(echo `uname -m`)", "SC2006"),
]


class Dockerfile(Planted):
    """check_dockerfile.py"""

    def check(self, old="", new=""):
        """The exit code and the output for the project's Dockerfile with another text."""
        text = (PROJECT / "Dockerfile").read_text()
        self.assertIn(old, text)
        self.write("Dockerfile", text.replace(old, new, 1) if old else text)
        for name in (LAYOUT, LAYER):
            self.write(name, (PROJECT / name).read_text())
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

    def test_another_setting_of_the_other_image_is_reported(self):
        layout = (PROJECT / LAYOUT).read_text().replace('"SIGTERM"', '"SIGINT"')
        self.check()
        self.write(LAYOUT, layout)
        expected = "the last stage has ('STOPSIGNAL', 'SIGTERM') in place of ('STOPSIGNAL', 'SIGINT')"
        self.assertEqual(self.run_check("check_dockerfile.py"), (1, f"Dockerfile: {expected}\n"))

    def test_a_package_of_the_workspace_that_is_not_copied_is_reported(self):
        ignored = (PROJECT / ".dockerignore").read_text()
        self.write(".dockerignore", ignored.replace("!devkit\n", ""))
        self.assertEqual(self.check(), (1, "Dockerfile: add !devkit to .dockerignore\n"))

    def test_no_dockerfile_is_a_fault(self):
        self.assertEqual(self.run_check("check_dockerfile.py"), (1, "Dockerfile: missing\n"))


if __name__ == "__main__":
    unittest.main()
