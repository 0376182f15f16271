"""Long pieces of the engine's work in slices: places where its caller may serve others meanwhile.

The plan of a device with thousands of ports, pins or rules takes long. Its loops call ``State.pace`` now and then; the
caller of :meth:`flowlane.core.engine.Engine.step` may give way there, and step events of other devices, as
:mod:`flowlane.stepping` says. By itself the engine makes no pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")

BETWEEN = 64
"""Items of a loop between two places for a pause: less than a millisecond of work."""


def no_pause() -> None:
    """Make no pause."""


def paced(items: Iterable[_T], pace: Callable[[], None]) -> Iterator[_T]:
    """Yield the items, with a place for a pause now and then; they must not change meanwhile."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % BETWEEN:
            pace()
