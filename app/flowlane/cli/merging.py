"""Lists of several controllers put together: each has the devices that it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

Item = dict[str, Any]


class Part(NamedTuple):
    """What one controller has of a list; ``elsewhere``: devices that others lead, whose answers are here as well."""

    items: Sequence[Item]
    elsewhere: Collection[str]


def merged(parts: Iterable[Part], sort: str | None) -> list[Item]:
    """Put a list together. An item about a device counts from its leader only; a flow has the assignments of all.

    Args:
        sort: the column by which each part is sorted, with ``-`` in front for the largest first.
    """
    found: dict[object, Item] = {}
    for part in parts:
        for number, item in enumerate(part.items):
            kept = _own(item, part.elsewhere)
            if kept is None:
                continue
            key = _key(item) or (id(part), number)
            known = found.setdefault(key, kept)
            if known is not kept and "assignments" in known:
                known["assignments"] = [*known["assignments"], *kept["assignments"]]
    items = list(found.values())
    if sort is not None:
        return in_order(items, sort)
    return (
        sorted(items, key=lambda item: str(item["dpid"])) if all("dpid" in item for item in items) else items
    )


def _own(item: Item, elsewhere: Collection[str]) -> Item | None:
    """Return an item without what its controller has of devices that another one leads; None: nothing is left."""
    places = item.get("assignments")
    if places:
        left = [place for place in places if place["device"] not in elsewhere]
        return type(item)(item, assignments=left) if left else None
    return None if (item.get("device") or item.get("dpid")) in elsewhere else item


def _key(item: Mapping[str, Any]) -> object:
    """Return by what an item is the same in two lists; None where it is in one list only."""
    identity = item.get("id") or item.get("flow")
    return (identity, item.get("device")) if identity else item.get("dpid")


def in_order(items: Iterable[Item], sort: str) -> list[Item]:
    """Sort items as REST does: by a column, those without a value last."""
    name, is_falling = sort.removeprefix("-"), sort.startswith("-")
    known = [item for item in items if item.get(name) is not None]
    known.sort(key=lambda item: item[name], reverse=is_falling)
    return [*known, *(item for item in items if item.get(name) is None)]
