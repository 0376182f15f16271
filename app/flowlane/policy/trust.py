"""Builders of ``shares`` (division of the physical queues) and ``trust`` (whose hints count)."""

from __future__ import annotations

from typing import Any

from flowlane.core.classify.matching import READERS, MatchError
from flowlane.core.model import HintSource
from flowlane.core.policy import Share, Trust, VmSelector
from flowlane.policy.context import Context
from flowlane.policy.document import Path, shown
from flowlane.policy.match import read_vms

SOURCES = {source.name.lower(): source for source in HintSource if source is not HintSource.NONE}


def build_shares(context: Context) -> tuple[Share, ...]:
    """Build the shares that keep to the schema; a VM that two of them name belongs to the first."""
    context.unique_names("shares")
    shares: list[Share] = []
    for path, entry in context.entries("shares"):
        share = Share(
            name=entry.get("name", f"share {len(shares) + 1}"),
            vms=read_vms(context, (*path, "vm"), entry["vm"]),
            weight=float(entry.get("weight", 1)),
        )
        earlier = next((other for other in shares if other.vms == share.vms), None)
        if earlier:
            context.report((*path, "vm"), f"the same VMs as in share {earlier.name!r}", "remove one of them")
        shares.append(share)
    return tuple(shares)


def build_trust(context: Context) -> tuple[Trust, ...]:
    """Build the trust entries that keep to the schema."""
    return tuple(_build(context, path, entry) for path, entry in context.entries("trust"))


def _build(context: Context, path: Path, entry: dict[str, Any]) -> Trust:
    sources = frozenset(SOURCES[word] for word in entry["sources"])
    classes = frozenset(
        context.class_indexes((*path, "classes"), entry["classes"])
        if "classes" in entry
        else context.classes.values()
    )
    gate = context.gate_at.get((*path, "at-most"))
    return Trust(
        vms=read_vms(context, (*path, "vm"), entry["vm"]) if "vm" in entry else VmSelector(),
        sources=sources,
        classes=classes,
        dscp=_marks(context, path, entry, "dscp", classes),
        pcp=_marks(context, path, entry, "pcp", classes),
        gate=gate,
    )


def _marks(
    context: Context, path: Path, entry: dict[str, Any], source: str, classes: frozenset[int]
) -> tuple[tuple[int, int], ...]:
    """Read the mapping from marks to classes, which an entry has if, and only if, the source is among its sources."""
    if source not in entry:
        if source in entry["sources"]:
            value = "ef" if source == "dscp" else "5"
            remedy = f"add {source}: with the class of each value, such as {{{value}: NAME}}"
            context.report(path, f"{source} is among the sources, but its values are given no class", remedy)
        return ()
    if source not in entry["sources"]:
        context.report((*path, source), f"{source} is not among the sources", f"add {source} to sources")
    marks: dict[int, int] = {}
    for word, name in entry[source].items():
        index = context.class_index((*path, source, word), name)
        if index not in classes:
            context.report(
                (*path, source, word), f"class {shown(name)} is not among the entry's classes", "add it there"
            )
        _add_marks(context, (*path, source), word, index, marks)
    return tuple(marks.items())


def _add_marks(context: Context, path: Path, word: str, index: int, marks: dict[int, int]) -> None:
    for value in _values(context, path, word):
        if value == 0:
            context.report(
                path, "0 means that a packet is not marked, so it cannot ask for a class", "remove it", word
            )
        elif value in marks:
            context.report(
                path, f"{word} overlaps with another key: both contain {value}", "remove one", word
            )
        else:
            marks[value] = index


def _values(context: Context, path: Path, word: str) -> tuple[int, ...]:
    read = READERS[str(path[-1])][1]
    try:
        return read(int(word) if word.isascii() and word.isdigit() and len(word) < 4 else word)  # type: ignore[return-value]
    except MatchError as error:
        context.report(path, str(error), error.remedy, word)
        return ()
