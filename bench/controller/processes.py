"""A process of its own for one function, which talks with this one by a pipe.

What measures waits, or plays switches, must not share an interpreter with what it measures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

ENDS_WITHIN = 10.0
"""Seconds that the function has to return once it was told to; then its process is killed."""


@contextmanager
def spawned(function: Callable[..., None], *arguments: object, stop: object) -> Iterator[Connection]:
    """Run a function in a new process for the duration of the block; yield our end of the pipe.

    Args:
        function: gets the arguments, and its end of the pipe as the last one.
        stop: what is sent at the end of the block, upon which the function returns.
    """
    context: Any = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
        with suppress(OSError):
            ours.send(stop)
        process.join(ENDS_WITHIN)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
