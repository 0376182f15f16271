"""When the event loop has begun its present round: each ready connection has a turn in it, behind the timers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flowlane import hub


class _Round:
    """``loop``: the event loop that is followed; ``began``: when it last looked for what is ready (perf_counter)."""

    loop: Any = None
    began = float("-inf")


def is_new(seconds: float) -> bool:
    """Whether the present round began less than so many seconds ago; False where that is not known yet."""
    loop = hub.event_loop()
    if loop is not _Round.loop:
        _Round.loop, _Round.began = loop, float("-inf")
        loop.do_poll = _noting(loop.do_poll)
    return time.perf_counter() - _Round.began < seconds


def _noting(poll: Callable[[float], Any]) -> Callable[[float], Any]:
    def noting(seconds: float) -> Any:
        ready = poll(seconds)
        _Round.began = time.perf_counter()
        return ready

    return noting
