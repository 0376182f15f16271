"""One target in a process of its own: libFuzzer gives the inputs, and what is measured is seen from outside."""

from __future__ import annotations

import gc
import mmap
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from hashlib import sha1
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import atheris

SLOW = 0.05
"""Seconds of processor time that an input may take."""

HANGS = 20
"""Seconds after which an input is taken to loop."""

LEAK, CACHED = 0.5, 2000
"""Memory blocks of Python for each input that are a leak, beyond those that caches take in a short run."""

MOST_FINDINGS = 20
"""Findings of different kinds after which a run has enough."""

_SHARED = Struct("!QdqQ")


class Target(NamedTuple):
    """A function to fuzz; ``longest``: bytes of an input at most."""

    read: Callable[[bytes], None]
    longest: int


class Result(NamedTuple):
    """What a run came to. ``slowest``: seconds; ``objects``: blocks of memory more at its end than at a quarter."""

    inputs: int
    per_second: float
    slowest: float
    objects: int
    findings: int


def run(target: Target, seeds: Iterable[bytes], directory: Path, inputs: int, seconds: int) -> Result:
    """Fuzz a target until it has had so many inputs, or for so many seconds (0: any)."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "reached").mkdir(parents=True)
    for seed in seeds:
        (directory / "reached" / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    shared = mmap.mmap(-1, _SHARED.size)
    began = time.monotonic()
    child = os.fork()
    if not child:
        _fuzz(target, directory, inputs, seconds, shared)
    _, status = os.waitpid(child, 0)
    count, slowest, objects, findings = _SHARED.unpack(shared[:])
    if status:
        findings += 1
        print(f"the process ended with status {status}; see {directory}/log", file=sys.stderr)
    if count >= inputs and objects > LEAK * count + CACHED:
        findings += 1
        print(f"{objects} blocks of memory more after {count} inputs", file=sys.stderr)
    return Result(count, count / (time.monotonic() - began), slowest, objects, findings)


class _Watch:
    """Calls the target, and notes what it takes and raises."""

    def __init__(
        self, read: Callable[[bytes], None], directory: Path, inputs: int, shared: mmap.mmap
    ) -> None:
        self._read, self._directory, self._inputs, self._shared = read, directory, inputs, shared
        self._kinds: set[str] = set()
        self._count = self._blocks = self._objects = 0
        self._slowest = 0.0

    def take(self, data: bytes) -> None:
        """Read one input."""
        self._count += 1
        began = time.thread_time()
        try:
            self._read(data)
        except Exception as error:
            self._note(_kind_of(error), data, traceback.format_exc())
        took = time.thread_time() - began
        if took > self._slowest:
            took = min(took, self._again(data), self._again(data))
            self._slowest = max(self._slowest, took)
            if took > SLOW:
                self._note(f"slow-{took * 1000:.0f}", data, f"{took * 1000:.0f} ms of processor time\n")
        if self._count in (self._inputs // 4, self._inputs - 1):
            gc.collect()
            blocks = sys.getallocatedblocks()
            self._objects, self._blocks = blocks - self._blocks, blocks
        if not self._count % 64 or self._count < 64 or self._count >= self._inputs - 1:
            self.tell()

    def tell(self) -> None:
        """Write what is known where the parent sees it."""
        objects = self._objects if self._count >= self._inputs - 1 else 0
        self._shared[:] = _SHARED.pack(self._count, self._slowest, objects, len(self._kinds))

    def _again(self, data: bytes) -> float:
        """Return the seconds that an input takes once more, when nothing is new to caches."""
        began = time.thread_time()
        try:
            self._read(data)
        except Exception:
            return time.thread_time() - began
        return time.thread_time() - began

    def _note(self, kind: str, data: bytes, text: str) -> None:
        if kind in self._kinds or len(self._kinds) >= MOST_FINDINGS:
            return
        self._kinds.add(kind)
        place = self._directory / f"finding-{len(self._kinds)}"
        place.write_bytes(data)
        place.with_suffix(".txt").write_text(f"{kind}\n{text}")
        print(f"{place}: {kind}", file=sys.stderr, flush=True)
        self.tell()


def _kind_of(error: BaseException) -> str:
    """Return what tells findings apart: the exception, and the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = "/".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-2:])
    return f"{type(error).__name__} at {place}"


def _fuzz(target: Target, directory: Path, inputs: int, seconds: int, shared: mmap.mmap) -> None:
    """Fuzz, and end the process."""
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT)
    errors = os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stderr = os.fdopen(errors, "w")
    watch = _Watch(target.read, directory, inputs, shared)
    options = [
        f"-runs={inputs}",
        f"-max_len={target.longest}",
        f"-timeout={HANGS}",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={directory}/",
        *([f"-max_total_time={seconds}"] if seconds else []),
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup(["fuzz", *options, str(directory / "reached")], watch.take)
    atheris.Fuzz()
