"""What other os-ken apps beside Flowlane change for it: the OpenFlow versions, and what becomes of copied packets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from os_ken.controller.ofp_event import EventOFPPacketIn

from flowlane.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LOG = logging.getLogger(__name__)
OWN = "flowlane.app"
VERSIONS = {1: "1.0", 2: "1.1", 3: "1.2", 4: "1.3", 5: "1.4", 6: "1.5"}
"""Number of an OpenFlow version on the wire -> the version."""

PAGE = "docs/operators/beside-others.md"


def check(apps: Mapping[str, Any]) -> None:
    """Warn of what the apps beside Flowlane change for it; without Flowlane, or alone, it has nothing to say.

    Args:
        apps: name -> class of an app.

    Raises:
        ConfigError: there is no OpenFlow version that all apps support.
    """
    versions = {name: set(cls.OFP_VERSIONS) for name, cls in apps.items() if cls.OFP_VERSIONS}
    if versions and not set.intersection(*versions.values()):
        each = "; ".join(f"{name}: {_words(supported)}" for name, supported in versions.items())
        raise ConfigError(f"the apps support no OpenFlow version in common ({each})")
    if OWN not in apps:
        return
    for name, cls in apps.items():
        if name == OWN:
            continue
        lost = versions[OWN] - versions.get(name, versions[OWN])
        if lost:
            _LOG.warning(
                "app %s supports OpenFlow %s only: every switch is used by a version that all apps support, and "
                "Flowlane does without %s (%s)",
                name,
                _words(versions[name]),
                _words(lost),
                PAGE,
            )
        if _handles_packets(cls):
            _LOG.warning(
                "app %s handles packet-ins: Flowlane has switches send copies of packets that they have forwarded "
                "already, and an app that sends them on duplicates them (%s)",
                name,
                PAGE,
            )


def _words(versions: Iterable[int]) -> str:
    return ", ".join(VERSIONS.get(number, str(number)) for number in sorted(versions))


def _handles_packets(cls: Any) -> bool:
    """Whether a method of the class is a handler of packet-ins (``set_ev_cls`` notes that on it)."""
    handlers = (getattr(cls, name, None) for name in dir(cls))
    return any(EventOFPPacketIn in (getattr(handler, "callers", None) or ()) for handler in handlers)
