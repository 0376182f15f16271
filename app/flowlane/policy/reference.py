"""Reference of the policy language: Markdown tables, made from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flowlane.policy.structure import current, schema

SECTIONS = (
    ("The document", ()),
    ("A class: `classes: NAME:`", ("class",)),
    ("A rule: `rules:`", ("rule",)),
    ("What a rule matches: `rules: match:`", ("match",)),
    ("VMs: `vm:`", ("vms",)),
    ("A share: `shares:`", ("share",)),
    ("Trust: `trust:`", ("trustEntry",)),
    ("A device: `devices:`", ("deviceEntry",)),
    ("Which devices: `devices: match:`", ("deviceEntry", "match")),
    ("What is different there: `devices: change: NAME:`", ("change",)),
    ("A passive switch: `passive-switches:`", ("passiveSwitch",)),
    ("Its ports: `passive-switches: ports:`", ("passivePort",)),
    ("A queue there: `passive-switches: ports: queues: ID:`", ("passiveQueue",)),
    ("What it is behind: `passive-switches: behind:`", ("behind",)),
    ("`balance:`", ("balance",)),
    ("`pins:`", ("pins",)),
    ("Extra addresses: `extra-addresses:`", ("extraAddresses",)),
)
"""Headings, and where in the schema the keys of the section are."""


def reference() -> str:
    """Write all tables as Markdown."""
    return "\n".join(line for title, place in SECTIONS for line in _section(title, place))


def _section(title: str, place: tuple[str, ...]) -> Iterator[str]:
    node = _find(place)
    required = node.get("required", ())
    yield from (f"### {title}", "", "| key | value | default | meaning |", "| --- | --- | --- | --- |")
    for key, reference_node in current(node["properties"]).items():
        value = {**_resolved(reference_node), **reference_node}
        default = "required" if key in required else _default(value)
        yield f"| `{key}` | {_value(value)} | {default} | {value.get('description', '')} |"
    yield ""


def _find(place: tuple[str, ...]) -> dict[str, Any]:
    node: dict[str, Any] = schema()
    if place:
        node = node["$defs"][place[0]]
    for key in place[1:]:
        node = node["properties"][key]
    return node


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    reference_to = node.get("$ref", "")
    return dict(schema()["$defs"][reference_to.removeprefix("#/$defs/")]) if reference_to else {}


def _default(node: dict[str, Any]) -> str:
    default = node.get("default", "")
    return "" if default == "" else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _value(node: dict[str, Any]) -> str:
    """Describe what values a key takes: the words, else the schema's title with bounds and an example."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{word}`" for word in node["enum"])
    items = node.get("items", {})
    if "enum" in items:
        return "list of " + ", ".join(f"`{word}`" for word in items["enum"])
    title = str(node.get("title", "")).replace("|", "\\|")
    bounds = f", {node['minimum']} to {node['maximum']}" if {"minimum", "maximum"} <= node.keys() else ""
    examples = [text if isinstance(text, str) else json.dumps(text) for text in node.get("examples", ())]
    shown = ", such as " + " or ".join(f"`{text}`" for text in examples) if examples else ""
    return f"{title}{bounds}{shown}"
