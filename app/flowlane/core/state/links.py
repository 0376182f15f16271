"""Links between two ports of devices, as probes show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

End = tuple[int, int]
"""(dpid, port number)."""


class LinkState(StrEnum):
    """State of a link.

    ``down``: a port at an end is down, or gone. ``unconfirmed``: both ports are up, but no probe has crossed the link
    since they are, or for a long time.
    """

    UP = "up"
    DOWN = "down"
    UNCONFIRMED = "unconfirmed"


@dataclass(slots=True)
class SeenLink:
    """A link that a probe has crossed; ``ends`` in order of dpid and port number.

    ``since``: when it got its ``state``. ``probed``: end -> when a probe came in there last.
    """

    ends: tuple[End, End]
    since: float
    state: LinkState = LinkState.UP
    probed: dict[End, float] = field(default_factory=dict)

    def other(self, end: End) -> End:
        """Return the end opposite to one."""
        return self.ends[1] if end == self.ends[0] else self.ends[0]
