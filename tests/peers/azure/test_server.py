"""Shows that check_server.py finds planted faults: run by `cargo dev check-infra`."""

import shutil

import check_server
from check_server import PAGE, SITE, UNIT
from planted import PROJECT, Planted

# File, what stands there first, what is planted instead, and what the check must say.
FAULTS = [
    # systemd itself.
    (UNIT, "ExecStart=/opt/cloakroom/cloakroom", "ExecStart=opt/cloakroom", "Neither a valid executable name nor an absolute path"),
    (UNIT, "ExecStart=/opt/cloakroom/cloakroom", "ExecStart=/usr/bin/cloakroom", "is not executable"),
    (UNIT, "Restart=on-failure", "Restart=failure", "Failed to parse service restart specifier"),
    (UNIT, "TimeoutStopSec=", "TimeoutStopSeconds=", "'TimeoutStopSeconds' in section"),
    (UNIT, "[Service]", "[Services]", "Unknown section 'Services'"),
    (UNIT, "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n", "", "exposes more of the machine"),
    (UNIT, "CapabilityBoundingSet=\n", "", "exposes more of the machine"),
    (UNIT, "PrivateDevices=yes\nPrivateTmp=yes\nPrivateUsers=yes\nProcSubset=pid\nProtectClock=yes\n", "",
     "Overall exposure level for cloakroom.service: "),
    # Rules for the unit.
    (UNIT, "CLOAKROOM_LISTEN=", "CLOAKROOM_LISTENS=", "CLOAKROOM_LISTENS is no setting"),
    (UNIT, "127.0.0.1:8080", "0.0.0.0:8080", "CLOAKROOM_LISTEN must be on loopback"),
    (UNIT, "RestartSec", "Environment=CLOAKROOM_CLIENT_SECRET=a\nRestartSec", "CLOAKROOM_CLIENT_SECRET is a secret"),
    (UNIT, "RestartSec", "Environment=CLOAKROOM_DRAIN_DELAY=10s\nRestartSec", "TimeoutStopSec is 20; it must be 23"),
    (UNIT, "TimeoutStopSec=20", "TimeoutStopSec=10", "TimeoutStopSec is 10; it must be 13"),
    (UNIT, "StateDirectory=cloakroom", "StateDirectory=gateway", "CLOAKROOM_KEY_FILE must be in /var/lib/gateway/"),
    (UNIT, "KillSignal=SIGTERM", "KillSignal=SIGINT", "KillSignal is ['SIGINT'], not SIGTERM"),
    (UNIT, "Restart=on-failure", "Restart=no", "Restart is ['no'], not on-failure"),
    (UNIT, "StartLimitIntervalSec=0", "StartLimitIntervalSec=10", "StartLimitIntervalSec is ['10'], not 0"),
    (UNIT, "RestartPreventExitStatus=64\n", "", "RestartPreventExitStatus is [], not 64"),
    (UNIT, "WorkingDirectory=/opt/cloakroom", "WorkingDirectory=/opt", "ExecStart is ['/opt/cloakroom/cloakroom'], not /opt/cloak"),
    (UNIT, "DynamicUser=yes\n", "User=daemon\n", "DynamicUser is [], not yes"),
    (UNIT, "StateDirectoryMode=0700", "StateDirectoryMode=0755", "StateDirectoryMode is ['0755'], not 0700"),
    (UNIT, "RestartSec", "Environment=CLOAKROOM_STORE=rediss://u:pw@h\nRestartSec", "CLOAKROOM_STORE is a secret"),
    (UNIT, "RestartSec", "Environment=CLOAKROOM_THREADS=2 CLOAKROOM_CLIENT_SECRET=a\nRestartSec", "CLOAKROOM_CLIENT_SECRET is"),
    (UNIT, "RestartSec", "Environment='CLOAKROOM_THREADS=2' \"CLOAKROOM_ENC_KEY=a\"\nRestartSec", "CLOAKROOM_ENC_KEY is a secret"),
    (UNIT, "RestartSec", "Environment=\nRestartSec", "CLOAKROOM_LISTEN must be on loopback"),
    (UNIT, "UMask=0077\n", "", "UMask is [], not 0077"),
    (UNIT, "LimitNOFILE=16384", "LimitNOFILE=64", "LimitNOFILE is ['64'], not 16384"),
    # nginx itself.
    (PAGE, "   sudo rm -f /etc/nginx/sites-enabled/default\n", "", "a duplicate default server for"),
    (SITE, "proxy_buffering off", "proxy_bufering off", 'unknown directive "proxy_bufering"'),
    (SITE, "keepalive 64;", "keepalive 64", "cloakroom.conf:"),
    (SITE, "proxy_busy_buffers_size 64k", "proxy_busy_buffers_size 16k", "proxy_busy_buffers_size"),
    (SITE, "http://cloakroom;", "http://gateway.invalid;", 'host not found in upstream "gateway.invalid"'),
    # Rules for nginx.
    (SITE, "server 127.0.0.1:8080", "server 127.0.0.1:8081", "but CLOAKROOM_LISTEN of the unit is 127.0.0.1:8080"),
    (SITE, "proxy_pass http://cloakroom;", "proxy_pass http://cloakroom/;", "with a path nginx sends another path"),
    (SITE, "proxy_http_version 1.1", "proxy_http_version 1.0", "connections are not used again"),
    (SITE, "    proxy_buffering off;\n", "", "server-sent events arrive at their end"),
    (SITE, "proxy_request_buffering off", "proxy_request_buffering on", "uploads are not streamed"),
    (SITE, "client_max_body_size 0", "client_max_body_size 1m", "the gateway has the limits of each API"),
    (SITE, "TLSv1.2 TLSv1.3", "TLSv1 TLSv1.2 TLSv1.3", "older versions are broken"),
    (SITE, "ssl_reject_handshake on", "ssl_reject_handshake off", "any name leads to the gateway"),
    (SITE, "return 308 https://", "return 308 http://", "cookies would travel without TLS"),
    (SITE, "buffers 4 16k", "buffers 4 8k", "large_client_header_buffers has 8k: cookies of 12000 bytes do not fit"),
    (SITE, "    large_client_header_buffers 4 16k;\n", "", "large_client_header_buffers has 8k"),
    (SITE, "proxy_buffer_size 64k", "proxy_buffer_size 32k", "proxy_buffer_size is 32k"),
    (SITE, "proxy_read_timeout 120s", "proxy_read_timeout 60s", "proxy_read_timeout is 60s: a call may take 100 s"),
    (SITE, 'login_failed#"', 'login_failed"', "error_page 500 502 503 504"),
    (SITE, "504 ", "", "the callback must have error_page 500 502 503 504"),
    (SITE, "503 ", "", "the callback must have error_page 500 502 503 504"),
    (SITE, "location = /auth/callback", "location = /auth/callbacks", "the locations are "),
    (SITE, "        proxy_pass http://cloakroom;\n    }\n\n    # While",
     "        proxy_pass http://cloakroom;\n        proxy_set_header Host $http_host;\n    }\n\n    # While", "location / has "),
    (SITE, "Host $host", "Host $proxy_host", "proxy_set_header is "),
    (SITE, "    proxy_set_header Host $host;\n", "", "proxy_set_header is "),
    (SITE, "    proxy_http_version", "    proxy_intercept_errors on;\n    proxy_http_version", "proxy_intercept_errors is on"),
    (SITE, "; sandbox", "", "what nginx rejects by itself is not isolated"),
    (SITE, "        internal;\n", "", "what nginx rejects by itself is not isolated"),
    (SITE, "    error_page 400 414 494 /.rejected;\n", "", "what nginx rejects by itself is not isolated"),
    (SITE, "    error_page 400 414 494 /.rejected;\n    location = /.rejected {\n",
     "    location = /.rejected {\n        error_page 400 414 494 /.rejected;\n", "what nginx rejects by itself is not isolated"),
    (SITE, " default_server", "", "any name leads to the gateway"),
    (SITE, "return 444", "return 200", "any name leads to the gateway"),
    (SITE, "    server_name app.example.org;\n\n", "    server_name _;\n\n", "other names lead to it"),
    (SITE, "upstream cloakroom {", "upstream gateway {\n    server 127.0.0.1:8080;\n}\n\nupstream cloakroom {\n    server 127.0.0.1:1;", "but CLOAKROOM_LISTEN of the unit"),
]  # fmt: skip


class Server(Planted):
    """check_server.py"""

    def setUp(self):
        super().setUp()
        shutil.copytree(PROJECT / "deploy", self.root / "deploy")
        for page in ("docs/configuration.md", PAGE):
            self.write(page, (PROJECT / page).read_text())

    def test_the_project_has_no_faults(self):
        code, output = self.run_check("check_server.py")
        self.assertEqual(code, 0, output)

    def test_every_planted_fault_is_reported(self):
        for path, old, new, expected in FAULTS:
            with self.subTest(old, planted=new):
                original = (self.root / path).read_text()
                self.assertIn(old, original, path)
                self.write(path, original.replace(old, new, 1))
                found = check_server.faults(self.root)
                self.write(path, original)
                self.assertTrue([line for line in found if expected in line], f"{expected!r} is not among {found}")

    def test_a_missing_program_is_a_fault(self):
        code, output = self.run_check("check_server.py", PATH=str(self.root))
        self.assertEqual(code, 1)
        self.assertIn("nginx is missing: apt-get install nginx-light", output)
