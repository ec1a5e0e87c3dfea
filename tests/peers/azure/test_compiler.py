"""Shows what check_compiler.py asks of the Bicep compiler, with a stand-in that records its calls."""

import re
from datetime import date

import check_compiler
from api_versions import ApiVersions
from bicep_check import Checker
from bicep_types import Types
from planted import CACHE, Planted

# Prints what the real one makes, and for the words in WARNS a warning, with exit code 0 as the real one does.
STAND_IN = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case $1 in
--version) echo "Bicep CLI version 0.0.0 (stand-in)" ;;
format) cat "$2" && printf '%s' "${FORMAT-}" ;;
build | build-params) echo "{}" ;;
esac
case "$*" in
*"${WARNS:-nothing}"*) echo "main.bicep(1,1) : Warning BCP035: the property is missing" >&2 ;;
esac
exit "${CODE:-0}"
"""
PATH = "/usr/bin:/bin"
# Container Apps, both plans of Functions, and one of them closed to other callers.
DEPLOYMENTS = ("closed", "consumption", "container-app", "flex")


class Compiler(Planted):
    """check_compiler.py"""

    def setUp(self):
        super().setUp()
        self.calls = self.root / "calls"
        self.calls.touch()
        self.program("bin/bicep")

    def program(self, path):
        """Puts the stand-in somewhere."""
        self.write(path, STAND_IN)
        (self.root / path).chmod(0o755)

    def compile(self, *options, path=None, **environment):
        """Runs the check with the stand-in on the path."""
        path = f"{self.root}/bin:{PATH}" if path is None else path
        environment = {"AZURE_CONFIG_DIR": str(self.root / "azure"), "CALLS": str(self.calls)} | environment
        return self.run_check("check_compiler.py", "--work", self.root / "work", *options, PATH=path, **environment)

    def test_every_file_is_formatted_built_and_linted(self):
        code, output = self.compile()
        self.assertEqual(code, 0, output)
        calls = self.calls.read_text().splitlines()
        for path in sorted((self.root / "infra").rglob("*.bicep")):
            for call in (f"format {path} --stdout", f"build {path} --stdout", f"lint {path}"):
                self.assertIn(call, calls)
        for path in sorted(self.root.rglob("infra/*.bicepparam")):
            self.assertIn(f"format {path} --stdout", calls)

    def test_parameters_are_built_with_and_without_each_option_on_both_plans(self):
        self.compile()
        built = set(re.findall(r"^build-params \S*/work/(\S+)\.bicepparam --stdout$", self.calls.read_text(), re.MULTILINE))
        names = re.findall(r"^param (\w+) .*=", (self.root / "infra/main.bicep").read_text(), re.MULTILINE)
        self.assertGreater(len(names), 12)
        for plan in check_compiler.PLANS:
            self.assertLessEqual({f"{plan}-alone", f"{plan}-all"}, built)
            for name in names:
                if name != "hostingPlan":
                    self.assertIn(f"{plan}-{name}-0", built)
        names = re.findall(r"^param (\w+) .*=", (self.root / "infra/container-app.bicep").read_text(), re.MULTILINE)
        self.assertLessEqual({f"container-app-{name}-0" for name in names}, built)
        text = (self.root / "work/consumption-rotateInApp-1.bicepparam").read_text()
        self.assertIn("param hostingPlan = 'consumption'\nparam rotateInApp = false\n", text)

    def test_the_parameters_are_what_the_other_checks_accept(self):
        self.compile()
        checker = Checker(self.root, Types(CACHE), ApiVersions.read(date(2026, 12, 1)))
        self.assertEqual([str(fault) for fault in checker.run(self.root / "work")], [])

    def test_a_warning_with_exit_code_0_is_a_fault_of_every_command(self):
        self.write("tests/peers/azure/snapshots/flex.snapshot.json", "{}")
        for warns in ("format ", "build ", "lint ", "build-params ", "snapshot "):
            with self.subTest(warns):
                code, output = self.compile(WARNS=warns)
                self.assertEqual(code, 1)
                self.assertIn("Warning BCP035", output)

    def test_an_exit_code_is_a_fault_even_without_a_line(self):
        self.assertEqual(self.compile(CODE="1")[0], 1)

    def test_a_file_that_the_compiler_would_format_otherwise_is_a_fault(self):
        code, output = self.compile(FORMAT=" ")
        self.assertEqual(code, 1)
        self.assertIn("infra/main.bicep: not as bicep format writes it", output)

    def test_snapshots_are_compared_once_they_exist_and_missed_before(self):
        _, output = self.compile()
        self.assertNotIn("snapshot", self.calls.read_text().replace("/snapshots/", ""))
        for name in DEPLOYMENTS:
            self.assertIn(f"there is no tests/peers/azure/snapshots/{name}.snapshot.json yet", output)
            self.write(f"tests/peers/azure/snapshots/{name}.snapshot.json", "{}")
        self.assertEqual(self.compile()[0], 0)
        for name in DEPLOYMENTS:
            call = f"snapshot {self.root}/tests/peers/azure/snapshots/{name}.bicepparam --mode validate --tenant-id "
            self.assertIn(call, self.calls.read_text())

    def test_snapshots_are_written_on_demand(self):
        self.assertEqual(self.compile("--update-snapshots")[0], 0)
        self.assertEqual(self.calls.read_text().count("--mode overwrite"), len(DEPLOYMENTS))

    def test_without_a_compiler_only_the_partial_check_ran(self):
        empty = str(self.root / "work")
        code, output = self.compile(path=empty)
        self.assertEqual(code, 0)
        self.assertIn("Only the partial check ran", output)
        self.assertEqual(self.compile("--require", path=empty)[0], 1)
        self.assertEqual(self.compile("--find", path=empty)[0], 1)
        self.assertEqual(self.compile("--find")[0], 0)

    def test_the_compiler_of_az_is_used_too(self):
        self.program("other/az")
        self.program("azure/bin/bicep")
        path = f"{self.root}/other:{PATH}"
        self.assertEqual(self.compile("--require", path=path)[0], 0)
        self.assertIn("lint ", self.calls.read_text())
