"""Which connection a datapath id belongs to, where several claim it.

The first owner stays unless it is silent: a second connection waits while the first is asked for a sign of life. Where
one comes, the second is closed; else it takes the place of the first, which was dead: a switch that has lost its power
connects again before TCP has noticed.

Where switches show certificates, these bind ids. A common name with a datapath id in it (16 hexadecimal digits) is good
for that id only. Any other certificate owns the ids that it was the first to use, for as long as the controller runs;
it is known by its subject, so that it may be renewed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SILENT_AFTER = 3.0
"""Seconds that an owner has for a sign of life once another connection claims its datapath id."""

MOST_BOUND = 16_384
"""Datapath ids whose certificates are known at most; the oldest are dropped."""

_DPID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{16}(?![0-9A-Fa-f])")
Subject = tuple[tuple[str, str], ...]


class Claim(NamedTuple):
    """A connection that waits for the place of another, and since when that is asked for a sign of life."""

    datapath: Any
    asked: float


class Claims:
    """The connections that wait, one for each datapath id."""

    def __init__(self) -> None:
        self._by_dpid: dict[int, Claim] = {}

    def add(self, datapath: Any, now: float) -> Any:
        """Add a connection; return the one that waited before for the same id, or None.

        The owner gets no more time by a new claim.
        """
        before = self._by_dpid.get(datapath.id)
        self._by_dpid[datapath.id] = Claim(datapath, now if before is None else before.asked)
        return None if before is None else before.datapath

    def take(self, dpid: int) -> Any:
        """Remove and return the connection that waits for an id; None when there is none."""
        claim = self._by_dpid.pop(dpid, None)
        return None if claim is None else claim.datapath

    def drop(self, datapath: Any) -> bool:
        """Remove a connection that has ended; return whether it waited."""
        claim = self._by_dpid.get(datapath.id)
        if claim is None or claim.datapath is not datapath:
            return False
        del self._by_dpid[datapath.id]
        return True

    def __iter__(self) -> Iterator[tuple[int, Claim]]:
        return iter(list(self._by_dpid.items()))


class Certificates:
    """The certificates that own datapath ids."""

    def __init__(self) -> None:
        self._subjects: dict[int, Subject] = {}

    def refusal(self, datapath: Any) -> str:
        """Return why a connection may not have its datapath id; empty where it may, or shows no certificate."""
        subject = _subject_of(datapath.socket)
        if subject is None:
            return ""
        names = [value for key, value in subject if key == "commonName"]
        shown = ", ".join(names) or "without a common name"
        stated = [int(found, 16) for name in names for found in _DPID.findall(name)]
        if stated and datapath.id not in stated:
            return f"its certificate ({shown}) is of another datapath id"
        owner = self._subjects.get(datapath.id)
        if owner not in (None, subject) and not stated:
            return f"the datapath id is used with another certificate than this one ({shown})"
        self._subjects.pop(datapath.id, None)
        self._subjects[datapath.id] = subject
        if len(self._subjects) > MOST_BOUND:
            del self._subjects[next(iter(self._subjects))]
        return ""


def _subject_of(socket: Any) -> Subject | None:
    """Return the subject of the certificate that a peer has shown and that was verified; None without one."""
    peer_certificate: Callable[[], Any] | None = getattr(socket, "getpeercert", None)
    certificate = None if peer_certificate is None else peer_certificate()
    if not certificate:
        return None
    return tuple((str(key), str(value)) for part in certificate.get("subject", ()) for key, value in part)
