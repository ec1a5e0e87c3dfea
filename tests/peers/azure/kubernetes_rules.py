"""Rules of this project for its Kubernetes manifests, which no schema has: what must agree with the gateway's settings and
with the image. They read what kustomize makes of a folder."""

import re
from urllib.parse import urlsplit

import ruamel.yaml

# The user of the image (contract 17.8).
USER = 65532
# How long requests in flight have after the drain (contract 17.6), and what a node may take besides, in seconds.
FINISH, MARGIN = 8, 5
PROBES = {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}
# Settings that belong into a Secret.
SECRETS = {"CLIENT_SECRET", "ENC_KEY"}
# The objects, besides a policy for the session store.
KINDS = ["ConfigMap", "Deployment", "Ingress", "Namespace", "NetworkPolicy", "NetworkPolicy", "PodDisruptionBudget"]
KINDS += ["Service", "ServiceAccount"]
NAMESPACE, NAMESPACE_NAME = "cloakroom", "kubernetes.io/metadata.name"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
# What the policies let the pods call: all addresses but those of the metadata service of the node, which has the
# identity of the node.
BLOCK = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}
BLOCK_6 = {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128"]}}
DNS_PEER = {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "kube-system"}}}
DNS_PEER |= {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
DNS = {"to": [DNS_PEER], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
WEB = {"to": [BLOCK, BLOCK_6], "ports": [{"protocol": "TCP", "port": 443}]}
REDIS = {"to": [BLOCK], "ports": [{"protocol": "TCP", "port": 10000}, {"protocol": "TCP", "port": 8500, "endPort": 8599}]}
# What ingress-nginx needs so that cookies, bodies and events pass (docs/deploy-kubernetes.md).
TLS_SECRET = "cloakroom-tls"
INGRESS_NGINX = "nginx.ingress.kubernetes.io"
ANNOTATIONS = {
    "proxy-body-size": "0",
    "proxy-buffer-size": "64k",
    "proxy-buffering": "off",
    "proxy-buffers-number": "4",
    "proxy-read-timeout": "120",
    "proxy-request-buffering": "off",
    "proxy-send-timeout": "120",
}
WORKLOAD_IDENTITY = "azure.workload.identity"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A duration of the gateway's settings."""
    number, unit = re.fullmatch(r"(\d+)(ms|[smh])", text).groups()
    return int(number) * UNITS[unit]


def secret_faults(settings: dict[str, str]) -> list[str]:
    """The settings without their prefix that are secrets, or have a password."""
    secret = [name for name in settings if name in SECRETS or name == "STORE" and "@" in settings[name]]
    return [f"CLOAKROOM_{name} is a secret" for name in secret]


class Manifests:
    """The objects of a deployment, with the parts that most rules are about."""

    def __init__(self, text: str):
        self.objects = [one for one in ruamel.yaml.YAML(typ="safe").load_all(text) if one]
        self.deployment = self.only("Deployment")["spec"]
        self.pod = self.deployment["template"]["spec"]
        self.labels = self.deployment["template"]["metadata"]["labels"]
        [self.container] = self.pod["containers"]
        self.settings = self._settings()

    def of(self, kind: str) -> list:
        """All objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def only(self, kind: str) -> dict:
        """The object of a kind of which there is one."""
        [one] = self.of(kind)
        return one

    def _settings(self):
        """Those of the container that are no secret, without the prefix."""
        maps = {one["metadata"]["name"]: one["data"] for one in self.of("ConfigMap")}
        given = {}
        for source in self.container.get("envFrom", []):
            given |= maps[source["configMapRef"]["name"]] if "configMapRef" in source else {}
        given |= {one["name"]: one.get("value", "") for one in self.container.get("env", [])}
        return {name.removeprefix("CLOAKROOM_"): value for name, value in given.items()}

    def selects(self, selector: dict) -> bool:
        """Whether a selector of labels selects the pods; an empty one selects nothing here."""
        wanted = (selector or {}).get("matchLabels", selector) or {}
        return bool(wanted) and wanted.items() <= self.labels.items()

    def port(self) -> int:
        """That of CLOAKROOM_LISTEN."""
        return int(self.settings.get("LISTEN", "").rpartition(":")[2] or 0)


def faults(text: str, known: set[str], version: str) -> list[str]:
    """Breaches of all rules; `known` are the gateway's settings, `version` that of the project."""
    try:
        manifests = Manifests(text)
        found = [*_settings(manifests, known), *_image(manifests, version)]
        for rule in (_objects, _process, _ports, _probes, _shutdown, _selectors, _ingress, _policies, _identity):
            found += rule(manifests)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"this cannot be read here: {error!r}"]
    return found


def _settings(manifests, known):
    for name in manifests.settings:
        if name not in known:
            yield f"CLOAKROOM_{name} is no setting"
    yield from (f"{one}: it belongs into a Secret" for one in secret_faults(manifests.settings))
    if "KEY_FILE" in manifests.settings and manifests.deployment["replicas"] > 1:
        yield "with CLOAKROOM_KEY_FILE several pods need a file that they share"


def _image(manifests, version):
    image = manifests.container["image"]
    if "@sha256:" not in image and image.rpartition(":")[2] != version:
        yield f"the image is {image}, but the version of the project is {version}"


def _objects(manifests):
    """Nothing more than is known here, in one namespace, which admits restricted pods only."""
    kinds = sorted(one["kind"] for one in manifests.objects)
    expected = sorted(KINDS + ["NetworkPolicy"] * ("STORE" in manifests.settings))
    if kinds != expected:
        yield f"the objects are {kinds}, not {expected}"
    namespace = manifests.only("Namespace")["metadata"]
    names = {one["metadata"].get("namespace") for one in manifests.objects if one["kind"] != "Namespace"}
    if names | {namespace["name"]} != {NAMESPACE}:
        yield f"the objects are in the namespaces {names | {namespace['name']}}, not in {NAMESPACE}"
    if namespace["labels"].get(POD_SECURITY) != "restricted":
        yield f"the Namespace has {POD_SECURITY}={namespace['labels'].get(POD_SECURITY)}, not restricted"
    service = manifests.only("Service")["spec"]
    if service.get("type") != "ClusterIP" or "externalIPs" in service:
        yield f"the Service has the type {service.get('type')}, not ClusterIP: it would be reached without TLS"


def _process(manifests):
    """What contract 17.8 says of user and root, and what the cluster must not add."""
    pod, own = manifests.pod.get("securityContext", {}), manifests.container.get("securityContext", {})
    for name, value, expected in [
        ("runAsNonRoot", pod.get("runAsNonRoot"), True),
        ("runAsUser", pod.get("runAsUser"), USER),
        ("runAsGroup", pod.get("runAsGroup"), USER),
        ("seccompProfile", pod.get("seccompProfile"), {"type": "RuntimeDefault"}),
        ("fsGroup", pod.get("fsGroup"), None),
        ("readOnlyRootFilesystem", own.get("readOnlyRootFilesystem"), True),
        ("allowPrivilegeEscalation", own.get("allowPrivilegeEscalation"), False),
        ("capabilities", own.get("capabilities"), {"drop": ["ALL"]}),
        ("enableServiceLinks", manifests.pod.get("enableServiceLinks"), False),
        ("automountServiceAccountToken", manifests.pod.get("automountServiceAccountToken"), False),
    ]:
        if value != expected:
            yield f"{name} is {value}, not {expected}"
    if not {"cpu", "memory"} <= manifests.container["resources"]["limits"].keys():
        yield "without a limit of cpu the gateway has as many threads as the node has cores; without one of memory no end"


def _ports(manifests):
    address, port = manifests.settings.get("LISTEN", ""), manifests.port()
    if not address.startswith(("0.0.0.0:", "[::]:")):
        yield f"CLOAKROOM_LISTEN is '{address}', which no other pod reaches"
    declared = {one["name"]: one["containerPort"] for one in manifests.container["ports"]}
    if list(declared.values()) != [port]:
        yield f"the ports of the container are {list(declared.values())}, CLOAKROOM_LISTEN has {port}"
    for one in manifests.only("Service")["spec"]["ports"]:
        if declared.get(one["targetPort"], one["targetPort"]) != port:
            yield f"the Service leads to the port {one['targetPort']}, CLOAKROOM_LISTEN has {port}"


def _probes(manifests):
    declared = {one["name"] for one in manifests.container["ports"]}
    for name, path in PROBES.items():
        asked = manifests.container.get(name, {}).get("httpGet", {})
        if asked.get("path") != path:
            yield f"the {name} asks {asked.get('path')}, not {path} (contract 17.7)"
        if asked.get("port") not in declared | {manifests.port()}:
            yield f"the {name} asks the port {asked.get('port')}, which is not that of the gateway"


def _shutdown(manifests):
    """Contract 17.6."""
    drain = manifests.settings.get("DRAIN_DELAY", "0s")
    needed = seconds(drain) + FINISH + MARGIN
    grace = manifests.pod.get("terminationGracePeriodSeconds", 0)
    if grace < needed:
        yield f"terminationGracePeriodSeconds is {grace}; with CLOAKROOM_DRAIN_DELAY={drain} it must be {needed:g}"
    if seconds(drain) < FINISH / 2:
        yield f"CLOAKROOM_DRAIN_DELAY is {drain}: proxies still send requests when the port closes"
    if "preStop" in manifests.container.get("lifecycle", {}):
        yield "a preStop hook needs a program in the image, which has none; CLOAKROOM_DRAIN_DELAY does the same"


def _selectors(manifests):
    if manifests.deployment["replicas"] < 2:
        yield "with one replica there is none while it is replaced"
    update = manifests.deployment["strategy"]["rollingUpdate"]
    if update["maxUnavailable"] != 0:
        yield "maxUnavailable of the update is not 0: a pod ends before its successor is ready"
    selecting = [("Deployment", manifests.deployment["selector"])]
    selecting += [("Service", manifests.only("Service")["spec"]["selector"])]
    selecting += [("PodDisruptionBudget", manifests.only("PodDisruptionBudget")["spec"]["selector"])]
    selecting += [("topologySpreadConstraints", one["labelSelector"]) for one in manifests.pod["topologySpreadConstraints"]]
    for name, selector in selecting:
        if not manifests.selects(selector):
            yield f"the selector of the {name} does not select the pods"


def _ingress(manifests):
    ingress, service = manifests.only("Ingress")["spec"], manifests.only("Service")
    annotations = manifests.only("Ingress")["metadata"].get("annotations")
    if annotations != {f"{INGRESS_NGINX}/{name}": value for name, value in ANNOTATIONS.items()}:
        yield f"the annotations of the Ingress are {annotations}, not {ANNOTATIONS}"
    if not ingress.get("ingressClassName"):
        yield "the Ingress has no ingressClassName: without a default class no controller takes it"
    if [one.get("secretName") for one in ingress.get("tls", [])] != [TLS_SECRET]:
        yield f"the Ingress does not have the certificate of the Secret {TLS_SECRET}"
    host = urlsplit(manifests.settings.get("PUBLIC_ORIGIN", "")).hostname
    hosts = [one["host"] for one in ingress["rules"]]
    if hosts != [host] or [name for one in ingress.get("tls", []) for name in one["hosts"]] != [host]:
        yield f"rules and tls of the Ingress must have the host of CLOAKROOM_PUBLIC_ORIGIN, {host}, and no other"
    for one in ingress["rules"]:
        [path] = one["http"]["paths"]
        if (path["path"], path["pathType"]) != ("/", "Prefix"):
            yield f"the Ingress has the path {path['path']}: the gateway checks all paths by itself"
        backend = path["backend"]["service"]
        known = [port["name"] for port in service["spec"]["ports"]]
        if backend["name"] != service["metadata"]["name"] or backend["port"].get("name") not in known:
            yield "the Ingress does not lead to the Service"


def _policies(manifests):
    """Only the controller calls, nothing reaches the node's metadata, and the session store is reached."""
    specs = [one["spec"] for one in manifests.of("NetworkPolicy")]
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if specs.count(deny) != 1:
        yield "there is no policy that denies everything to all pods of the namespace"
    own = [one for one in specs if one != deny]
    for one in own:
        if not manifests.selects(one["podSelector"]):
            yield f"a policy has the selector {one['podSelector']}, which is not that of the pods"
    yield from _callers(manifests, [rule for one in own for rule in one.get("ingress", [])])
    expected = [DNS, WEB, REDIS] if "STORE" in manifests.settings else [DNS, WEB]
    called = [rule for one in own for rule in one.get("egress", [])]
    yield from (f"a policy lets the pods call {rule}, which is not expected" for rule in called if rule not in expected)
    yield from (f"no policy lets the pods call {rule}" for rule in expected if rule not in called)


def _callers(manifests, rules):
    if len(rules) != 1:
        yield f"{len(rules)} rules let callers in, not one, for the ingress controller"
    for rule in rules:
        if rule.get("ports") != [{"protocol": "TCP", "port": manifests.port()}]:
            yield f"a policy lets callers in at another port than {manifests.port()}"
        peers = rule.get("from", [])
        labels = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in peers]
        expected = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: one.get(NAMESPACE_NAME)}}} for one in labels]
        if len(peers) != 1 or peers != expected or not labels[0].get(NAMESPACE_NAME):
            yield "a policy lets others in than the ingress controller: they would read and send sessions"


def _identity(manifests):
    """Workload identity, where the keys are in Key Vault (contract 6.5)."""
    account = manifests.only("ServiceAccount")
    if manifests.pod.get("serviceAccountName") != account["metadata"]["name"]:
        yield "the pods do not use the ServiceAccount"
    if "KEY_VAULT_URL" not in manifests.settings:
        return
    if manifests.labels.get(f"{WORKLOAD_IDENTITY}/use") != "true":
        yield f"the pods lack the label {WORKLOAD_IDENTITY}/use=true, without which they get no token"
    if f"{WORKLOAD_IDENTITY}/client-id" not in account["metadata"].get("annotations", {}):
        yield f"the ServiceAccount lacks the annotation {WORKLOAD_IDENTITY}/client-id"
