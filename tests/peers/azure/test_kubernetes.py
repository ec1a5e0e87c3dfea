"""Shows that check_kubernetes.py finds planted faults: run by `cargo dev check-infra`."""

import shutil

import check_kubernetes
from check_kubernetes import PAGE
from planted import CHECKOV, KUSTOMIZE, PROJECT, Planted

DEPLOYMENT, POLICIES, SETTINGS = "base/deployment.yaml", "base/network-policies.yaml", "base/settings.env"
AZURE = "azure/kustomization.yaml"
SELECTED = "app.kubernetes.io/name: cloakroom"
PEER = "        - namespaceSelector:\n            matchLabels:\n              kubernetes.io/metadata.name: ingress\n"
CALLER = "path: /spec/ingress/0/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name\n        value: <"
HALF = "        - ipBlock:\n            cidr: 0.0.0.0/0\n            except:\n              - 169.254.0.0/16\n"
OTHERS = "a policy lets others in than the ingress controller"
BINDING = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: cloakroom\nroleRef:\n"
BINDING += "  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: cluster-admin\n---\n"
# Of the page: what stands there first, what is planted instead, and what the check must say.
PAGE_FAULTS = [
    ("create secret tls cloakroom-tls", "create secret tls other", "no step creates the Secret cloakroom-tls"),
    ('"Microsoft.KeyVault/vaults/secrets/update/action"', '"Microsoft.KeyVault/vaults/secrets/delete/action"', "the role has the"),
    ("--from-env-file=/dev/stdin", '--from-literal=CLOAKROOM_CLIENT_SECRET="$CLIENT_SECRET"', "in the list of processes"),
]
# File, what stands there first, what is planted instead, and what the check must say.
REJECTED = [
    (DEPLOYMENT, "replicas: 2", "replicas: two", "azure: Deployment in Kubernetes 1.31.0: 'two' is not of type"),
    (DEPLOYMENT, "revisionHistoryLimit", "revisionsHistoryLimit", "Additional properties are not allowed"),
    (DEPLOYMENT, "apps/v1", "apps/v1beta1", "azure: Deployment in Kubernetes 1.31.0: there is no apps/v1beta1"),
    ("base/ingress.yaml", "pathType: Prefix", "pathtype: Prefix", "Ingress in Kubernetes 1.31.0: "),
    ("base/service.yaml", "port: 80", "port: eighty", "Service in Kubernetes 1.31.0: 'eighty' is not of type"),
    ("redis/network-policy.yaml", "endPort: 8599", "endPort: all", "azure-redis: NetworkPolicy in Kubernetes"),
]  # fmt: skip
BREACHES = [
    # Settings.
    (SETTINGS, "CLOAKROOM_LISTEN", "CLOAKROOM_LISTENS", "CLOAKROOM_LISTENS is no setting"),
    (SETTINGS, "0.0.0.0:8080", "127.0.0.1:8080", "CLOAKROOM_LISTEN is '127.0.0.1:8080', which no other pod reaches"),
    ("secret/settings.env", "CLOAKROOM_CLIENT_ID=", "CLOAKROOM_ENC_KEY=", "CLOAKROOM_ENC_KEY is a secret"),
    ("redis/kustomization.yaml", "rediss://", "rediss://user:word@", "azure-redis: CLOAKROOM_STORE is a secret"),
    ("secret/settings.env", "CLOAKROOM_CLIENT_ID=", "CLOAKROOM_KEY_FILE=", "several pods need a file that they share"),
    # The image and what runs.
    (AZURE, "newTag: 0.1.0", "newTag: latest", "the image is ghcr.io/cloakroom/cloakroom:latest, but the version"),
    (AZURE, "newTag: 0.1.0", "newTag: 0.0.9", "the image is ghcr.io/cloakroom/cloakroom:0.0.9, but the version"),
    (DEPLOYMENT, "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot is False, not True"),
    (DEPLOYMENT, "runAsUser: 65532", "runAsUser: 1000", "runAsUser is 1000, not 65532"),
    (DEPLOYMENT, "type: RuntimeDefault", "type: Unconfined", "seccompProfile is {'type': 'Unconfined'}"),
    (DEPLOYMENT, "runAsGroup: 65532", "runAsGroup: 65532\n        fsGroup: 65532", "fsGroup is 65532, not None"),
    (DEPLOYMENT, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem is False"),
    (DEPLOYMENT, "allowPrivilegeEscalation: false", "privileged: true", "allowPrivilegeEscalation is None, not False"),
    (DEPLOYMENT, "                - ALL", "                - NET_RAW", "capabilities is {'drop': ['NET_RAW']}"),
    (DEPLOYMENT, "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks is True, not False"),
    (DEPLOYMENT, "      automountServiceAccountToken: false\n", "", "automountServiceAccountToken is None, not False"),
    (DEPLOYMENT, '              cpu: "2"\n', "", "without a limit of cpu the gateway has as many threads"),
    (DEPLOYMENT, "              memory: 256Mi\n", "", "without one of memory no end"),
    (DEPLOYMENT, "runAsGroup: 65532", "runAsGroup: 0", "runAsGroup is 0, not 65532"),
    # The objects.
    (AZURE, "namespace: cloakroom", "namespace: other", "the objects are in the namespaces {'other'}, not in cloakroom"),
    ("base/namespace.yaml", "enforce: restricted", "enforce: privileged", "enforce=privileged, not restricted"),
    ("base/service.yaml", "type: ClusterIP", "type: LoadBalancer", "the Service has the type LoadBalancer, not ClusterIP"),
    ("base/service.yaml", "apiVersion: v1\n", BINDING + "apiVersion: v1\n", "the objects are ['ClusterRoleBinding', "),
    # Ports.
    (SETTINGS, "0.0.0.0:8080", "0.0.0.0:8081", "the ports of the container are [8080], CLOAKROOM_LISTEN has 8081"),
    (DEPLOYMENT, "containerPort: 8080", "containerPort: 80", "the ports of the container are [80], CLOAKROOM_LISTEN has"),
    ("base/service.yaml", "targetPort: http", "targetPort: 8081", "the Service leads to the port 8081"),
    (POLICIES, "port: 8080", "port: 80", "a policy lets callers in at another port than 8080"),
    # Probes.
    (DEPLOYMENT, "path: /health/ready", "path: /health/live", "the readinessProbe asks /health/live, not /health/ready"),
    (DEPLOYMENT, "path: /health/live", "path: /healthz", "the startupProbe asks /healthz, not /health/live"),
    (DEPLOYMENT, "              port: http", "              port: https", "which is not that of the gateway"),
    # The end.
    (DEPLOYMENT, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 22",
     "terminationGracePeriodSeconds is 22; with CLOAKROOM_DRAIN_DELAY=10s it must be 23"),
    (SETTINGS, "DRAIN_DELAY=10s", "DRAIN_DELAY=1m", "it must be 73"),
    (SETTINGS, "DRAIN_DELAY=10s", "DRAIN_DELAY=0s", "proxies still send requests when the port closes"),
    (DEPLOYMENT, "          envFrom:", "          lifecycle:\n            preStop:\n              sleep:\n                seconds: 5\n"
     "          envFrom:", "a preStop hook needs a program in the image"),
    # Selectors, replicas.
    (DEPLOYMENT, "replicas: 2", "replicas: 1", "with one replica there is none while it is replaced"),
    (DEPLOYMENT, "maxUnavailable: 0", "maxUnavailable: 1", "a pod ends before its successor is ready"),
    ("base/service.yaml", SELECTED, "app.kubernetes.io/name: gateway", "the selector of the Service does not select"),
    ("base/pod-disruption-budget.yaml", SELECTED, "app: cloakroom", "selector of the PodDisruptionBudget does not select"),
    (DEPLOYMENT, f"            matchLabels:\n              {SELECTED}", "            matchLabels:\n              app: cloakroom",
     "the selector of the topologySpreadConstraints does not select"),
    # The ingress.
    (AZURE, "value: app.example.org", "value: www.example.org", "rules and tls of the Ingress must have the host"),
    ("azure/settings.env", "//app.example.org", "//www.example.org", "the host of CLOAKROOM_PUBLIC_ORIGIN, www.example.org"),
    ("base/ingress.yaml", "path: /\n", "path: /auth\n", "the Ingress has the path /auth"),
    ("base/ingress.yaml", "                name: cloakroom\n", "                name: gateway\n", "does not lead to the Service"),
    ("base/ingress.yaml", "proxy-buffer-size: 64k", "proxy-buffer-size: 4k", "the annotations of the Ingress are "),
    ("base/ingress.yaml", '    nginx.ingress.kubernetes.io/proxy-body-size: "0"\n', "", "the annotations of the Ingress are "),
    ("base/ingress.yaml", 'request-buffering: "off"', 'request-buffering: "on"', "the annotations of the Ingress are "),
    (AZURE, "<class of the ingress controller>", '""', "the Ingress has no ingressClassName"),
    ("base/ingress.yaml", "secretName: cloakroom-tls", "secretName: other", "does not have the certificate of the Secret cloakroom-tls"),
    # Network policies.
    (POLICIES, "  podSelector: {}\n", "  podSelector:\n    matchLabels:\n      a: b\n", "no policy that denies everything"),
    (POLICIES, "    - Ingress\n", "", "no policy that denies everything"),
    (AZURE, f"replace\n        {CALLER}", "remove\n        path: /spec/ingress/0\n        value: <", "0 rules let callers in, not one"),
    (POLICIES, PEER, f"{PEER}        - podSelector: {{}}\n", OTHERS),
    (POLICIES, PEER, f"{PEER}              a: b\n", OTHERS),
    (POLICIES, PEER, f"{PEER}            matchExpressions: []\n", OTHERS),
    (POLICIES, PEER, f"{PEER}          podSelector: {{}}\n", OTHERS),
    (AZURE, CALLER, "path: /spec/ingress/0/from/0/namespaceSelector\n        value: {}\n# <", OTHERS),
    (AZURE, CALLER, "path: /spec/ingress/0/from\n        value: []\n# <", OTHERS),
    (POLICIES, "    - to:\n        - namespaceSelector:", "    - to:\n        - podSelector: {}\n        - namespaceSelector:",
     "which is not expected"),
    (POLICIES, "            except:\n              - 169.254.0.0/16\n", "", "which is not expected"),
    (POLICIES, "              - fd00:ec2::254/128\n", "", "which is not expected"),
    (POLICIES, HALF, HALF.replace("0.0.0.0/0", "0.0.0.0/1") + HALF.replace("0.0.0.0/0", "128.0.0.0/1"), "which is not expected"),
    (POLICIES, "      ports:\n        - protocol: TCP\n          port: 443\n", "", "which is not expected"),
    (POLICIES, "          port: 443", "          port: 80", "which is not expected"),
    (POLICIES, "          port: 443", "          port: 80", "no policy lets the pods call {'to': [{'ipBlock'"),
    (POLICIES, "  egress:\n", "  egress:\n    - {}\n", "a policy lets the pods call {}, which is not expected"),
    (POLICIES, "port: 53", "port: 54", "no policy lets the pods call {'to': [{'namespaceSelector'"),
    ("redis/network-policy.yaml", "port: 10000", "port: 6380", "azure-redis: no policy lets the pods call"),
    ("redis/network-policy.yaml", f"    matchLabels:\n      {SELECTED}\n", "    matchLabels: {}\n", "which is not that of the pods"),
    # Workload identity.
    (AZURE, "rules/0/host\n        value: app", "rules/0/host\n        value: www", "rules and tls of the Ingress must have the host"),
    (AZURE, 'value: "true"', 'value: "false"', "the pods lack the label azure.workload.identity/use=true"),
    (AZURE, "azure.workload.identity/client-id", "azure.workload.identity/clientid", "the ServiceAccount lacks the annotation"),
    (DEPLOYMENT, "serviceAccountName: cloakroom", "serviceAccountName: default", "the pods do not use the ServiceAccount"),
]  # fmt: skip


class Kubernetes(Planted):
    """check_kubernetes.py"""

    def setUp(self):
        super().setUp()
        self.folder = self.root / "deploy/kubernetes"
        shutil.copytree(PROJECT / "deploy", self.root / "deploy")
        self.write("docs/configuration.md", (PROJECT / "docs/configuration.md").read_text())
        self.write(PAGE, (PROJECT / PAGE).read_text())
        shutil.copy(PROJECT / "Cargo.toml", self.root)

    def test_the_project_has_no_faults(self):
        code, output = self.run_check("check_kubernetes.py", "--kustomize", KUSTOMIZE, "--checkov", CHECKOV)
        self.assertEqual(code, 0, output)

    def planted(self, faults, check):
        """Plants each fault by itself, and looks for its text in what the check reports."""
        for path, old, new, expected in faults:
            with self.subTest(old, planted=new):
                file = self.folder / path
                original = file.read_text()
                self.assertIn(old, original, path)
                file.write_text(original.replace(old, new))
                try:
                    found = check(check_kubernetes.rendered(self.root, KUSTOMIZE))
                finally:
                    file.write_text(original)
                self.assertTrue([line for line in found if expected in line], f"{expected!r} is not among {found}")

    def test_what_the_schemas_reject_is_reported(self):
        self.planted(REJECTED, check_kubernetes.schema_faults)

    def test_every_breach_of_a_rule_is_reported(self):
        self.planted(BREACHES, lambda manifests: check_kubernetes.rule_faults(self.root, manifests))

    def test_every_fault_of_the_page_is_reported(self):
        for old, new, expected in PAGE_FAULTS:
            with self.subTest(new):
                text = (PROJECT / PAGE).read_text()
                self.assertIn(old, text)
                self.write(PAGE, text.replace(old, new))
                found = check_kubernetes.page_faults(self.root)
                self.assertTrue([line for line in found if expected in line], f"{expected!r} is not among {found}")

    def test_what_kustomize_rejects_is_reported(self):
        (self.folder / "base/service.yaml").unlink()
        code, output = self.run_check("check_kubernetes.py", "--kustomize", KUSTOMIZE, "--checkov", CHECKOV)
        self.assertEqual(code, 1)
        self.assertIn("service.yaml: no such file", output)

    def test_findings_of_checkov_are_reported(self):
        file = self.folder / "base/deployment.yaml"
        file.write_text(file.read_text().replace("      securityContext:\n", "      hostNetwork: true\n      securityContext:\n", 1))
        code, output = self.run_check("check_kubernetes.py", "--kustomize", KUSTOMIZE, "--checkov", CHECKOV)
        self.assertEqual(code, 1)
        self.assertIn("CKV_K8S_19: Containers should not share the host network namespace", output)
