from __future__ import annotations

import json

from flowlane.southbound.nic_vfs import VfLimit, parse_limits, read_limits

SHOWN = [
    {
        "ifname": "pf0",
        "vfinfo_list": [
            {
                "vf": 0,
                "address": "02:00:00:00:00:01",
                "vlan_list": [{"vlan": 101}],
                "rate": {"max_tx": 50, "min_tx": 5},
            },
            {"vf": 1, "address": "02:00:00:00:00:02", "rate": {"max_tx": 0, "min_tx": 0}},
            {"vf": 2, "tx_rate": 20},
        ],
    }
]
"""Cut from ``ip -j -d link show`` of iproute2 6.1; ``tx_rate`` is what drivers without a minimum have."""


def test_limits_are_bits_per_second_and_none_where_there_is_none() -> None:
    assert parse_limits(json.dumps(SHOWN)) == (
        VfLimit(0, 50_000_000, 5_000_000, 101),
        VfLimit(1, None, None, 0),
        VfLimit(2, 20_000_000, None, 0),
    )


def test_a_device_without_functions_or_that_is_not_there_has_none() -> None:
    assert read_limits("lo") == ()
    assert read_limits("no-such-nic") == ()
