"""State that the builders of a policy's sections share: the document, the names in it, the problems found."""

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
    """A document that is being built into a policy.

    ``invalid``: the paths of all values that break the schema, or contain one that does. ``classes``: class
    names with their indexes. ``gates``: the different rate conditions; ``gate_at``: path of a condition ->
    its index in ``gates``.
    """

    document: Document
    invalid: frozenset[Path] = frozenset()
    classes: Mapping[str, int] = field(default_factory=dict)
    gates: tuple[RateGate, ...] = ()
    gate_at: Mapping[Path, int] = field(default_factory=dict)

    def report(self, path: Path, message: str, remedy: str = "", key: str | None = None) -> None:
        """Add a problem; see :meth:`flowlane.policy.document.Document.report`."""
        self.document.report(path, message, remedy, key)

    def section(self, key: str) -> Any:
        """Return a section of the document; an empty one where it is missing or of a wrong type."""
        data = cast("dict[str, Any]", self.document.data)
        value = data.get(key)
        expected = dict if key in {"classes", "balance", "pins"} else list
        return value if isinstance(value, expected) else expected()

    def entries(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the entries of a list section that keep to the schema, with their paths."""
        for place, entry in enumerate(self.section(key)):
            if (key, place) not in self.invalid:
                yield (key, place), entry

    def line(self, path: Path) -> int:
        """Return the line in which a value begins, counted from 1."""
        marks = self.document.marks
        for step in path:
            marks = marks.children[step]
        return marks.line

    def class_index(self, path: Path, name: str, key: str | None = None) -> int:
        """Find a class by name; an unknown one is reported, and counts as class 0."""
        index = self.classes.get(name)
        if index is None:
            self.report(path, f"there is no class {shown(name)}", did_you_mean(name, self.classes), key)
        return index or 0

    def class_indexes(self, path: Path, names: str | list[str]) -> tuple[int, ...]:
        """Find one or several classes by name, each once."""
        if isinstance(names, str):
            return (self.class_index(path, names),)
        return tuple(
            dict.fromkeys(self.class_index((*path, place), name) for place, name in enumerate(names))
        )

    def unique_names(self, key: str) -> None:
        """Report names that two entries of a list section have."""
        first: dict[str, Path] = {}
        for path, entry in self.entries(key):
            name = entry.get("name")
            if name is not None and first.setdefault(name, path) != path:
                line = self.line(first[name])
                self.report(
                    (*path, "name"), f"{shown(name)} is the name of another entry", f"see line {line}"
                )


def invalid_paths(broken: frozenset[Path]) -> frozenset[Path]:
    """Return all paths that lead to a broken value, the value's own included."""
    return frozenset(path[:length] for path in broken for length in range(len(path) + 1))


OLDER_KEYS = {"road": "path"}
"""Older spelling of a key -> its name. ``flowlane check`` notes an older spelling."""


def value_of(context: Context, path: Path, entry: dict[str, Any], key: str) -> Any:
    """Return the value of a key, also under its older spelling; None where it is missing.

    Both spellings together are reported as a problem.
    """
    older = next((word for word, name in OLDER_KEYS.items() if name == key and word in entry), None)
    if older is None:
        return entry.get(key)
    if key in entry:
        message = f"{older} is the older spelling of {key}, and both are given"
        context.report(path, message, f"remove {older}:", older)
    return entry.get(key, entry[older])
