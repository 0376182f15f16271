"""Which certificate of a switch may be which device, decided in one place when a switch states its datapath id.

A certificate is bound to datapath ids in three ways, the first that says anything counts:

1. An operator lists it with ``--switch-certificate DPID=NAME``: a datapath id that is listed needs one of its
   certificates, and a certificate that is listed may be its datapath ids only.
2. Its common name has a datapath id in it (16 hexadecimal digits): it is good for that id only.
3. It was the first to use the id, since the controller runs. It is known by its subject, so that it may be renewed.
   Open vSwitch's ovs-pki(8) puts no datapath id in a certificate, and one certificate serves all bridges of a host.

A connection without a certificate that was verified (TCP, or TLS without ``--ca-certs``) may have any id that is not
listed; where ids are listed, certificates are asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_BOUND = 16_384
"""Datapath ids whose certificates are known at most by their first use; the oldest are dropped."""

_MAX_DPID = 0xFFFFFFFFFFFFFFFF
_DPID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{16}(?![0-9A-Fa-f])")


class Certificate(NamedTuple):
    """What a peer has shown and was verified: all of its subject, its common names, and its DNS names."""

    subject: tuple[tuple[str, str], ...]
    dns_names: tuple[str, ...] = ()

    @property
    def common_names(self) -> list[str]:
        """The common names of its subject: one, as a rule."""
        return [value for key, value in self.subject if key == "commonName"]

    @property
    def names(self) -> frozenset[str]:
        """The names by which ``--switch-certificate`` lists it."""
        return frozenset((*self.common_names, *self.dns_names))

    @property
    def stated(self) -> list[int]:
        """The datapath ids in its common names."""
        return [int(found, 16) for name in self.common_names for found in _DPID.findall(name)]

    def __str__(self) -> str:
        """Return its names for people."""
        return ", ".join(sorted(self.names)) or "without a name"


def certificate_of(sock: Any) -> Certificate | None:
    """Return the certificate that the other end of a connection has shown; None where none was verified."""
    read: Callable[[], Any] | None = getattr(sock, "getpeercert", None)
    shown = None if read is None else read()
    if not shown:
        return None
    subject = tuple((str(key), str(value)) for part in shown.get("subject", ()) for key, value in part)
    dns_names = tuple(str(value) for kind, value in shown.get("subjectAltName", ()) if kind == "DNS")
    return Certificate(subject, dns_names)


class Bindings:
    """Which certificates may be which devices.

    Args:
        texts: values of ``--switch-certificate``, each ``DPID=NAME``.

    Raises:
        ConfigError: one of them is not.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._listed: dict[int, set[str]] = {}
        """dpid -> names of certificates that may be it."""
        self._first: dict[int, tuple[tuple[str, str], ...]] = {}
        """dpid -> subject of the certificate that was the first to use it; the one that was used last comes last."""
        for text in texts:
            dpid, equals, name = text.partition("=")
            try:
                number = int(dpid, 16)
            except ValueError:
                number = -1
            if not (equals and name.strip() and 0 <= number <= _MAX_DPID):
                raise ConfigError(
                    f"--switch-certificate {text}: give DPID=NAME, a datapath id of up to 16 hexadecimal digits and "
                    "the common name or a DNS name of a certificate"
                )
            self._listed.setdefault(number, set()).add(name.strip())

    def __bool__(self) -> bool:
        """Whether certificates are listed."""
        return bool(self._listed)

    def check(self, dpid: int, certificate: Certificate | None) -> None:
        """Check that a connection with this certificate may be a device; bind the certificate where it is the first.

        Raises:
            ProtocolError: it may not.
        """
        if self._is_listed(dpid, certificate) or certificate is None:
            return
        stated = certificate.stated
        if stated and dpid not in stated:
            raise ProtocolError(
                f"the certificate of {certificate} is of another datapath id than {dpid:016x}"
            )
        if not stated and self._first.get(dpid, certificate.subject) != certificate.subject:
            raise ProtocolError(
                f"datapath id {dpid:016x} is used with another certificate than that of {certificate}"
            )
        self._first.pop(dpid, None)
        self._first[dpid] = certificate.subject
        if len(self._first) > MOST_BOUND:
            del self._first[next(iter(self._first))]

    def _is_listed(self, dpid: int, certificate: Certificate | None) -> bool:
        """Whether an operator has listed that a certificate may be a device.

        Raises:
            ProtocolError: it was listed that it may not.
        """
        names = frozenset[str]() if certificate is None else certificate.names
        allowed = self._listed.get(dpid)
        if allowed is not None:
            if not names & allowed:
                shown = "no certificate" if certificate is None else str(certificate)
                raise ProtocolError(
                    f"datapath id {dpid:016x} needs the certificate of {', '.join(sorted(allowed))}, not {shown}"
                )
            return True
        if any(names & listed for listed in self._listed.values()):
            raise ProtocolError(
                f"the certificate of {certificate} is for other datapath ids than {dpid:016x}"
            )
        return False
