"""Certificates that own datapath ids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flowlane.southbound.openflow.session import owners
from flowlane.southbound.openflow.session.owners import Certificates


def connection(dpid: int, name: str | None) -> Any:
    """A connection, over TLS with a certificate of a common name; None: over TCP."""
    if name is None:
        return SimpleNamespace(id=dpid, socket=SimpleNamespace())
    certificate = {"subject": ((("organizationName", "Open vSwitch"),), (("commonName", name),))}
    return SimpleNamespace(id=dpid, socket=SimpleNamespace(getpeercert=lambda: certificate))


def test_a_certificate_owns_the_ids_that_it_was_the_first_to_use() -> None:
    certificates = Certificates()
    for dpid in (1, 2, 1):
        assert certificates.refusal(connection(dpid, "host1 id:7c9a")) == ""
    assert "another certificate than this one (host2)" in certificates.refusal(connection(1, "host2"))
    assert certificates.refusal(connection(3, "host2")) == ""
    assert certificates.refusal(connection(1, "host1 id:7c9a")) == ""


def test_a_certificate_with_an_id_in_its_name_is_good_for_that_id_only() -> None:
    certificates = Certificates()
    assert certificates.refusal(connection(0xAB, "sw 00000000000000ab")) == ""
    assert "of another datapath id" in certificates.refusal(connection(0xAC, "sw 00000000000000ab"))
    assert certificates.refusal(connection(0xAC, "host2")) == ""
    assert certificates.refusal(connection(0xAC, "sw 00000000000000AC")) == "", "it states the id: it owns it"
    assert "another certificate" in certificates.refusal(connection(0xAC, "host2"))


def test_without_certificates_nothing_is_bound() -> None:
    certificates = Certificates()
    for name in (None, "host1", None):
        assert certificates.refusal(connection(1, name)) == ""


def test_no_more_than_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "MOST_BOUND", 2)
    certificates = Certificates()
    for dpid in (1, 2, 1, 3):
        certificates.refusal(connection(dpid, "host1"))
    assert certificates.refusal(connection(2, "host2")) == "", "the one not seen for longest is dropped"
    assert certificates.refusal(connection(3, "host2"))
