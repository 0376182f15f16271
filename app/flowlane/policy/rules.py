"""Builder of section ``rules``: :class:`flowlane.core.policy.Rule` objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowlane.core.classify.matching import READERS, MatchError, items, read_match
from flowlane.core.flowkey import PORT_PROTOCOLS
from flowlane.core.policy import Match, Rule, Trust
from flowlane.policy.context import Context
from flowlane.policy.document import Path
from flowlane.policy.match import read_vms

_IP = frozenset((0x0800, 0x86DD))


def build_rules(context: Context) -> tuple[Rule, ...]:
    """Build the rules that keep to the schema, in order."""
    context.unique_names("rules")
    return tuple(
        _build(context, path, entry, index) for index, (path, entry) in enumerate(context.entries("rules"))
    )


def _build(context: Context, path: Path, entry: dict[str, Any], index: int) -> Rule:
    return Rule(
        name=entry.get("name", f"rule {index + 1}"),
        index=index,
        match=build_match(context, (*path, "match"), entry.get("match", {})),
        class_index=context.class_index((*path, "class"), entry["class"]),
        line=context.line(path),
    )


def build_match(context: Context, path: Path, entry: dict[str, Any]) -> Match:
    """Build a match; report one that no packet can satisfy."""
    match = Match()
    for key, value in entry.items():
        if key in READERS:
            match = _with_field(context, (*path, key), key, value, match)
    match = replace(
        match,
        vms=read_vms(context, (*path, "vm"), entry["vm"]) if "vm" in entry else None,
        hint=context.class_indexes((*path, "hint"), entry["hint"]) if "hint" in entry else (),
        gate=context.gate_at.get((*path, "rate")),
    )
    _check(context, path, match)
    return match


def _with_field(context: Context, path: Path, key: str, value: object, match: Match) -> Match:
    """Read the items of a field one by one, so that every wrong one is reported."""
    field = READERS[key][0]
    read: dict[object, None] = {}
    for place, item in items(value):
        try:
            read.update(dict.fromkeys(getattr(read_match({key: item}), field)))
        except MatchError as error:
            context.report(path if place is None else (*path, place), str(error), error.remedy)
    return replace(match, **{field: tuple(read)})  # type: ignore[arg-type]


def _check(context: Context, path: Path, match: Match) -> None:
    """Report matches that no packet can satisfy: a rule that never takes a flow is a mistake."""
    has_ports = bool(match.src_ports or match.dst_ports)
    if has_ports and match.protocols and not PORT_PROTOCOLS.intersection(match.protocols):
        context.report(path, "ports of a protocol without ports", "protocol: tcp, udp or sctp")
    families = _families(match)
    if families is None:
        return
    if not families:
        context.report(
            path, "source and destination are of different IP versions", "use prefixes of one version"
        )
    elif match.eth_types and not families.intersection(match.eth_types):
        context.report(
            path, "IP fields contradict the ethertype", "remove ethertype, or set it to ipv4 or ipv6"
        )


def _families(match: Match) -> frozenset[int] | None:
    """Find the ethertypes that the IP fields of a match allow; None when it has no IP field."""
    if not (match.protocols or match.src or match.dst or match.src_ports or match.dst_ports or match.dscp):
        return None
    families = _IP
    for prefixes in (match.src, match.dst):
        if prefixes:
            families &= {0x0800 if len(address) == 4 else 0x86DD for address, _ in prefixes}
    return families


def check_hints(context: Context, rules: tuple[Rule, ...], trust: tuple[Trust, ...]) -> None:
    """Report rules on hints for a class that no VM is trusted to ask for."""
    askable = {index for entry in trust for index in entry.classes}
    names = list(context.classes)
    for rule, (path, _) in zip(rules, context.entries("rules"), strict=True):
        missing = [names[index] for index in rule.match.hint if index not in askable]
        if missing:
            remedy = f"add a trust entry whose classes include {missing[0]}"
            context.report(
                (*path, "match", "hint"), f"no trust entry allows hints for class {missing[0]}", remedy
            )
