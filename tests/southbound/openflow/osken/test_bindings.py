"""Which certificate may be which device: listed, by a datapath id in its name, or as the first to use it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flowlane.errors import ConfigError, ProtocolError
from flowlane.southbound.openflow.osken import bindings as module
from flowlane.southbound.openflow.osken.bindings import Bindings, Certificate, certificate_of


def shown(name: str, *dns_names: str) -> Certificate:
    return Certificate((("organizationName", "Open vSwitch"), ("commonName", name)), dns_names)


def refusal(bindings: Bindings, dpid: int, certificate: Certificate | None) -> str:
    try:
        bindings.check(dpid, certificate)
    except ProtocolError as error:
        return str(error)
    return ""


def test_a_certificate_owns_the_ids_that_it_was_the_first_to_use() -> None:
    bindings = Bindings()
    for dpid in (1, 2, 1):
        assert refusal(bindings, dpid, shown("host1 id:7c9a")) == ""
    assert "another certificate than that of host2" in refusal(bindings, 1, shown("host2"))
    assert refusal(bindings, 3, shown("host2")) == ""
    assert refusal(bindings, 1, shown("host1 id:7c9a")) == ""


def test_a_certificate_with_an_id_in_its_name_is_good_for_that_id_only() -> None:
    bindings = Bindings()
    assert refusal(bindings, 0xAB, shown("sw 00000000000000ab")) == ""
    assert "of another datapath id" in refusal(bindings, 0xAC, shown("sw 00000000000000ab"))
    assert refusal(bindings, 0xAC, shown("host2")) == ""
    assert refusal(bindings, 0xAC, shown("sw 00000000000000AC")) == "", "it states the id: it owns it"
    assert "another certificate" in refusal(bindings, 0xAC, shown("host2"))


def test_without_certificates_nothing_is_bound() -> None:
    bindings = Bindings()
    for certificate in (None, shown("host1"), None):
        assert refusal(bindings, 1, certificate) == ""


def test_no_more_than_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BOUND", 2)
    bindings = Bindings()
    for dpid in (1, 2, 1, 3):
        refusal(bindings, dpid, shown("host1"))
    assert refusal(bindings, 2, shown("host2")) == "", "the one not seen for longest is dropped"
    assert refusal(bindings, 3, shown("host2"))


def test_what_is_listed_counts_before_names_and_first_use() -> None:
    bindings = Bindings(["1=a", "0x2=a", "2= b ", "5=00000000000000ab"])
    assert bindings
    for dpid, certificate in (
        (1, shown("a")),
        (2, shown("c", "b")),
        (2, shown("a")),
        (9, shown("z")),
        (9, None),
    ):
        assert refusal(bindings, dpid, certificate) == ""
    assert refusal(bindings, 5, shown("00000000000000ab")) == "", (
        "an operator may list what its name does not say"
    )
    for dpid, certificate, why in (
        (1, shown("b"), "needs the certificate of a, not b"),
        (1, None, "needs the certificate of a, not no certificate"),
        (3, shown("a"), "is for other datapath ids than"),
        (9, shown("y"), "another certificate than that of y"),
        (7, Certificate(()), ""),
    ):
        assert why in refusal(bindings, dpid, certificate)
        assert bool(why) == bool(refusal(bindings, dpid, certificate))
    assert not Bindings()


@pytest.mark.parametrize("text", ["a", "1", "1=", "x=a", "-1=a", "1ffffffffffffffff=a", "=a"])
def test_a_listing_that_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give DPID=NAME"):
        Bindings([text])


def test_a_certificate_is_read_of_a_connection() -> None:
    read = {
        "subject": ((("organizationName", "Open vSwitch"),), (("commonName", "host1"),)),
        "subjectAltName": (("DNS", "h1.example"), ("URI", "x")),
    }
    certificate = certificate_of(SimpleNamespace(getpeercert=lambda: read))
    assert certificate is not None
    assert certificate.names == {"host1", "h1.example"}
    assert str(certificate) == "h1.example, host1"
    assert str(Certificate(())) == "without a name"
    assert certificate_of(SimpleNamespace(getpeercert=lambda: {})) is None
    assert certificate_of(object()) is None
