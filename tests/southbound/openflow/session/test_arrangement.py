"""The choice of a layout around very many entries of others, with places for others to be served."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flowlane.core.model import Capabilities
from flowlane.core.pacing import BETWEEN
from flowlane.southbound.openflow.session import arrangement, handshake
from flowlane.southbound.openflow.tables.foreign import MAX_LISTED, ForeignEntry
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.instructions import Leads

MANY = 20 * BETWEEN


def parts(entries: list[ForeignEntry]) -> dict[str, tuple[Any, ...]]:
    """Replies of a device whose entries were read when they came."""
    read = SimpleNamespace(**{arrangement._CACHE: entries})
    return {**dict.fromkeys(handshake.REQUESTS, ()), "flows": (read,)}


def test_little_is_done_between_two_places_for_a_pause_however_many_entries_there_are() -> None:
    since = most = 0

    class Noted(ForeignEntry):
        """An entry that counts how often something of it is read."""

        def __getattribute__(self, name: str) -> Any:
            nonlocal since
            since += 1
            return super().__getattribute__(name)

    def pace() -> None:
        nonlocal since, most
        since, most = 0, max(most, since)

    match = [fields.pack(fields.match(in_port=number)) for number in range(1, MANY + 1)]
    leads = [Leads(frozenset((20,)), groups=frozenset((number,))) for number in range(MANY)]
    chosen = []
    for kind in (ForeignEntry, Noted):
        above = [kind(0, 30_000, *pair) for pair in zip(match, leads, strict=True)]
        below = [kind(0, 5, *pair) for pair in zip(match, leads, strict=True)]
        replies = parts([kind(0, 7), *above, *below])
        chosen.append(arrangement.choose(Capabilities(normal=True), replies, 0, (), pace))
    pace()
    assert chosen[0] == chosen[1]
    assert chosen[0].others.groups == frozenset(range(MANY))
    assert 20 not in chosen[0].layout.numbers.values()
    assert len(chosen[0].conflicts) <= 2 * (MAX_LISTED + 1)
    assert MANY > most > 0
    assert most <= 8 * BETWEEN
