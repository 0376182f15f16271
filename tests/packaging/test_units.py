"""What systemd starts for the package works, and reports that it is ready where its unit says so."""

from __future__ import annotations

import configparser
import os
import shlex
import socket
import subprocess
from pathlib import Path

from support.installation import ROOT

UNIT = ROOT / "packaging" / "systemd" / "flowlane-ovsdb.service"


def test_the_proxy_to_the_database_serves_and_is_ready_where_systemd_waits_for_that(tmp_path: Path) -> None:
    """With Type=notify systemd ends a program that never reports to be ready, after 90 s, again and again."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read(UNIT)
    command = shlex.split(unit["Service"]["ExecStart"])[:-1]
    with (
        socket.socket(socket.AF_UNIX) as database,
        socket.socket(socket.AF_UNIX) as entrance,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
        socket.socket(socket.AF_UNIX) as client,
    ):
        for sock, name in ((database, "db"), (entrance, "entrance"), (notified, "notify")):
            sock.settimeout(10)
            sock.bind(str(tmp_path / name))
        database.listen()
        entrance.listen()
        # The socket is descriptor 3, and LISTEN_PID the program's own id, as systemd does it.
        script = f"exec 3<&{entrance.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec {shlex.join(command)} {tmp_path}/db"
        proxy = subprocess.Popen(
            ["bash", "-c", script],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            pass_fds=[entrance.fileno()],
        )
        try:
            client.settimeout(10)
            client.connect(str(tmp_path / "entrance"))
            served, _ = database.accept()
            with served:
                served.settimeout(10)
                client.sendall(b"[]")
                assert served.recv(16) == b"[]"
                served.sendall(b"{}")
                assert client.recv(16) == b"{}"
            if unit["Service"]["Type"] == "notify":
                assert b"READY=1" in notified.recv(4096)
        finally:
            proxy.kill()
            proxy.wait(10)
