"""The corpus: inputs that fuzzing has found worth keeping, one archive for each target, and seeds made of code."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
"""``TARGET.zip``: inputs by the SHA-1 of their bytes, and findings by name."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def seeds(target: str) -> list[bytes]:
    """Return the inputs that are kept for a target."""
    return list(kept(target).values())


def kept(target: str) -> dict[str, bytes]:
    """Return name -> input of a target's archive."""
    path = CORPUS / f"{target}.zip"
    if not path.exists():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(target: str, inputs: dict[str, bytes]) -> None:
    """Replace a target's archive; the same inputs make the same bytes."""
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{target}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(inputs):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), inputs[name], zipfile.ZIP_DEFLATED)


def name_of(data: bytes) -> str:
    """Return the name of an input that has none of its own."""
    return sha1(data, usedforsecurity=False).hexdigest()[:16]


def keep_findings(target: str, directory: Path) -> None:
    """Add the findings of a run, each by a name of its own, so that they are tried for ever."""
    found = [path.read_bytes() for path in sorted(directory.glob("finding-*")) if not path.suffix]
    write(target, kept(target) | {f"found-{name_of(data)}": data for data in found})


def keep(target: str, candidates: Iterable[bytes]) -> None:
    """Add to the archive what reaches a line, from another line than before, that no other input reaches.

    Short inputs come first. Those with a name of their own, which were findings, stay whatever they reach.
    """
    from fuzz.targets import TARGETS  # noqa: PLC0415  (imported instrumented, or not)

    read = TARGETS[target].read
    there = kept(target)
    inputs = {name: data for name, data in there.items() if name != name_of(data)}
    reached: set[tuple[CodeType, int, int]] = set()
    for data in inputs.values():
        reached |= set(_steps(read, data))
    for data in sorted(
        {*there.values(), *candidates} - set(inputs.values()), key=lambda data: (len(data), data)
    ):
        new = set(_steps(read, data)) - reached
        if new:
            reached |= new
            inputs[name_of(data)] = data
    write(target, inputs)


def _steps(read: Any, data: bytes) -> Iterator[tuple[CodeType, int, int]]:
    """Yield the steps from line to line in our modules, and in os-ken's parsers, that an input takes."""
    steps: set[tuple[CodeType, int, int]] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        if "/flowlane/" not in name and "/os_ken/ofproto/" not in name:
            return None
        if event == "line":
            steps.add((frame.f_code, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        elif event == "return":
            last.pop(frame, None)
        return trace

    sys.settrace(trace)
    try:
        with suppress(Exception):  # A finding, which is reported where it is found.
            read(data)
    finally:
        sys.settrace(None)
    return iter(steps)
