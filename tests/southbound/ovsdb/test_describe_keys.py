"""Every external id that the code reads or writes is explained in the reference page, with an example."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import flowlane
from flowlane.core.device.roles import TUNNELS, VIRTUAL_DRIVERS
from flowlane.core.model import PortRole, QueueKind, Role
from flowlane.southbound.ovsdb.schema import WATCHED

PACKAGE = Path(flowlane.__file__).parent
PAGE = (Path(__file__).parents[3] / "docs" / "operators" / "ovsdb-keys.md").read_text()
LOOKS_LIKE_A_KEY = re.compile(r"(?:flowlane|iface|attached|vm)-[a-z]+")
OTHERS = frozenset(("flowlane-manager", "vm-together"))
"""Text in the code that looks like a key: the program's name, keys of the policy."""


def keys_in_code() -> set[str]:
    """Text constants of the core and the southbound side that look like keys, or that external ids are read by."""
    keys: set[str] = set()
    for path in [*(PACKAGE / "core").rglob("*.py"), *(PACKAGE / "southbound").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys |= {node.value} if LOOKS_LIKE_A_KEY.fullmatch(node.value) else set()
            if isinstance(node, ast.Call) and re.search(
                r"\bids\.get$|external_ids\.get$", ast.unparse(node.func)
            ):
                argument = node.args[0]
                keys |= {str(argument.value)} if isinstance(argument, ast.Constant) else set()
    return keys - OTHERS


def test_every_key_has_a_row_and_an_example() -> None:
    keys = keys_in_code()
    assert {
        "flowlane-port",
        "flowlane-role",
        "flowlane-kind",
        "flowlane-class",
        "vm-name",
        "iface-id",
    } <= keys
    assert sorted(key for key in keys if f"| `{key}` |" not in PAGE) == []
    assert sorted(key for key in keys if f"external_ids:{key}=" not in PAGE) == []


def test_every_value_is_named() -> None:
    rows = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if line.startswith("| `")}
    for key, values in (("flowlane-port", PortRole), ("flowlane-role", Role)):
        assert all(f"`{value}`" in rows[f"`{key}`"] for value in values)
    assert all(
        f"`{kind.word}`" in rows["`flowlane-kind`"] for kind in (QueueKind.PHYSICAL, QueueKind.SOFTWARE)
    )


def test_every_column_that_the_watcher_reads_is_named() -> None:
    tables = ["Bridge", "Port", "Interface", "QoS", "Queue"]
    unnamed = [
        f"{t}.{c}"
        for t in tables
        for c in WATCHED[t]
        if f"`{c}" not in PAGE and c not in ("external_ids", "ports")
    ]
    assert unnamed == []


def test_examples_of_tunnels_and_drivers_are_what_the_code_has() -> None:
    assert {"vxlan", "geneve", "gre", "gtpu", "erspan"} <= TUNNELS
    assert {"tun", "veth", "openvswitch", "dummy"} <= VIRTUAL_DRIVERS
