"""Checks the Kubernetes manifests of `deploy/kubernetes` as kustomize renders them: by the schemas of Kubernetes, by the
policies of checkov, and by rules of the project. Exceptions to policies have their reason in policy.toml.

    python check_kubernetes.py [--root FOLDER] --kustomize PROGRAM --checkov PROGRAM
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import check_policy
import kubernetes_rules
import kubernetes_validate
import ruamel.yaml
from check_templates import known_settings

PROJECT = Path(__file__).resolve().parents[3]
PAGE = "docs/deploy-kubernetes.md"
# The folders that are deployed, and the part that is optional.
FOLDERS, COMPONENT = ("azure", "secret"), "redis"
# The oldest version of Kubernetes for which the manifests are meant, and the newest with schemas.
VERSIONS = ("1.31.0", kubernetes_validate.latest_version())


class Unrendered(Exception):
    """A folder that kustomize rejects, with its reason."""


def render(kustomize: Path, folder: Path) -> str:
    """What kustomize makes of a folder."""
    done = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Unrendered(done.stderr.strip())
    return done.stdout


def rendered(root: Path, kustomize: Path) -> dict[str, str]:
    """The manifests of each folder by its name, and those of one with the component."""
    found = {}
    with tempfile.TemporaryDirectory() as copy:
        base = Path(copy) / "kubernetes"
        shutil.copytree(root / "deploy/kubernetes", base)
        for name in FOLDERS:
            found[name] = render(kustomize, base / name)
        both = base / f"{FOLDERS[0]}-{COMPONENT}"
        both.mkdir()
        (both / "kustomization.yaml").write_text(f"resources: [../{FOLDERS[0]}]\ncomponents: [../{COMPONENT}]\n")
        found[both.name] = render(kustomize, both)
    return found


def schema_faults(manifests: dict[str, str]) -> list[str]:
    """What the schemas of Kubernetes reject, by the first folder that has it."""
    found, seen = [], set()
    for name, text in manifests.items():
        for document in text.split("\n---\n"):
            for version in VERSIONS if document not in seen else ():
                found += [f"deploy/kubernetes/{name}: {one}" for one in _rejected(document, version)]
            seen.add(document)
    return found


def _rejected(document, version):
    one = ruamel.yaml.YAML(typ="safe").load(document)
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{one['kind']} in Kubernetes {version}: {error.message.splitlines()[0]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{one['kind']} in Kubernetes {version}: there is no {one['apiVersion']}"


def policy_faults(manifests: dict[str, str], checkov: Path) -> list[str]:
    """Findings of checkov without an exception."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in manifests.items():
            (Path(folder) / f"{name}.yaml").write_text(text)
        report = check_policy.run(checkov, Path(folder), check_policy.SEED, "kubernetes")
    return check_policy.faults(report, check_policy.exceptions("kubernetes"), "deploy/kubernetes")


def rule_faults(root: Path, manifests: dict[str, str]) -> list[str]:
    """Breaches of the rules of the project."""
    version = tomllib.loads((root / "Cargo.toml").read_text())["package"]["version"]
    known = known_settings(root)
    pairs = ((name, kubernetes_rules.faults(text, known, version)) for name, text in manifests.items())
    return [f"deploy/kubernetes/{name}: {one}" for name, texts in pairs for one in texts]


def page_faults(root: Path) -> list[str]:
    """Steps that the page must have: for the Secret with the certificate, and the role of the template for Functions."""
    text, vault = (root / PAGE).read_text(), (root / "infra/modules/vault.bicep").read_text()
    found = []
    if f"create secret tls {kubernetes_rules.TLS_SECRET}" not in text:
        found.append(f"{PAGE}: no step creates the Secret {kubernetes_rules.TLS_SECRET}")
    documented, used = (re.findall(r"Microsoft\.KeyVault/vaults/secrets/\w+/action", one) for one in (text, vault))
    if documented != used:
        found.append(f"{PAGE}: the role has the actions {documented}, that of vault.bicep {used}")
    if "--from-literal" in text:
        found.append(f"{PAGE}: --from-literal shows a secret in the list of processes")
    return found


def main():
    """Prints the faults; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    parser.add_argument("--kustomize", type=Path, required=True)
    parser.add_argument("--checkov", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        manifests = rendered(arguments.root, arguments.kustomize)
    except Unrendered as error:
        print(error)
        return 1
    found = schema_faults(manifests) + rule_faults(arguments.root, manifests)
    found += page_faults(arguments.root) + policy_faults(manifests, arguments.checkov)
    for fault in found:
        print(fault)
    print(f"{len(manifests)} deployments, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
