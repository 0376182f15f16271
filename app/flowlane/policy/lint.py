"""Notes of ``flowlane check``: parts of a policy that are valid, but probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from flowlane.core.device.standing import left_to_controller
from flowlane.core.policy import Match, PathPreference, Policy, PortSecurity, RateGate, Rule
from flowlane.policy.context import OLDER_KEYS
from flowlane.policy.document import read


def notes(policy: Policy) -> tuple[tuple[int, str], ...]:
    """Find all notes: (line of the policy, or 0; text), in the order of the lines."""
    found = (_unreached, _unused, _slow, _stronger_than_hints, _older_spellings, _needless_addresses)
    return tuple(sorted(note for find in found for note in find(policy)))


def _unreached(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find rules after an equal one, or after one that matches every flow."""
    first: dict[Match, str] = {}
    for rule in policy.rules:
        earlier = first.setdefault(rule.match, rule.name)
        if earlier != rule.name:
            yield rule.line, f"rule {rule.name!r} is never reached: {earlier!r} matches the same"
        elif Match() in first and rule.match != Match():
            yield rule.line, f"rule {rule.name!r} is never reached: {first[Match()]!r} matches every flow"


def _unused(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find classes that no flow can get."""
    used = {0, *(rule.class_index for rule in policy.rules)}
    used.update(index for entry in policy.trust for index in entry.classes)
    for item in policy.classes:
        if item.index not in used:
            yield 0, f"class {item.name!r} is never used: no rule names it and no hint may ask for it"


def _slow(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find rules that take effect only after the controller has seen the flow."""
    for rule, why in left_to_controller(policy):
        if rule.match.gate is None:
            yield rule.line, f"rule {rule.name!r} is left to the controller: {why}"


def _stronger_than_hints(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find rules on a measured rate that take flows away from the software queues for which trusted hints ask."""
    for rule in policy.rules:
        gate = rule.match.gate
        if (
            gate is None
            or rule.match.hint
            or policy.classes[rule.class_index].path is PathPreference.SOFTWARE
        ):
            continue
        trusted = {
            index
            for entry in policy.trust
            if entry.gate is None or not _opens_before(policy.gates[entry.gate], policy.gates[gate])
            for index in entry.classes
            if policy.classes[index].path is PathPreference.SOFTWARE
        }
        for index in sorted(trusted - _taken_by_hint(policy, rule)):
            name = policy.classes[index].name
            yield (
                rule.line,
                f"rule {rule.name!r} takes heavy flows for which a trusted hint asks for {name!r} (path: software): "
                f"rules come before hints; to let the hint decide, put a rule before it: "
                f"{{match: {{hint: {name}}}, class: {name}}}",
            )


def _opens_before(gate: RateGate, other: RateGate) -> bool:
    """Return whether one gate is open whenever the other is."""
    return (
        gate.of_queue == other.of_queue
        and gate.at_least <= other.at_least
        and gate.hold <= other.hold
        and gate.below <= other.below
    )


def _taken_by_hint(policy: Policy, rule: Rule) -> set[int]:
    """Return the classes whose hints an earlier rule obeys whatever else the flow is."""
    return {
        index
        for earlier in policy.rules[: rule.index]
        for index in earlier.match.hint
        if earlier.match == Match(hint=earlier.match.hint)
    }


def _needless_addresses(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find extra addresses that make no difference, since every address is a VM's own."""
    if policy.extra_addresses and policy.port_security is PortSecurity.OFF:
        yield 0, "extra-addresses has no effect: with port-security: off a VM may use every source address"


def _older_spellings(policy: Policy) -> Iterator[tuple[int, str]]:
    """Find keys in their older spelling. The policy does not keep them, so its text is read again."""
    if not any(older in policy.text for older in OLDER_KEYS):
        return
    root = read(policy.text).marks.children
    sections = [root["classes"]] if "classes" in root else []
    if "devices" in root:
        entries = root["devices"].children.values()
        sections += [entry.children["change"] for entry in entries if "change" in entry.children]
    for marks in (inner for section in sections for inner in section.children.values()):
        for older, name in OLDER_KEYS.items():
            if older in marks.keys:
                yield marks.keys[older][0], f"{older} is the older spelling of {name}: write {name}"
