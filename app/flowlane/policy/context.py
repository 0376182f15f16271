"""What the builders of a policy's parts share: the document, its names, and where problems are noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flowlane.closest import did_you_mean
from flowlane.policy.document import Document, Path, shown

if TYPE_CHECKING:
    from flowlane.core.policy import RateGate


@dataclass(slots=True)
class Context:
    """A document on its way to a policy. ``classes`` are the class names with their indexes.

    ``unsound`` are the paths of all values that have a breach of the schema in or at them.
    """

    document: Document
    unsound: frozenset[Path] = frozenset()
    classes: Mapping[str, int] = field(default_factory=dict)
    gates: tuple[RateGate, ...] = ()
    gate_at: Mapping[Path, int] = field(default_factory=dict)

    def report(self, path: Path, message: str, remedy: str = "", key: str | None = None) -> None:
        """Note a problem; see :meth:`flowlane.policy.document.Document.report`."""
        self.document.report(path, message, remedy, key)

    def section(self, key: str) -> Any:
        """A part of the document: an empty mapping or list when it is not there or not of its type."""
        data = cast("dict[str, Any]", self.document.data)
        found = data.get(key)
        expected = dict if key in {"classes", "balance", "pins"} else list
        return found if isinstance(found, expected) else expected()

    def entries(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The sound entries of a list part, with their paths."""
        for place, entry in enumerate(self.section(key)):
            if (key, place) not in self.unsound:
                yield (key, place), entry

    def line(self, path: Path) -> int:
        """The line in which a value begins."""
        marks = self.document.marks
        for step in path:
            marks = marks.children[step]
        return marks.line

    def class_index(self, path: Path, name: str, key: str | None = None) -> int:
        """Find a class by name; when there is none, note it and give class 0."""
        index = self.classes.get(name)
        if index is None:
            self.report(path, f"there is no class {shown(name)}", did_you_mean(name, self.classes), key)
        return index or 0

    def class_indexes(self, path: Path, names: str | list[str]) -> tuple[int, ...]:
        """Find the class or the classes that are named, each once."""
        if isinstance(names, str):
            return (self.class_index(path, names),)
        return tuple(
            dict.fromkeys(self.class_index((*path, place), name) for place, name in enumerate(names))
        )

    def unique_names(self, key: str) -> None:
        """Note the names that stand twice in a list part."""
        first: dict[str, int] = {}
        for path, entry in self.entries(key):
            name = entry.get("name")
            if name is not None and first.setdefault(name, self.line(path)) != self.line(path):
                self.report(
                    (*path, "name"), f"{shown(name)} is the name of another entry", f"see line {first[name]}"
                )


def unsound_paths(broken: frozenset[Path]) -> frozenset[Path]:
    """All paths that lead to a broken value, the value's own included."""
    return frozenset(path[:length] for path in broken for length in range(len(path) + 1))
