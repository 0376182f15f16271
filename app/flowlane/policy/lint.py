"""What is right in a policy but probably not meant: told by ``flowlane check``, never refused."""

from __future__ import annotations

from collections.abc import Iterator

from flowlane.core.device.standing import left_to_controller
from flowlane.core.policy import Match, Policy


def notes(policy: Policy) -> tuple[tuple[int, str], ...]:
    """Everything worth a second look, as (line of the policy or 0, text), in the order of the lines."""
    return tuple(sorted((*_unreached(policy), *_unused(policy), *_slow(policy))))


def _unreached(policy: Policy) -> Iterator[tuple[int, str]]:
    """Rules behind an equal one, or behind one that takes everything."""
    first: dict[Match, str] = {}
    for rule in policy.rules:
        earlier = first.setdefault(rule.match, rule.name)
        if earlier != rule.name:
            yield rule.line, f"rule {rule.name!r} is never reached: {earlier!r} matches the same"
        elif Match() in first and rule.match != Match():
            yield rule.line, f"rule {rule.name!r} is never reached: {first[Match()]!r} matches every flow"


def _unused(policy: Policy) -> Iterator[tuple[int, str]]:
    used = {0, *(rule.class_index for rule in policy.rules)}
    used.update(index for entry in policy.trust for index in entry.classes)
    for one in policy.classes:
        if one.index not in used:
            yield 0, f"class {one.name!r} is never used: no rule names it and no hint may ask for it"


def _slow(policy: Policy) -> Iterator[tuple[int, str]]:
    """Rules that take effect only after the controller has seen the flow."""
    for rule, why in left_to_controller(policy):
        if rule.match.gate is None:
            yield rule.line, f"rule {rule.name!r} is left to the controller: {why}"
