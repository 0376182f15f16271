"""Python's garbage collector in small pieces: no collection looks at more objects than a pause may take.

The collector counts the objects made less those freed. Work that frees as many as it makes, as a policy that takes
another's place, is not noticed by it: hundreds of thousands of new objects were looked at in one go then, by whoever
made the next list. So what is new is collected by processor time here, too (:func:`collect_new`).

A collection of all objects takes 0.3 s with 500 devices of 1,000 flows. So there is none: what has grown old is
collected each time that there is more of it than :data:`MOST_OLD`, and what is left then is excluded from all
collections (gc.freeze). Reference counts free it as before; a cycle that has grown so old is never freed. See
``docs/decisions/0075-no-collection-of-all-objects.md``.
"""

from __future__ import annotations

import gc
import time

from flowlane import hub

BETWEEN = 0.005
"""Seconds of processor time between two collections of what is new: some 10,000 objects are made in it at most."""

NEW = 1
"""Generation up to which objects are new (gc of Python's library); those that stay become old."""

MOST_OLD = 10_000
"""Old objects that are looked at in one go when there are more: 4 to 6 ms."""

EVERY = 0.1
"""Seconds between two looks at how much is new, however little long work there is."""

LOOKS = 0.05
"""Seconds of processor time between two looks at how much is old, which make a list of that: 0.1 ms and more."""

_NEVER = 1 << 30


class _Collected:
    """``at``: the processor time of the last collection of what is new, in seconds."""

    at = 0.0


def start() -> hub.Task:
    """Exclude the objects that exist now from collections, have none look at all others, and return what sees to it.

    The flow tables are arrays, which the collector does not traverse. What reference counts do not free is rare, and
    is collected while it is new: 10,000 objects at a time take some 5 ms; 50,000 took up to 65 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 1, _NEVER)
    return hub.spawn(_watch)


def _watch() -> None:
    looked_at = 0.0
    while True:
        hub.sleep(EVERY)
        collect_new()
        if (now := time.thread_time()) - looked_at >= LOOKS:
            collect_old()
            looked_at = now


def collect_new() -> None:
    """Collect what was made since the last time, where that was some work; to be called where others were served."""
    if time.thread_time() - _Collected.at >= BETWEEN:
        gc.collect(NEW)
        _Collected.at = time.thread_time()


def collect_old() -> None:
    """Collect what has grown old where that is much, and exclude what is left of it from now on."""
    if gc.get_count()[2] and len(gc.get_objects(2)) > MOST_OLD:
        gc.collect()
        gc.freeze()
