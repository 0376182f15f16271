"""A network file as the expected topology: only its bridges and links count, and it needs no hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlane.topology.expected import load
from flowlane.topology.files import TopologyError

BRIDGES = """
bridges:
  br-ex: {dpid: "00000000000000a1", role: nic}
  tor: {dpid: "00000000000000c1", role: switch, controller: false}
"""


def test_a_file_without_hosts_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(BRIDGES + "links:\n  - [tor/down0, br-ex/pf0]\n")
    expected = load(path)
    assert expected.source == "net.yaml"
    assert expected.devices == {0xA1: "br-ex", 0xC1: "tor"}
    assert expected.uncontrolled == {0xC1}
    assert expected.links == (((0xA1, "pf0"), (0xC1, "down0")),)


@pytest.mark.parametrize("links", ["[[tor/down0, br-ex/pf0], [tor/down0, br-ex/pf1]]", "[[tor, br-ex]]"])
def test_a_wrong_file_is_refused(tmp_path: Path, links: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(f"{BRIDGES}links: {links}\n")
    with pytest.raises(TopologyError, match=r"down0 is in use twice|is wrong"):
        load(path)
