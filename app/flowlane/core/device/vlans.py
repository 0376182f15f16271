"""VLANs of frames inside of a bridge, and their tags outside of it, by the VLAN settings of ports.

The settings are those of ovs-vswitchd.conf.db(5), table Port: ``vlan_mode``, ``tag``, ``trunks``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.model import PortFacts

Vlan = int | None

ANY = None
"""VLAN of a frame that may be tagged or not, as the sender sends it."""

UNTAGGED = 0

NATIVE = ("native-tagged", "native-untagged")


def mode(facts: PortFacts | None) -> str:
    """Return the VLAN mode of a port; a port without settings carries all VLANs."""
    if facts is None:
        return "trunk"
    return facts.vlan_mode or ("trunk" if facts.tag is None else "access")


def native_vlan(facts: PortFacts | None) -> int:
    """Return the VLAN of untagged frames of a port."""
    return facts.tag or UNTAGGED if facts else UNTAGGED


def sent_by(facts: PortFacts | None) -> tuple[Vlan, ...]:
    """List the VLANs inside of the bridge of what a host sends by a port."""
    of_port = mode(facts)
    if of_port in NATIVE:
        return (native_vlan(facts), ANY)
    return (ANY,) if of_port == "trunk" else (native_vlan(facts),)


def entering(facts: PortFacts | None, vlan: Vlan) -> tuple[Vlan, ...]:
    """Return the VLAN inside of a bridge of frames that come in by a port with a tag; none if they are dropped."""
    of_port, tag = mode(facts), native_vlan(facts)
    if of_port == "dot1q-tunnel" or (of_port != "trunk" and vlan == UNTAGGED):
        return (tag,)
    if of_port == "access":
        return (tag,) if vlan is ANY else ()
    allowed = facts is None or not facts.trunks or vlan is ANY or vlan in facts.trunks
    return (vlan,) if allowed else ()


def tags(facts: PortFacts | None, vlan: Vlan) -> tuple[Vlan, ...]:
    """List the tags with which frames of a VLAN come in by a port; ANY: with any tag, and without."""
    if vlan is ANY or (mode(facts) == "dot1q-tunnel" and vlan == native_vlan(facts)):
        return (ANY,)
    return tuple(tag for tag in dict.fromkeys((UNTAGGED, vlan)) if vlan in entering(facts, tag))
