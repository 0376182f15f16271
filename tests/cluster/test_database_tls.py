"""Flowlane's database over TLS, as docs/operators/several-controllers.md sets it up: real ovsdb-servers, ovs-pki."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from lab.inside.database_servers import DatabaseServers, database
from lab.inside.manager import Launched, free_port, launched
from support.ovs.pki import authority, pki

from flowlane import hub
from flowlane.cli.main import main
from flowlane.cluster.database import Copy
from flowlane.southbound.ovsdb.remote import TlsFiles, read_target

__all__ = ["pki"]


class Secured:
    """A cluster whose servers speak TLS with each other and with controllers, and one that poses as it."""

    def __init__(self, servers: DatabaseServers, ports: list[int], impostor: int) -> None:
        self.servers, self._ports = servers, ports
        self.target = f"cluster:{','.join(f'ssl:127.0.0.1:{port}' for port in ports)}"
        self.impostor = f"ssl:127.0.0.1:{impostor}"

    def start(self, number: int) -> None:
        self.servers.start(number, f"--remote=pssl:{self._ports[number]}:127.0.0.1")


def files(pki: Path, name: str, kind: str = "controller") -> TlsFiles:
    """The files of a name; peers have to be signed by the authority of a kind."""
    return TlsFiles(f"{pki}/{name}-privkey.pem", f"{pki}/{name}-cert.pem", str(authority(pki, kind)))


def server_options(given: TlsFiles) -> tuple[str, ...]:
    return tuple(
        f"--{option}={file}"
        for option, file in zip(("private-key", "certificate", "ca-cert"), given, strict=True)
    )


@pytest.fixture(scope="module")
def secured(pki: Path) -> Iterator[Secured]:
    addresses = tuple(f"ssl:127.0.0.1:{free_port()}" for _ in range(3))
    ports, other = [free_port() for _ in addresses], free_port()
    with (
        database(addresses, server_options(files(pki, "ctl"))) as servers,
        database(options=(*server_options(files(pki, "host1")), f"--remote=pssl:{other}:127.0.0.1")),
    ):
        made = Secured(servers, ports, other)
        for number in range(len(ports)):
            servers.kill(number)
            made.start(number)
        servers.wait_for_all()
        yield made


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        hub.sleep(0.01)


def is_ready(manager: Launched) -> bool:
    try:
        return bool(manager.rest("/readyz")["ok"])
    except HTTPError:
        return False


def test_a_controller_and_the_command_line_reach_a_database_that_shows_its_certificate(
    secured: Secured, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The certificate of switches is checked by another authority than that of the database."""
    key, certificate, ca = files(pki, "ctl")
    options = (f"--ctl-privkey={key}", f"--ctl-cert={certificate}", f"--ca-certs={authority(pki, 'switch')}")
    where = ("--database", secured.target)
    with launched(f"--database={secured.target}", f"--database-ca={ca}", "--member=a", *options) as manager:
        wait_for(lambda: [item["name"] for item in manager.rest("/v1/members")["items"]] == ["a"])
        words = ("--private-key", str(key), "--certificate", str(certificate), "--ca-cert", str(ca), *where)
        assert main(["token", "add", "alice", "--scope", "read", *words]) == 0
        assert "alice may read" in capsys.readouterr().err
        assert main(["token", "remove", "alice", "--admit-everybody", *words]) == 0
        lost = secured.servers.leader()
        secured.servers.kill(lost)
        wait_for(lambda: is_ready(manager))
        secured.start(lost)
    assert main(["token", "list", *where]) == 1
    assert "needs a private key, a certificate and a CA certificate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "trusted", "poses", "problem"),
    [
        ("ctl", "controller", True, "the certificate is not accepted"),
        ("ctl", "switch", False, "the certificate is not accepted"),
        ("host1", "controller", False, "TLSV1_ALERT_UNKNOWN_CA"),
        ("stranger", "controller", False, "TLSV1_ALERT_UNKNOWN_CA"),
    ],
    ids=["a switch poses as the database", "another CA", "a switch's certificate", "nobody's certificate"],
)
def test_whoever_is_not_signed_is_refused_at_either_end(
    secured: Secured, pki: Path, name: str, trusted: str, poses: bool, problem: str
) -> None:
    target = read_target(secured.impostor if poses else secured.target, tls=files(pki, name, trusted))
    copy = Copy(target, lambda tables: None)
    copy.start()
    wait_for(lambda: problem in copy.problem)
    assert not copy.is_synchronized
    assert copy.rows["Member"] == {}
    copy.stop()
