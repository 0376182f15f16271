"""Which rules select a VM: the same as by a look at every rule, with few looks."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowlane.core.classify import selectors as module
from flowlane.core.classify.bitmaps import bitmap
from flowlane.core.classify.matching import selects
from flowlane.core.classify.selectors import index_selectors
from flowlane.core.model import Vm
from flowlane.core.pacing import BETWEEN
from flowlane.core.policy import VmSelector

COUNT = 2000

_texts = st.text("ab-", max_size=4)
_globs = st.text("ab-*?[]!", max_size=5)
_keys = st.sampled_from(["tier", "vm-uuid"])
_selectors = st.one_of(
    st.none(),
    st.builds(
        VmSelector,
        st.lists(_globs, max_size=2).map(tuple),
        st.lists(st.tuples(_keys, _globs), max_size=2).map(tuple),
    ),
)
_vms = st.one_of(
    st.none(),
    st.builds(
        lambda identity, name, ids: Vm(7, identity, name, 1, 1, "p1", external_ids=ids),
        _texts,
        _texts,
        st.dictionaries(_keys, _texts),
    ),
)


def vm(identity: str, **external_ids: str) -> Vm:
    return Vm(7, identity, f"name-of-{identity}", 1, 1, "p1", external_ids=external_ids)


@settings(max_examples=500)
@given(st.lists(_selectors, max_size=12), _vms)
@example([VmSelector(("*-b",)), VmSelector(("a*",)), VmSelector(("*",)), VmSelector(("[a]*b",))], vm("a-b"))
@example([VmSelector(("",)), VmSelector((), (("tier", ""),))], vm("", tier=""))
@example([VmSelector(("*[ab]",)), VmSelector((), (("tier", "?"),))], vm("xa", tier="a"))
@example([VmSelector(("b",)), VmSelector(("*bb",))], vm("b"))
def test_the_same_rules_as_by_a_look_at_each(rules: list[VmSelector | None], sender: Vm | None) -> None:
    expected = bitmap(selects(selector, sender) for selector in rules)
    assert index_selectors(rules).rules_of(sender) == expected


@pytest.mark.parametrize(
    ("form", "sender"),
    [
        ("tenant-{}", vm("tenant-77")),
        ("tenant-{}-*", vm("tenant-77-web")),
        ("*.tenant{}", vm("web.tenant77")),
    ],
)
@pytest.mark.parametrize("by_name", [True, False])
def test_few_of_many_selectors_are_looked_at(
    form: str, sender: Vm, by_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    globs = [form.format(number) for number in range(COUNT)]
    rules = [VmSelector((glob,)) if by_name else VmSelector((), (("tier", glob),)) for glob in globs]
    index = index_selectors(rules)
    looks: list[VmSelector | None] = []

    def look(selector: VmSelector | None, sender: Vm | None) -> bool:
        looks.append(selector)
        return selects(selector, sender)

    monkeypatch.setattr(module, "selects", look)
    assert index.rules_of(sender if by_name else vm("x", tier=sender.id)) == 1 << 77
    assert looks == [rules[77]]


def test_rules_with_equal_selectors_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_selectors([VmSelector(("web-*",)) for _ in range(COUNT)])
    looks: list[int] = []
    monkeypatch.setattr(module, "selects", lambda *_: not looks.append(1))  # type: ignore[func-returns-value]
    assert index.rules_of(vm("web-1")) == (1 << COUNT) - 1
    assert len(looks) == 1


def test_it_is_made_with_places_for_pauses() -> None:
    counts: list[int] = []
    index_selectors([None] * (3 * BETWEEN), lambda: counts.append(0))
    assert len(counts) == 3
