from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.cookies import Cookie, Kind

U32 = st.integers(0, 0xFFFFFFFF)
U64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)


@given(st.sampled_from(Kind), st.integers(0, 0xFFF), U32)
def test_a_cookie_comes_back_as_it_was_packed(kind: Kind, generation: int, object_id: int) -> None:
    cookie = cookies.pack(kind, generation, object_id)
    assert cookie < 1 << 64
    assert cookies.unpack(cookie) == Cookie(kind, generation, object_id)


def test_the_layout_is_the_documented_one() -> None:
    assert cookies.pack(Kind.PIN, 0xABC, 0x12345678) == 0xF10A_3_ABC_12345678


@given(U64)
def test_only_cookies_with_our_mark_and_a_known_kind_are_ours(cookie: int) -> None:
    ours = cookie >> 48 == 0xF10A and 1 <= cookie >> 44 & 0xF <= 4
    assert (cookies.unpack(cookie) is not None) is ours


@pytest.mark.parametrize(("generation", "object_id"), [(0x1000, 0), (0, 1 << 32), (-1, 0), (0, -1)])
def test_what_does_not_fit_is_refused_and_not_cut(generation: int, object_id: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        cookies.pack(Kind.PIN, generation, object_id)


@given(st.sampled_from(Kind), st.sampled_from(Kind), st.integers(0, 0xFFF), U32)
def test_the_mask_of_a_kind_selects_that_kind_only(
    wanted: Kind, other: Kind, generation: int, object_id: int
) -> None:
    cookie, mask = cookies.of_kind(wanted)
    assert (cookies.pack(other, generation, object_id) & mask == cookie) is (wanted is other)


@given(st.integers(0, 0xFFFF), st.none() | U32)
def test_a_standing_rule_has_its_queue(order: int, queue_id: int | None) -> None:
    cookie = cookies.pack(Kind.STANDING, 0, cookies.standing_object(order, queue_id))
    expected = queue_id if queue_id is not None and queue_id < 0xFFFF else None
    assert cookies.standing_queue(cookie) == expected


@pytest.mark.parametrize("cookie", [0, cookies.pack(Kind.PIN, 0, 3), cookies.pack(Kind.INFRASTRUCTURE)])
def test_other_entries_have_no_queue(cookie: int) -> None:
    assert cookies.standing_queue(cookie) is None


@given(st.sampled_from(Kind), st.integers(0, 0xFFF), U32)
def test_two_masks_select_what_stands_beside_flows(kind: Kind, generation: int, object_id: int) -> None:
    number = cookies.pack(kind, generation, object_id)
    selecting = [cookie for cookie, mask in cookies.beside_flows() if number & mask == cookie]
    assert len(selecting) == (kind not in (Kind.PIN, Kind.LEARNED)), "each entry is read once"
