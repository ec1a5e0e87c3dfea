"""Rules of this project for the unit of systemd and the configuration of nginx: what must agree with the gateway."""

import re

from kubernetes_rules import FINISH, MARGIN, SECRETS, seconds

# A warning of newer versions of nginx about a directive that older ones need.
OLD_HTTP2 = 'the "listen ... http2" directive is deprecated'
SIZES = {"": 1, "k": 1024, "m": 1024 * 1024}
# The longest call of an API (docs/operations.md), in seconds, and the cookies of a session and ten sign-ins, in bytes.
CALL, COOKIES = 100, 12_000
# The head of a response that the gateway accepts of an API, in bytes.
HEAD = 64 * 1024


def _values(text, name):
    """Of a directive of nginx, or a setting of a unit, all values as they are written."""
    found = re.findall(rf"^\s*{name}(?:=|\s+)(.*?);?$", text, re.MULTILINE)
    return [re.sub(r"\s+", " ", one.strip()) for one in found]


def _size(text):
    number, unit = re.fullmatch(r"(\d+)([km]?)", text).groups()
    return int(number) * SIZES[unit]


def listen(unit: str) -> str:
    """The address in the unit."""
    settings = dict(one.partition("=")[::2] for one in _values(unit, "Environment"))
    return settings.get("CLOAKROOM_LISTEN", "")


def unit_faults(unit: str, known: set[str]) -> list[str]:
    """Breaches of the rules for the unit."""
    settings = {name.removeprefix("CLOAKROOM_"): value for name, _, value in map(_pair, _values(unit, "Environment"))}
    found = [f"CLOAKROOM_{name} is no setting" for name in settings if name not in known]
    found += [f"CLOAKROOM_{name} is a secret: everyone can read a unit" for name in settings if name in SECRETS]
    if not settings.get("LISTEN", "").startswith(("127.0.0.1:", "[::1]:")):
        found.append("CLOAKROOM_LISTEN must be on loopback: there is no TLS")
    needed = seconds(settings.get("DRAIN_DELAY", "0s")) + FINISH + MARGIN
    [stop] = _values(unit, "TimeoutStopSec") or ["0"]
    if float(stop) < needed:
        found.append(f"TimeoutStopSec is {stop}; it must be {needed:g} (contract 17.6)")
    state = f"/var/lib/{(_values(unit, 'StateDirectory') or [''])[0]}/"
    if not settings.get("KEY_FILE", "").startswith(state):
        found.append(f"CLOAKROOM_KEY_FILE must be in {state}, the only directory that the gateway may write")
    for name, expected in [
        ("KillSignal", "SIGTERM"),
        ("Restart", "on-failure"),
        ("StartLimitIntervalSec", "0"),
        ("RestartPreventExitStatus", "64"),
        ("ExecStart", f"{(_values(unit, 'WorkingDirectory') or [''])[0]}/cloakroom"),
        ("DynamicUser", "yes"),
        ("StateDirectoryMode", "0700"),
    ]:
        if _values(unit, name) != [expected]:
            found.append(f"{name} is {_values(unit, name)}, not {expected}")
    return found


def _pair(text):
    return text.partition("=")


def site_faults(site: str, unit: str) -> list[str]:
    """Breaches of the rules for nginx."""
    found = []
    if _values(site, "server")[:1] != [listen(unit)]:
        found.append(f"the upstream is {_values(site, 'server')[:1]}, but CLOAKROOM_LISTEN of the unit is {listen(unit)}")
    for one in _values(site, "proxy_pass"):
        if not re.fullmatch(r"http://\w+", one):
            found.append(f"proxy_pass has {one}: with a path nginx sends another path than the browser's")
    for name, expected, why in [
        ("proxy_http_version", "1.1", "connections are not used again"),
        ("proxy_buffering", "off", "server-sent events arrive at their end"),
        ("proxy_request_buffering", "off", "uploads are not streamed"),
        ("client_max_body_size", "0", "the gateway has the limits of each API"),
        ("ssl_protocols", "TLSv1.2 TLSv1.3", "older versions are broken"),
        ("ssl_reject_handshake", "on", "any name leads to the gateway"),
        ("return 308", "https://app.example.org$request_uri", "cookies would travel without TLS"),
    ]:
        if _values(site, name) != [expected]:
            found.append(f"{name} is {_values(site, name)}, not {expected}: {why}")
    buffers = (_values(site, "large_client_header_buffers") or ["4 8k"])[0].split()[1]
    if _size(buffers) < COOKIES:
        found.append(f"large_client_header_buffers has {buffers}: cookies of {COOKIES} bytes do not fit")
    head = (_values(site, "proxy_buffer_size") or ["4k"])[0]
    if _size(head) < HEAD:
        found.append(f"proxy_buffer_size is {head}: a response may have a head of {HEAD} bytes")
    read = (_values(site, "proxy_read_timeout") or ["60s"])[0]
    if seconds(read) <= CALL:
        found.append(f"proxy_read_timeout is {read}: a call may take {CALL} s")
    if not any(one.endswith('#"') for one in _values(site, "error_page 502 504")):
        found.append("the callback has no error_page with a fragment of its own: an authorization code could stay in a page")
    if not any("sandbox" in one for one in _values(site, "add_header Content-Security-Policy")):
        found.append("what nginx rejects by itself is not isolated")
    return found
