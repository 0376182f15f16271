"""What of a switch is compared before and after a restart."""

from __future__ import annotations

from bench.restarts.scene import meters_in

COPIES = "meter=controller pktps burst stats bands=\ntype=drop rate={} burst_size={}\n"
LIMIT = "meter=7 kbps burst stats bands=\ntype=drop rate={} burst_size=60\n"
HEAD = "OFPST_METER_CONFIG reply (OF1.3) (xid=0x2):\n"


def test_the_limit_on_copies_may_have_another_rate_and_no_other_meter() -> None:
    before = meters_in(HEAD + COPIES.format(32, 8) + LIMIT.format(2000))
    assert len(before) == 2
    assert meters_in(HEAD + COPIES.format(1000, 250) + LIMIT.format(2000)) == before
    assert meters_in(HEAD + COPIES.format(32, 8) + LIMIT.format(3000)) != before
    assert meters_in(HEAD + LIMIT.format(2000)) != before, "it has to be there"
