from __future__ import annotations

from typing import Any

import pytest

from flowlane.core.model import QueueKind
from flowlane.hosttools.findings import Level
from flowlane.hosttools.nic.consistency import NicState, PortQueues, differences
from flowlane.hosttools.nic.reader import Channels, Nic, VfLimit
from flowlane.hosttools.nic.tc import Filter, Qdisc, QueueClass

PF = Nic("pf0", "igb", hardware=True, up=True, tx_queues=8)
HTB = (Qdisc("htb", "1:", True, ""),)
MAPPED = tuple(Filter(0xF10A, "basic", k + 1, "all", 0x10001 + k, k) for k in range(8))
EIGHT = tuple((k, QueueKind.PHYSICAL) for k in range(8))


def queues_of_port(queues: tuple[tuple[int, QueueKind | None], ...] = EIGHT, **more: Any) -> PortQueues:
    return PortQueues("pf0", "linux-htb", queues)._replace(**more)


def nic_state(
    nic: Nic = PF, qdiscs: tuple[Qdisc, ...] = HTB, filters: tuple[Filter, ...] = MAPPED
) -> NicState:
    return NicState(nic, Channels(0, 0, 1, 8, 0, 0, 1, nic.tx_queues), qdiscs, filters)


def texts(of: PortQueues, about: NicState | None) -> list[str]:
    return [f"{finding.level.value}: {finding.what}" for finding in differences(of, about)]


def test_all_agree() -> None:
    assert differences(queues_of_port(reported=tuple(range(8))), nic_state()) == []


def test_what_the_switch_does_not_report_is_a_problem() -> None:
    (found,) = differences(queues_of_port(reported=(0,)), None)
    assert found.level is Level.PROBLEM
    assert found.what == "the database has queues 0-7, the switch reports 0 over OpenFlow"
    assert differences(queues_of_port((), reported=(0,)), None) == []
    assert differences(queues_of_port((), reported=()), None) == []


def test_open_vswitch_adds_queue_0_to_a_port_without_it() -> None:
    two = ((5, QueueKind.PHYSICAL), (7, QueueKind.PHYSICAL))
    assert differences(queues_of_port(two, reported=(0, 5, 7)), None) == []
    (found,) = differences(queues_of_port(two, reported=(0, 5)), None)
    assert found.what == "the database has queues 5,7, the switch reports 0,5 over OpenFlow"


def test_virtual_functions_take_the_queues() -> None:
    found = differences(queues_of_port(), nic_state(PF._replace(tx_queues=1, num_vfs=4)))
    assert (
        found[0].what
        == "8 physical queues, but the NIC has 1 transmit queue while 4 virtual functions are on"
    )
    assert "qos apply pf0 --queues auto" in found[0].remedy


def test_queues_that_ethtool_can_give_are_asked_for() -> None:
    found = differences(queues_of_port(), nic_state(PF._replace(tx_queues=2), filters=MAPPED[:2]))
    assert [finding.level for finding in found] == [Level.WARNING]
    assert found[0].remedy.startswith("ethtool -L pf0 combined 8")


def test_software_queues_are_not_expected_of_the_nic() -> None:
    four = tuple((k, QueueKind.PHYSICAL if k < 4 else QueueKind.SOFTWARE) for k in range(8))
    found = texts(queues_of_port(four), nic_state(PF._replace(tx_queues=4), filters=MAPPED[:4]))
    assert found == []


def test_queues_of_a_link_that_is_down_are_not_counted() -> None:
    found = differences(queues_of_port(), nic_state(PF._replace(up=False, tx_queues=1)))
    assert "not the real one" in found[0].what
    assert found[0].remedy == "ip link set pf0 up"


@pytest.mark.parametrize(
    "root", [Qdisc("htb", "5:", True, ""), Qdisc("netem", "10:", True, ""), Qdisc("mq", "0:", True, "")]
)
def test_a_root_qdisc_of_others_is_a_problem(root: Qdisc) -> None:
    (found,) = differences(queues_of_port(), nic_state(qdiscs=(root,)))
    assert found.level is Level.PROBLEM
    assert f"{root.kind} {root.handle}" in found.what
    assert "mininet" in found.source


def test_nothing_is_said_of_qdiscs_that_could_not_be_read_or_do_not_matter() -> None:
    assert differences(queues_of_port(), nic_state(qdiscs=())) == []
    assert (
        differences(
            queues_of_port(scheduled=False), nic_state(qdiscs=(Qdisc("netem", "1:", True, ""),), filters=())
        )
        == []
    )


def test_an_unmapped_nic_is_reported_and_a_half_mapped_one_is_a_warning() -> None:
    assert [finding.level for finding in differences(queues_of_port(), nic_state(filters=()))] == [Level.INFO]
    half = differences(queues_of_port(), nic_state(filters=MAPPED[:4]))
    assert half[0].what == "queues 0-3 are mapped to hardware queues, and 0-7 should be"
    assert half[0].remedy == "flowlane qos apply pf0 --map-hardware"


def test_filters_of_others_before_ours_are_warned_of() -> None:
    found = texts(queues_of_port(), nic_state(filters=(*MAPPED, Filter(1, "bpf", 1))))
    assert found == ["warning: before the mapping 1 other egress filter may keep some packets from it"]


def test_a_device_without_hardware_needs_no_mapping() -> None:
    veth = PF._replace(hardware=False, up=False)
    assert differences(queues_of_port(), nic_state(veth, filters=())) == []


def test_a_limit_of_the_nic_is_reported() -> None:
    limits = (VfLimit(0, None, None, 0), VfLimit(1, 50_000_000, None, 101))
    assert texts(queues_of_port(), nic_state()._replace(limits=limits)) == [
        "info: the NIC itself limits functions, beside any meter: VF 1 at most 50Mbit/s"
    ]


def with_leaves(*kinds: str) -> NicState:
    """The NIC with these leaves under the queues from 0 on, and a class for each of eight."""
    leaves = tuple(
        Qdisc(kind, f"80{at:02x}:", False, f"1:{at + 1:x}") for at, kind in enumerate(kinds) if kind
    )
    state = nic_state(qdiscs=(*HTB, *leaves))
    return state._replace(classes=tuple(QueueClass(queue_id, 0) for queue_id in range(8)))


OURS = queues_of_port(ours=True, leaf="fq_codel")
ALL_LEAVES = ("fq_codel",) * 8


def test_queues_with_the_leaves_that_the_row_records_are_in_order() -> None:
    assert texts(OURS, with_leaves(*ALL_LEAVES)) == []
    assert texts(OURS._replace(leaf="none"), with_leaves()) == []
    assert texts(OURS._replace(ours=False, leaf=""), with_leaves()) == [], (
        "nothing is expected of rows of others"
    )


def test_a_missing_leaf_is_a_warning_with_a_remedy() -> None:
    (found,) = differences(OURS, with_leaves("fq_codel", "", *ALL_LEAVES[2:]))
    assert found.level is Level.WARNING
    assert found.what.startswith("queue 1 has no fq_codel leaf")
    assert "flowlane qos apply pf0" in found.remedy
    (found,) = differences(OURS._replace(leaf=""), with_leaves("fq_codel"))
    assert (found.level, found.what[:32]) == (Level.INFO, "queues 1-7 have no fq_codel leaf")


def test_a_leaf_of_another_kind_is_said_and_not_missed() -> None:
    assert texts(OURS, with_leaves("sfq", *ALL_LEAVES[1:7], "sfq")) == [
        "info: queues 0,7 have a leaf of kind sfq, which Flowlane leaves alone"
    ]


def test_leaves_are_expected_only_where_linux_schedules_the_queues() -> None:
    nic = nic_state(PF._replace(hardware=False))
    offloaded = nic._replace(qdiscs=(Qdisc("htb", "1:", True, "", offloaded=True),))
    assert texts(OURS, offloaded) == []
    assert texts(OURS._replace(scheduled=False), nic) == []
    assert texts(OURS._replace(qos_type="linux-hfsc"), nic) == []
    assert "fq_codel" not in " ".join(texts(OURS, nic._replace(qdiscs=(Qdisc("mq", "0:", True, ""),))))


def test_a_priority_that_htb_does_not_have_is_a_warning() -> None:
    state = with_leaves(*ALL_LEAVES)
    state = state._replace(classes=(QueueClass(0, 0), QueueClass(1, 7), QueueClass(2, 3)))
    assert texts(OURS._replace(priorities={1: 9, 2: 3}), state) == [], "the kernel takes 9 for 7"
    assert texts(OURS._replace(priorities={1: 7, 2: 4}), state) == [
        "warning: queue 2 has another priority in the database than in HTB (queue 2: 4, prio 3)"
    ]
