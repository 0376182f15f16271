"""Switches over TLS as docs/guides/tls.md sets it up: ovs-pki, a real Open vSwitch, refusals at both ends."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.pki import authority, pki

from flowlane import hub
from flowlane.southbound.openflow.osken import listener
from flowlane.southbound.openflow.osken.bindings import Bindings
from flowlane.southbound.openflow.osken.tls import Files, ServerTls

__all__ = ["pki"]

BOUND, OTHERS, FREE = 0x42, 0x43, 0x44


@contextmanager
def manager_with(pki: Path, name: str, *options: str) -> Iterator[tuple[Launched, int]]:
    """A controller with the certificate of a name, and its port for TLS."""
    files = [f"--ctl-privkey={pki}/{name}-privkey.pem", f"--ctl-cert={pki}/{name}-cert.pem"]
    checked = f"--ca-certs={authority(pki, 'switch')}"
    with launched(*files, checked, "--ofp-ssl-listen-port=0", *options) as manager:
        lines = [line for line in manager.log.splitlines() if "listening for switches" in line]
        yield manager, int(lines[-1].split()[-1])


def use_certificate(ovs: PrivateOvs, pki: Path, name: str) -> None:
    files = (pki / f"{name}-privkey.pem", pki / f"{name}-cert.pem", authority(pki, "controller"))
    ovs.vsctl("set-ssl", *map(str, files))


def connected(manager: Launched) -> set[str]:
    items: list[Any] = manager.rest("/v1/devices")["items"]
    return {item["dpid"] for item in items if item["connected"]}


@pytest.mark.ovs
def test_certificates_are_needed_and_bound_to_datapath_ids(ovs: PrivateOvs, pki: Path) -> None:
    bound = (f"--switch-certificate={BOUND:x}=host1", f"--switch-certificate={OTHERS:x}=host2")
    use_certificate(ovs, pki, "host1")
    with manager_with(pki, "ctl", *bound) as (manager, port):
        for name, dpid in (("br-bound", BOUND), ("br-others", OTHERS), ("br-free", FREE)):
            ovs.add_bridge(name, (f"{name}1",), dpid=dpid, controller=f"ssl:127.0.0.1:{port}")
        wait_for(lambda: connected(manager) == {f"{BOUND:016x}"}, 20, manager.log)
        refusals = (
            f"datapath id {OTHERS:016x} needs the certificate of host2, not host1; connection closed",
            f"the certificate of host1 is for other datapath ids than {FREE:016x}; connection closed",
        )
        for refusal in refusals:
            wait_for(lambda text=refusal: text in manager.log, 20, manager.log)  # type: ignore[misc]
        assert connected(manager) == {f"{BOUND:016x}"}
        # The switch shows a certificate that nobody has signed: it is refused when it connects again.
        use_certificate(ovs, pki, "stranger")
        ovs.vsctl("del-controller", "br-bound")
        wait_for(lambda: not connected(manager), 20, manager.log)
        ovs.vsctl("set-controller", "br-bound", f"ssl:127.0.0.1:{port}")
        wait_for(lambda: "TLS failed" in manager.log, 20, manager.log)
        assert not connected(manager)
        assert "Traceback" not in manager.log


@pytest.mark.ovs
def test_a_controller_that_nobody_has_signed_is_refused_by_the_switch(ovs: PrivateOvs, pki: Path) -> None:
    use_certificate(ovs, pki, "host1")
    with manager_with(pki, "stranger") as (manager, port):
        ovs.add_bridge("br-careful", ("c1",), dpid=0x45, controller=f"ssl:127.0.0.1:{port}")
        # The alert is the switch's (RFC 8446, 6.2).
        wait_for(lambda: "alert unknown ca" in manager.log, 20, manager.log)
        assert connected(manager) == set()
        assert ovs.vsctl("get", "Controller", "br-careful", "is_connected").strip() == "false"
    ovs.vsctl("del-br", "br-careful")


def test_a_handshake_that_goes_on_for_ever_is_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each read may take as long as a socket waits, and a peer may send a byte just before that."""
    closed: list[bool] = []
    sock = SimpleNamespace(settimeout=lambda _seconds: None, close=lambda: closed.append(True))
    monkeypatch.setattr(listener, "HANDSHAKE_TIME", 0.05)
    monkeypatch.setattr(listener, "CONF", SimpleNamespace(socket_timeout=5.0))
    listener._wrap_and_serve(sock, ("192.0.2.8", 1), lambda _sock: hub.sleep(60), Bindings())
    assert closed == [True]
    assert "switch at 192.0.2.8:1: TLS failed: no handshake within 0.05 s" in caplog.text


def test_renewed_files_count_and_broken_ones_do_not(
    keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes((keys / "key.pem").read_bytes())
    certificate.write_bytes((keys / "cert.pem").read_bytes())
    server = ServerTls(Files(str(key), str(certificate)))
    first = server._context
    server._renew()
    assert server._context is first
    os.utime(certificate, (1, 1))
    server._renew()
    second = server._context
    assert second is not first
    assert second.minimum_version is ssl.TLSVersion.TLSv1_2
    certificate.write_text("broken")
    server._renew()
    assert server._context is second
    assert "the files have changed and cannot be used" in caplog.text
