"""Descriptions of devices, from files and from REST: read, or refused in words."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.device.rules import DeviceView
from flowlane.core.model import Capabilities, Role
from flowlane.errors import ConfigError
from flowlane.policy.devices import devices_of, read_devices


def test_a_whole_description() -> None:
    text = """
- name: br-nic
  dpid: "00000000000000af"
  role: vswitch
  queues: {physical: 4, software: 2}
  capabilities: {max_meters: 5, select_groups: true, description: x, unknown: 1}
"""
    able = Capabilities(max_meters=5, select_groups=True)
    assert read_devices(text, "f") == (DeviceView(0xAF, "br-nic", Role.VSWITCH, able, 4, 2),)


def test_one_device_needs_no_list() -> None:
    assert read_devices("{name: a}", "f")[0].name == "a"


@pytest.mark.parametrize(
    ("ports", "expected"),
    [([], (8, 4)), ([[0, 1, 2, 3], [0, 1, 2, 3]], (4, 4)), ([[]], (0, 0)), ([[], list(range(6))], (6, 4))],
)
def test_rest_counts_queues_over_all_ports_and_a_port_has_no_more_than_its_own(
    ports: list[list[int]], expected: tuple[int, int]
) -> None:
    view = {
        "queues": {"physical": {"total": 8, "free": 0}, "software": {"total": 4, "free": 0}},
        "ports": [{"queues": ids} for ids in ports],
    }
    device = devices_of({"items": [view], "next": None}, "url")[0]
    assert (device.physical_queues, device.software_queues) == expected


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["name", "dpid", "role", "queues", "ports", "capabilities", "physical", "max_meters"]
            ),
            inner,
        ),
    ),
    max_leaves=12,
)


@given(plain)
def test_random_data_is_read_or_refused_in_words(
    data: bool | dict[str, Any] | float | list[bool | float | str | None] | object | None,
) -> None:
    with contextlib.suppress(ConfigError):
        assert all(device.physical_queues >= 0 for device in devices_of(data, "f"))
