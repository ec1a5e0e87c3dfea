"""Checks the files for a server without containers: the unit by systemd-analyze, the configuration of nginx by nginx, and
both by rules of the project.

    python check_server.py [--root FOLDER]
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import server_rules
from check_templates import known_settings

PROJECT = Path(__file__).resolve().parents[3]
UNIT, SITE, PAGE = "deploy/systemd/cloakroom.service", "deploy/nginx/cloakroom.conf", "docs/deploy-server.md"
# The most exposure that `systemd-analyze security` may find, in tenths; it goes from 0 to 100.
EXPOSURE = 15
# The programs, with the packages of Debian that have them.
PROGRAMS = {"nginx": "nginx-light", "openssl": "openssl", "systemd-analyze": "systemd"}
# A configuration around the site's, for a process without root.
AROUND = """\
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
    include {folder}/sites-enabled/*;
}}
"""
# Debian's default site, and the command that removes it.
DEFAULT_SITE = "server {\n    listen 80 default_server;\n    listen [::]:80 default_server;\n    server_name _;\n}\n"
REMOVAL = "sudo rm -f /etc/nginx/sites-enabled/default"


def run(*command) -> tuple[int, str]:
    """The exit code of a program, and all that it prints."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([str(one) for one in command], text=True, timeout=60, check=False, **streams)
    return done.returncode, done.stdout


def unit_faults(unit: Path) -> list[str]:
    """What systemd-analyze reports. It requires that the program exists, so that a copy names one that does."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / unit.name
        copy.write_text(re.sub(r"^ExecStart=/opt/\S+", f"ExecStart={shutil.which('true')}", unit.read_text(), flags=re.M))
        code, verified = run("systemd-analyze", "verify", copy)
        # It also prints what is wrong with other units of the machine.
        found = [line for line in verified.splitlines() if unit.name in line or code and "cloakroom" in line]
        if code and not found:
            found.append(f"systemd-analyze verify: exit code {code}: {verified.strip()}")
        code, report = run("systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE}", copy)
        if code:
            found.append(f"{unit.name} exposes more of the machine than it may: {report.strip().splitlines()[-1]}")
    return [line.replace(folder, "") for line in found]


def _without_ports(text, folder):
    """Sockets in place of ports, which only root may take, and which may be in use."""
    text = re.sub(r"^( *listen) \[::\]:", rf"\1 unix:{folder}/ipv6-", text, flags=re.M)
    return re.sub(r"^( *listen) (?=\d)", rf"\1 unix:{folder}/", text, flags=re.M)


def site_faults(site: Path, page: Path) -> list[str]:
    """What nginx reports of the configuration after the steps of the page on Debian, with a certificate of a day."""
    with tempfile.TemporaryDirectory() as name:
        folder, text = Path(name), site.read_text()
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=example"]
        run("openssl", "req", "-x509", *options, "-keyout", key, "-out", certificate)
        text = re.sub(r"(ssl_certificate_key) [^;]+;", rf"\1 {key};", text)
        text = re.sub(r"(ssl_certificate) [^;]+;", rf"\1 {certificate};", text)
        for place in ("conf.d", "sites-enabled"):
            (folder / place).mkdir()
        (folder / "conf.d" / site.name).write_text(_without_ports(text, folder))
        if REMOVAL not in page.read_text():
            (folder / "sites-enabled/default").write_text(_without_ports(DEFAULT_SITE, folder))
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
        code, printed = run("nginx", "-t", "-q", "-c", folder / "nginx.conf")
        lines = [line.replace(f"{folder}/", "") for line in printed.splitlines() if server_rules.OLD_HTTP2 not in line]
        return lines if lines or not code else [f"nginx -t: exit code {code}"]


def faults(root: Path) -> list[str]:
    """All faults."""
    missing = [f"{one} is missing: apt-get install {package}" for one, package in PROGRAMS.items() if not shutil.which(one)]
    if missing:
        return missing
    unit, site = root / UNIT, root / SITE
    found = [f"{UNIT}: {one}" for one in unit_faults(unit) + server_rules.unit_faults(unit.read_text(), known_settings(root))]
    texts = site_faults(site, root / PAGE) + server_rules.site_faults(site.read_text(), unit.read_text())
    return found + [f"{SITE}: {one}" for one in texts]


def main():
    """Prints the faults; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=PROJECT)
    found = faults(parser.parse_args().root)
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
