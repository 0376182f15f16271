from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import os_ken
import pytest
from os_ken.ofproto import ofproto_protocol

from flowlane.southbound.openflow.osken import lazy
from flowlane.southbound.openflow.session import decode
from flowlane.southbound.openflow.wire import table_features

PACKETS = Path(os_ken.__file__).parent / "tests" / "packet_data"
RECORDED = sorted(
    path for number in (13, 14, 15) for path in (PACKETS / f"of{number}").glob("*table_features*reply.packet")
)


def parse(data: bytes) -> list[Any]:
    ofproto, parser = ofproto_protocol._versions[data[0]]
    message = parser.msg_parser(SimpleNamespace(ofproto=ofproto), data[0], data[1], len(data), 0, data)
    return [table.to_jsondict()["OFPTableFeaturesStats"] for table in message.body]


@contextmanager
def lazy_tables() -> Iterator[None]:
    """Have os-ken's three classes parse lazily for the duration of the block."""
    kinds = [
        parser.OFPTableFeaturesStats
        for _, parser in ofproto_protocol._versions.values()
        if hasattr(parser, "OFPTableFeaturesStats")
    ]
    before = [dict(vars(kind)) for kind in kinds]
    lazy.install_lazy_tables()
    try:
        yield
    finally:
        for kind, attributes in zip(kinds, before, strict=True):
            for name in ("parser", "__getattr__", "stringify_attrs"):
                if name in attributes:
                    setattr(kind, name, attributes[name])
                elif name in vars(kind):
                    delattr(kind, name)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_same_as_read_at_once(path: Path) -> None:
    before = parse(path.read_bytes())
    with lazy_tables():
        after = parse(path.read_bytes())
    assert after == before
    assert any(table["properties"] for table in after)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_reply_is_the_same_as_read_at_once_and_its_sizes_are_read_by_its_bytes(path: Path) -> None:
    data = path.read_bytes()
    at_once = parse(data)
    lazy.install_lazy_multiparts()
    reply = lazy.read_multipart(SimpleNamespace(ofproto=ofproto_protocol._versions[data[0]][0]), data)
    assert dict(table_features.sizes(data)) == decode.table_sizes([reply])
    assert "body" not in vars(reply)
    assert [table.to_jsondict()["OFPTableFeaturesStats"] for table in reply.body] == at_once
    assert dict(table_features.sizes(data)) == {item["table_id"]: item["max_entries"] for item in at_once}


def test_recordings_are_there() -> None:
    assert len(RECORDED) >= 3
