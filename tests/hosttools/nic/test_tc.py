from __future__ import annotations

import subprocess
import sys

import pytest

from flowlane.errors import FlowlaneError
from flowlane.hosttools.nic.tc import (
    Filter,
    Qdisc,
    QueueClass,
    has_no_such_kind,
    parse_classes,
    parse_filters,
    parse_qdiscs,
    run_batch,
)

# As tc 6.1 printed them on Linux 6.12: two of Flowlane's form, the one for the rest, a foreign one of u32 (whose hash
# table is listed as well). The line of bpf is after tc's source.
FILTERS = (
    "filter protocol all pref 49152 bpf chain 0 \n"
    "filter protocol all pref 49152 bpf chain 0 handle 0x1 prog.o:[tc] direct-action not_in_hw id 9 \n"
    "filter protocol ip pref 12 u32 chain 0 \n"
    "filter protocol ip pref 12 u32 chain 0 fh 800: ht divisor 1 \n"
    "filter protocol ip pref 12 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 not_in_hw \n"
    "  match 00000000/00000000 at 0\n"
    "filter protocol all pref 61706 basic chain 0 \n"
    "filter protocol all pref 61706 basic chain 0 handle 0x1 \n"
    "  meta(priority eq 65537)\n\n"
    "\taction order 1: skbedit  queue_mapping 0 pipe\n\t index 1 ref 1 bind 1\n\n"
    "filter protocol all pref 61706 basic chain 0 handle 0x10 \n"
    "  meta(priority eq 65552)\n\n"
    "\taction order 1: skbedit  queue_mapping 15 pipe\n\t index 2 ref 1 bind 1\n\n"
    "filter protocol all pref 61707 matchall chain 0 \n"
    "filter protocol all pref 61707 matchall chain 0 handle 0x1 \n"
    "  not_in_hw\n"
    "\taction order 1: skbedit  queue_mapping 0 pipe\n\t index 9 ref 1 bind 1\n\n"
)


def test_filters_are_read_from_text() -> None:
    assert parse_filters(FILTERS) == (
        Filter(49152, "bpf", 1, "all"),
        Filter(12, "u32", 0, "ip"),
        Filter(61706, "basic", 1, "all", 65537, 0),
        Filter(61706, "basic", 16, "all", 65552, 15),
        Filter(61707, "matchall", 1, "all", None, 0),
    )


def test_what_is_not_exactly_our_form_has_no_priority() -> None:
    both = FILTERS.replace("meta(priority eq 65537)", "meta(priority eq 65537) AND meta(nf_mark eq 1)")
    assert [row.priority for row in parse_filters(both) if row.kind == "basic"] == [None, 65552]
    masked = FILTERS.replace("meta(priority eq 65537)", "meta(priority mask 0x000000ff eq 65537)")
    assert [row.priority for row in parse_filters(masked) if row.kind == "basic"] == [None, 65552]


def test_no_text_is_no_filter() -> None:
    assert parse_filters("") == ()
    assert parse_qdiscs("") == ()
    assert parse_classes("") == ()


# As tc 6.1 printed them on Linux 6.12, below an HTB of Open vSwitch 3.1.
CLASSES = (
    "class htb 1:1 parent 1:fffe leaf 8001: prio 0 rate 2Mbit ceil 20Mbit burst 1564b cburst 1562b \n"
    "class htb 1:fffe root rate 20Mbit ceil 20Mbit burst 1500b cburst 1500b \n"
    "class htb 1:10 parent 1:fffe prio 3 rate 2Mbit ceil 20Mbit burst 1564b cburst 1562b \n"
    "class fq_codel 8001:1f3 parent 8001: \n"
)


def test_classes_of_queues_are_read_from_text() -> None:
    assert parse_classes(CLASSES) == (QueueClass(0, 0), QueueClass(15, 3))


# As tc 6.1 printed them on Linux 6.12; the second root is after tc's source (tc/q_htb.c).
QDISCS = """qdisc htb 1: root refcnt 9 r2q 10 default 0x1 direct_packets_stat 0 direct_qlen 1000
qdisc fq_codel 8003: parent 1:2 limit 10240p flows 1024 quantum 1514 target 5ms interval 100ms memory_limit 32Mb ecn \

qdisc clsact ffff: parent ffff:fff1 \

qdisc pfifo_fast 0: parent 8001:1 bands 3 priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1
"""


def test_qdiscs_are_read_from_text() -> None:
    assert parse_qdiscs(QDISCS) == (
        Qdisc("htb", "1:", True, ""),
        Qdisc("fq_codel", "8003:", False, "1:2"),
        Qdisc("clsact", "ffff:", False, "ffff:fff1"),
        Qdisc("pfifo_fast", "0:", False, "8001:1"),
    )


def test_an_offloaded_htb_is_told_from_the_others() -> None:
    line = "qdisc htb 1: root refcnt 9 r2q 10 default 0x1 direct_packets_stat 0 direct_qlen 1000"
    assert parse_qdiscs(f"{line} offload \n") == (Qdisc("htb", "1:", True, "", offloaded=True),)


def test_the_options_of_hfsc_do_not_matter() -> None:
    """In JSON they would: tc prints ``"options":{default 1 }``."""
    assert parse_qdiscs("qdisc hfsc 1: root refcnt 9 default 1 \n") == (Qdisc("hfsc", "1:", True, ""),)


def in_own_network(setup: str, python: str) -> str:
    script = f"{setup} && exec {sys.executable} -c '{python}'"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-ec", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_real_qdiscs_and_filters_of_a_device() -> None:
    printed = in_own_network(
        "ip link add v0 type veth peer name v1 && ip link set v0 up && tc qdisc add dev v0 root handle 1: htb "
        "&& tc qdisc add dev v0 clsact && tc filter add dev v0 egress protocol ip prio 12 u32 match u32 0 0",
        'from flowlane.hosttools.nic.tc import read_qdiscs, read_filters; q = read_qdiscs("v0"); '
        'print([(x.kind, x.handle, x.root) for x in q], {(f.pref, f.kind) for f in read_filters("v0", q)})',
    )
    assert printed == "[('htb', '1:', True), ('clsact', 'ffff:', False)] {(12, 'u32')}"


def test_real_classes_of_a_device() -> None:
    classes = " && ".join(
        f"tc class add dev v0 parent {parent} classid {own} htb rate 1mbit prio {prio}"
        for parent, own, prio in (("1:", "1:fffe", 0), ("1:fffe", "1:1", 5), ("1:fffe", "1:b", 2))
    )
    printed = in_own_network(
        f"ip link add v0 type veth peer name v1 && tc qdisc add dev v0 root handle 1: htb && {classes}",
        "from flowlane.hosttools.nic.tc import read_classes, read_qdiscs; "
        'print([tuple(x) for x in read_classes("v0", read_qdiscs("v0"))], read_classes("v1", ()))',
    )
    assert printed == "[(0, 5), (10, 2)] ()"


def test_a_kind_that_the_kernel_lacks_is_told_from_other_errors() -> None:
    in_own_network(
        "ip link add v0 type veth peer name v1 && tc qdisc add dev v0 root handle 1: htb "
        "&& tc class add dev v0 parent 1: classid 1:1 htb rate 1mbit",
        """
from flowlane.errors import FlowlaneError
from flowlane.hosttools.nic.tc import has_no_such_kind, run_batch
for line, no_such_kind in (("parent 1:1 no_such", True), ("parent 1:9 pfifo", False)):
    try:
        run_batch([f"qdisc add dev v0 {line}"])
    except FlowlaneError as error:
        assert has_no_such_kind(error) is no_such_kind, error
    else:
        raise AssertionError(line)
""",
    )
    assert not has_no_such_kind(FlowlaneError("tc is missing"))


def test_no_filters_are_asked_for_where_there_is_no_clsact() -> None:
    printed = in_own_network(
        "ip link add v0 type veth peer name v1",
        "from flowlane.hosttools.nic.tc import read_qdiscs, read_filters; "
        'print(read_filters("v0", read_qdiscs("v0")))',
    )
    assert printed == "()"


def test_a_refused_command_is_an_error_with_the_words_of_tc() -> None:
    with pytest.raises(FlowlaneError, match="no-such-device"):
        run_batch(["qdisc add dev no-such-device clsact"])
    run_batch([])
