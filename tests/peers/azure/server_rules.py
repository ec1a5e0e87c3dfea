"""Rules of this project for the unit of systemd and the configuration of nginx: what must agree with the gateway."""

import re
import shlex

import nginx_file
from kubernetes_rules import FINISH, MARGIN, seconds, secret_faults

# A warning of newer versions of nginx about a directive that older ones need.
OLD_HTTP2 = 'the "listen ... http2" directive is deprecated'
SIZES = {"": 1, "k": 1024, "m": 1024 * 1024}
# The longest call of an API (docs/operations.md), in seconds, and the cookies of a session and ten sign-ins, in bytes.
CALL, COOKIES = 100, 12_000
# The head of a response that the gateway accepts of an API, in bytes.
HEAD = 64 * 1024
NAME = "app.example.org"
# What the server of that name must have, once each, and why.
REQUIRED = [
    ("server_name", NAME, "other names lead to it"),
    ("proxy_http_version", "1.1", "connections are not used again"),
    ("proxy_buffering", "off", "server-sent events arrive at their end"),
    ("proxy_request_buffering", "off", "uploads are not streamed"),
    ("client_max_body_size", "0", "the gateway has the limits of each API"),
    ("ssl_protocols", "TLSv1.2 TLSv1.3", "older versions are broken"),
    ("error_page", "400 414 494 /.rejected", "what nginx rejects by itself is not isolated"),
]
HEADERS = ["Host $host", 'Connection ""']
DEFAULT_LISTEN = ["80 default_server", "[::]:80 default_server", "443 ssl default_server", "[::]:443 ssl default_server"]
UNIT = [
    ("KillSignal", "SIGTERM"),
    ("Restart", "on-failure"),
    ("StartLimitIntervalSec", "0"),
    ("RestartPreventExitStatus", "64"),
    ("DynamicUser", "yes"),
    ("StateDirectoryMode", "0700"),
    ("UMask", "0077"),
    ("LimitNOFILE", "16384"),
]


def _values(unit, name):
    """Of a setting of a unit, all values as they are written."""
    return [one.strip() for one in re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)]


def environment(unit: str) -> dict[str, str]:
    """The variables in the unit: several may be on one line, and an empty line removes all before it."""
    found = {}
    for line in _values(unit, "Environment"):
        pairs = [one.partition("=") for one in shlex.split(line)]
        found = found | {name: value for name, _, value in pairs} if pairs else {}
    return found


def _size(text):
    number, unit = re.fullmatch(r"(\d+)([km]?)", text).groups()
    return int(number) * SIZES[unit]


def unit_faults(unit: str, known: set[str]) -> list[str]:
    """Breaches of the rules for the unit."""
    settings = {name.removeprefix("CLOAKROOM_"): value for name, value in environment(unit).items()}
    found = [f"CLOAKROOM_{name} is no setting" for name in settings if name not in known]
    found += [f"{one}: everyone can read a unit" for one in secret_faults(settings)]
    if not settings.get("LISTEN", "").startswith(("127.0.0.1:", "[::1]:")):
        found.append("CLOAKROOM_LISTEN must be on loopback: there is no TLS")
    needed = seconds(settings.get("DRAIN_DELAY", "0s")) + FINISH + MARGIN
    [stop] = _values(unit, "TimeoutStopSec") or ["0"]
    if float(stop) < needed:
        found.append(f"TimeoutStopSec is {stop}; it must be {needed:g} (contract 17.6)")
    state = f"/var/lib/{(_values(unit, 'StateDirectory') or [''])[0]}/"
    if not settings.get("KEY_FILE", "").startswith(state):
        found.append(f"CLOAKROOM_KEY_FILE must be in {state}, the only directory that the gateway may write")
    program = f"{(_values(unit, 'WorkingDirectory') or [''])[0]}/cloakroom"
    for name, expected in [*UNIT, ("ExecStart", program)]:
        if _values(unit, name) != [expected]:
            found.append(f"{name} is {_values(unit, name)}, not {expected}")
    return found


def site_faults(text: str, unit: str) -> list[str]:
    """Breaches of the rules for nginx."""
    site = nginx_file.parse(text)
    servers = site.named("server")
    if len(servers) != 3:
        return [f"there are {len(servers)} servers: one for other names, one without TLS, and the gateway's"]
    others, plain, gateway = servers
    return [*_other_names(others, plain), *_upstream(site, unit), *_server(gateway), *_locations(gateway)]


def _other_names(others, plain):
    for block, name, expected, why in [
        (others, "listen", DEFAULT_LISTEN, "any name leads to the gateway"),
        (others, "server_name", [], "any name leads to the gateway"),
        (others, "ssl_reject_handshake", ["on"], "any name leads to the gateway"),
        (others, "return", ["444"], "any name leads to the gateway"),
        (plain, "server_name", [NAME], "other names are redirected"),
        (plain, "return", [f"308 https://{NAME}$request_uri"], "cookies would travel without TLS"),
    ]:
        if block.values(name) != expected:
            yield f"{name} is {block.values(name)}, not {expected}: {why}"


def _upstream(site, unit):
    listen = environment(unit).get("CLOAKROOM_LISTEN", "")
    upstreams = [one.values("server") for one in site.named("upstream cloakroom")]
    if upstreams != [[listen]]:
        yield f"the upstream is {upstreams}, but CLOAKROOM_LISTEN of the unit is {listen}"
    for one in (value for block in site.all() for value in block.values("proxy_pass")):
        if one != "http://cloakroom":
            yield f"proxy_pass has {one}: with a path nginx sends another path than the browser's"
    if any("proxy_intercept_errors on" in block.directives for block in site.all()):
        yield "proxy_intercept_errors is on: pages of nginx replace the gateway's own errors"


def _server(gateway):
    for name, expected, why in REQUIRED:
        if gateway.values(name) != [expected]:
            yield f"{name} is {gateway.values(name)}, not {expected}: {why}"
    headers = [block.values("proxy_set_header") for block in gateway.all()]
    if sorted(one for values in headers for one in values) != sorted(HEADERS) or headers[0] == []:
        yield f"proxy_set_header is {headers}: the server must have {HEADERS}, and no location any"
    buffers = (gateway.values("large_client_header_buffers") or ["4 8k"])[0].split()[1]
    if _size(buffers) < COOKIES:
        yield f"large_client_header_buffers has {buffers}: cookies of {COOKIES} bytes do not fit"
    head = (gateway.values("proxy_buffer_size") or ["4k"])[0]
    if _size(head) < HEAD:
        yield f"proxy_buffer_size is {head}: a response may have a head of {HEAD} bytes"
    read = (gateway.values("proxy_read_timeout") or ["60s"])[0]
    if seconds(read) <= CALL:
        yield f"proxy_read_timeout is {read}: a call may take {CALL} s"


def _locations(gateway):
    expected = ["location /", "location = /auth/callback", "location = /.rejected"]
    if [one.words for one in gateway.blocks] != expected:
        yield f"the locations are {[one.words for one in gateway.blocks]}, not {expected}"
        return
    page, callback, rejected = gateway.blocks
    if page.directives != ["proxy_pass http://cloakroom"]:
        yield f"location / has {page.directives}: settings of its own replace those of the server"
    redirect = f'500 502 503 504 "https://{NAME}/?auth_error=login_failed#"'
    if callback.directives != ["proxy_pass http://cloakroom", f"error_page {redirect}"]:
        yield f"the callback must have error_page {redirect}, with a fragment of its own: a page could keep the code"
    policies = [one for one in rejected.values("add_header") if one.startswith("Content-Security-Policy ")]
    if "internal" not in rejected.directives or not any("; sandbox" in one and "always" in one for one in policies):
        yield "what nginx rejects by itself is not isolated: /.rejected must be internal, with a policy that has sandbox"
