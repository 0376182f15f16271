from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import os_ken
import pytest
from os_ken.ofproto import ofproto_protocol

from flowlane.southbound.openflow.osken import lazy

PACKETS = Path(os_ken.__file__).parent / "tests" / "packet_data"
RECORDED = sorted(
    path for number in (13, 14, 15) for path in (PACKETS / f"of{number}").glob("*table_features*reply.packet")
)


def parse(data: bytes) -> list[Any]:
    ofproto, parser = ofproto_protocol._versions[data[0]]
    message = parser.msg_parser(SimpleNamespace(ofproto=ofproto), data[0], data[1], len(data), 0, data)
    return [table.to_jsondict()["OFPTableFeaturesStats"] for table in message.body]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_same_as_read_at_once(path: Path) -> None:
    before = parse(path.read_bytes())
    version = path.read_bytes()[0]
    kind = ofproto_protocol._versions[version][1].OFPTableFeaturesStats
    old = kind.__dict__["parser"]
    lazy.install_lazy_tables()
    try:
        after = parse(path.read_bytes())
    finally:
        kind.parser = old
        del kind.__getattr__, kind.stringify_attrs
    assert after == before
    assert any(table["properties"] for table in after)


def test_recordings_are_there() -> None:
    assert len(RECORDED) >= 3
