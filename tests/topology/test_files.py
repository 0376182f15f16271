"""Network files: those of ``topologies/`` are good; every kind of mistake is named with its line and a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest

from flowlane import topology
from flowlane.topology import Kind, TopologyError
from flowlane.topology.__main__ import main

FOLDER = Path(__file__).parents[2] / "topologies"
FAR = (
    '{kind: remote, port: tor/up0, mac: "52:54:00:00:01:00", ip: 10.0.0.9/24, '
    "external_ids: {flowlane-port: uplink}}"
)
GOOD = """\
about: two hosts behind a switch
bridges:
  nica: {dpid: "00000000000000a1", role: nic}
  nicb: {dpid: "00000000000000b1", role: nic}
  tor: {dpid: "00000000000000c1", role: switch}
hosts:
  vm1: {kind: vm, port: nica/vf0, mac: "52:54:00:00:00:01", ip: 10.0.0.1/24, ip6: "fd00::1/64"}
  vm2: {kind: vm, port: nicb/vf1, mac: "52:54:00:00:00:02", ip: 10.0.0.2/24, ip6: "fd00::2/64"}
  far: FAR
links:
  - [nica/pf0, tor/down0]
  - [nicb/pf1, tor/down1]
queues:
  nica/pf0: {count: 4, rate: 100Mbit/s, min_rate: 5Mbit/s}
  nicb/pf1: {count: 4, rate: 100Mbit/s}
  tor/up0: {count: 8, rate: 100Mbit/s}
""".replace("FAR", FAR)


def problems(folder: Path, text: str) -> list[tuple[int, str]]:
    """Line and wording of each problem of a file."""
    path = folder / "network.yaml"
    path.write_text(text)
    try:
        topology.load(path)
    except TopologyError as error:
        assert str(error).startswith(f"{path}:{error.problems[0].line}: ")
        return [(problem.line, str(problem)) for problem in error.problems]
    return []


def changed(*pairs: tuple[str, str]) -> str:
    text = GOOD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_files_of_the_repository_are_good(path: Path) -> None:
    assert topology.load(path)["queues"]


def test_the_graph_has_bridges_hosts_and_ports(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(GOOD)
    graph = topology.read(path)
    assert topology.check(graph) == []
    assert {kind for _, kind in graph.nodes(data="kind")} == set(Kind) - {Kind.BOND}
    assert nx.shortest_path(graph, "vm1", "far") == [
        "vm1", "nica/vf0", "nica", "nica/pf0", "tor/down0", "tor", "tor/up0", "far",
    ]  # fmt: skip
    assert graph.nodes["nica/pf0"]["queues"]["count"] == 4


BONDED = """
bridges:
  nica: {dpid: "00000000000000a1", role: nic}
  tor: {dpid: "00000000000000c1", role: switch, controller: false}
hosts:
  vm1: {kind: vm, port: nica/vf0, tag: 100, mac: "52:54:00:00:00:01", ip: 10.0.0.1/24}
links:
  - [nica/pf0, tor/t0]
  - [nica/pf1, tor/t1]
bonds:
  nica/bond0: {members: [pf0, pf1], mode: balance-slb}
queues:
  nica/bond0: {count: 4, rate: 100Mbit/s}
"""


def test_a_bond_is_one_port_with_queues_and_makes_no_loop(tmp_path: Path) -> None:
    assert problems(tmp_path, BONDED) == []
    path = tmp_path / "bonded.yaml"
    path.write_text(BONDED)
    assert topology.load(path)["bonds"]["nica/bond0"]["members"] == ["pf0", "pf1"]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("members: [pf0, pf1]", "members: [pf0, pf2]", "nothing is connected to nica/pf2 (did you mean"),
        ("members: [pf0, pf1]", "members: [pf0]", "write a list of two or more ports"),
        ("mode: balance-slb", "mode: 4", "one of active-backup, balance-slb, balance-tcp"),
        ("tag: 100", "tag: 5000", "a VLAN id from 1 to 4094"),
        ("  nica/bond0: {count: 4", "  nica/bond1: {count: 4", "nothing is connected to nica/bond1"),
        ("rate: 100Mbit/s}", "rate: 100Mbit/s, min_rate: 50Mbit/s}", "4 queues with 50Mbit/s each are more"),
        ("bonds:\n  nica/bond0: {members: [pf0, pf1], mode: balance-slb}\n", "", "a loop that nobody breaks"),
        ("nica/bond0: {members", "nicx/bond0: {members", "nothing is connected to nicx/pf0"),
        (", controller: false", "", "no port has queues"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_bonds_and_vlans(tmp_path: Path, old: str, new: str, found: str) -> None:
    assert old in BONDED
    assert found in "\n".join(words for _, words in problems(tmp_path, BONDED.replace(old, new)))


LOOP = ("links:\n", "links:\n  - [nica/pf2, nicb/pf3]\n")
STP = [(f'{dpid}", role', f'{dpid}", stp: true, role') for dpid in ("a1", "b1", "c1")]
MORE_QUEUES = (
    "queues:\n",
    "queues:\n  nica/pf2: {count: 1, rate: 1Gbit/s}\n  nicb/pf3: {count: 1, rate: 1Gbit/s}\n",
)

LENGTH = "write an address with the length of its network, such as 10.0.0.1/24"
WRONG = {
    "unknown bridge of a host": (
        [("port: nica/vf0", "port: nicc/vf0")],
        (7, "hosts.vm1.port: there is no bridge nicc (did you mean nicb?)"),
    ),
    "host in the place of a bridge": (
        [("port: nica/vf0", "port: vm2/vf0")],
        (7, "hosts.vm1.port: there is no bridge vm2 (known: nica, nicb, tor)"),
    ),
    "unknown bridge of a link": (
        [("tor/down1", "top/down1")],
        (12, "links[1][1]: there is no bridge top (did you mean tor?)"),
    ),
    "queues of a port that nothing is connected to": (
        [("  tor/up0: {count", "  tor/up1: {count"), ("nicb/pf1: {count: 4", "tor/up0: {count: 4")],
        (16, "queues.tor/up1: nothing is connected to tor/up1 (did you mean tor/up0?)"),
        (4, "bridges.nicb: no queues at its uplink nicb/pf1 (add queues: nicb/pf1: {count: 4, rate: 100Mbit/s})"),
    ),
    "loop": (
        [LOOP, MORE_QUEUES],
        (13, "links[2]: a loop that nobody breaks: nica/pf0, nica/pf2, nicb/pf1, nicb/pf3, tor/down0, tor/down1 "
             "(remove a link, or give nica, nicb, tor the key stp: true)"),
    ),
    "loop that one bridge does not break": (
        [LOOP, MORE_QUEUES, *STP[:2]],
        (13, "links[2]: a loop that nobody breaks: nica/pf0, nica/pf2, nicb/pf1, nicb/pf3, tor/down0, tor/down1 "
             "(remove a link, or give tor the key stp: true)"),
    ),
    "two links between the same bridges": (
        [
            ("links:\n", "links:\n  - [nica/pf4, tor/down4]\n"),
            ("queues:\n", "queues:\n  nica/pf4: {count: 1, rate: 1Gbit/s}\n"),
        ],
        (12, "links[1]: a loop that nobody breaks: nica/pf0, nica/pf4, tor/down0, tor/down4 "
             "(remove a link, or give nica, tor the key stp: true)"),
    ),
    "link of a bridge with itself": (
        [("links:\n", "links:\n  - [tor/x1, tor/x2]\n")],
        (11, "links[0]: a loop that nobody breaks: tor/x1, tor/x2 (remove a link, or give tor the key stp: true)"),
    ),
    "link of a port with itself": (
        [("links:\n", "links:\n  - [tor/x1, tor/x1]\n")],
        (11, "links[0][1]: tor/x1 is in use twice (give each end a port of its own)"),
    ),
    "uplink without queues": (
        [("  nicb/pf1: {count: 4, rate: 100Mbit/s}\n", "")],
        (4, "bridges.nicb: no queues at its uplink nicb/pf1 (add queues: nicb/pf1: {count: 4, rate: 100Mbit/s})"),
    ),
    "switch without queues": (
        [("  tor/up0: {count: 8, rate: 100Mbit/s}\n", "")],
        (5, "bridges.tor: no port has queues (add queues: tor/up0: {count: 4, rate: 100Mbit/s})"),
    ),
    "guarantees beyond the rate": (
        [("min_rate: 5Mbit/s", "min_rate: 30Mbit/s")],
        (14, "queues.nica/pf0.min_rate: 4 queues with 30Mbit/s each are more than 100Mbit/s (lower min_rate or count)"),
    ),
    "two on one port": (
        [("nicb/vf1", "nica/vf0")],
        (8, "hosts.vm2.port: nica/vf0 is in use twice (give each end a port of its own)"),
    ),
    "one port name on two bridges": (
        [("nicb/vf1", "nicb/vf0")],
        (8, "hosts.vm2.port: the name vf0 is taken by nica/vf0 (name each port differently, whatever its bridge)"),
    ),
    "a port named as a bridge": (
        [("nicb/vf1", "nicb/tor")],
        (8, "hosts.vm2.port: the name tor is taken by tor (name each port differently, whatever its bridge)"),
    ),
    "a host named as a bridge": (
        [("  vm2:", "  tor:")],
        (8, "hosts.tor: tor is a bridge, too (give the host another name)"),
    ),
    "one name twice": (
        [("  vm2:", "  vm1:")],
        (8, "hosts.vm1: the key 'vm1'"),
    ),
    "one datapath id twice": (
        [("00b1", "00a1")],
        (4, "bridges.nicb.dpid: 00000000000000a1 is the dpid of nica, too (give nicb another one)"),
    ),
    "one MAC address twice": (
        [("00:02\"", "00:01\"")],
        (8, "hosts.vm2.mac: 52:54:00:00:00:01 is the mac of vm1, too (give vm2 another one)"),
    ),
    "one address twice": (
        [("10.0.0.2/24", "10.0.0.1/16")],
        (8, "hosts.vm2.ip: 10.0.0.1/16 is the ip of vm1, too (give vm2 another one)"),
    ),
    "one address twice, written differently": (
        [("fd00::2/64", "fd00:0::1/64")],
        (8, "hosts.vm2.ip6: fd00:0::1/64 is the ip6 of vm1, too (give vm2 another one)"),
    ),
    "unknown key": ([("about:", "abuot:")], (1, "abuot: unknown key 'abuot' (did you mean about?)")),
    "unknown key of a host": (
        [("ip: 10.0.0.1/24", "ipv4: 10.0.0.1/24")],
        (7, "hosts.vm1: vm1 has no ip (add ip: and an address with the length of its network, such as 10.0.0.1/24)"),
        (7, "hosts.vm1.ipv4: unknown key 'ipv4' (did you mean ip?)"),
    ),
    "wrong role": (
        [("role: switch", "role: router")],
        (5, "bridges.tor.role: 'router' is wrong (write one of nic, vswitch, switch)"),
    ),
    "spanning tree neither true nor false": (
        [("role: switch", "role: switch, stp: 1")], (5, "bridges.tor.stp: 1 is wrong (write true or false)"),
    ),
    "datapath id that is too short": (
        [('"00000000000000c1"', '"c1"')],
        (5, "bridges.tor.dpid: 'c1' is wrong (write 16 hexadecimal digits in quotes)"),
    ),
    "address without the length of its network": (
        [("10.0.0.1/24", "10.0.0.1")],
        (7, f"hosts.vm1.ip: '10.0.0.1' is wrong ({LENGTH})"),
    ),
    "address of the other family": (
        [("10.0.0.1/24", '"fd00::7/64"')],
        (7, f"hosts.vm1.ip: 'fd00::7/64' is wrong ({LENGTH})"),
    ),
    "what is no address": (
        [("10.0.0.1/24", "vm1/24")],
        (7, f"hosts.vm1.ip: 'vm1/24' is wrong ({LENGTH})"),
    ),
    "no MAC address": (
        [('"52:54:00:00:00:01"', "52-54")],
        (7, "hosts.vm1.mac: '52-54' is wrong (write six bytes in quotes, such as \"52:54:00:00:00:01\")"),
    ),
    "external ids that are no texts": (
        [("flowlane-port: uplink", "vm-id: 7")],
        (9, "hosts.far.external_ids: {'vm-id': 7} is wrong (write a mapping of texts (put numbers in quotes))"),
    ),
    "no queue at all": (
        [("count: 8", "count: 0")], (16, "queues.tor/up0.count: 0 is wrong (write a number from 1 to 61440)"),
    ),
    "no rate": (
        [("rate: 100Mbit/s, min", "rate: 100, min")],
        (14, "queues.nica/pf0.rate: 100 is wrong (write a rate, such as 100Mbit/s)"),
    ),
    "name that no device can have": (
        [("  vm2:", "  a-very-long-name:")],
        (8, "hosts.a-very-long-name: wrong name 'a-very-long-name' (use a name of at most 10 small letters and"),
    ),
    "link with one end": (
        [("[nica/pf0, tor/down0]", "[nica/pf0]")],
        (11, "links[0]: ['nica/pf0'] is wrong (write [BRIDGE/PORT, BRIDGE/PORT])"),
    ),
    "links that are no list": (
        [("  - [nica/pf0, tor/down0]\n  - [nicb/pf1, tor/down1]\n", "  nica: tor\n")],
        (11, "links: not a list (write - [BRIDGE/PORT, BRIDGE/PORT] for each link)"),
    ),
    "a host that is no mapping": (
        [(FAR, "far")],
        (9, "hosts.far: not a mapping (its keys: kind, port, mac, ip, ip6, tag, external_ids, nics, moves_to)"),
    ),
    "nics that are no list": (
        [(FAR, FAR[:-1] + ", nics: 1}")],
        (9, "hosts.far.nics: 1 is wrong (write a list of network interfaces"),
    ),
    "text that is no YAML": ([("hosts:\n", "hosts: [\n")], (8, "not YAML: did not find expected ',' or ']'")),
}  # fmt: skip
"""What is wrong -> changes to GOOD, and the problems that are reported (first lines first)."""


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(
    tmp_path: Path, case: tuple[list[tuple[str, str]], *tuple[tuple[int, str], ...]]
) -> None:
    changes, *expected = case
    found = problems(tmp_path, changed(*changes))
    assert len(found) == len(expected), found
    for (line, words), (expected_line, beginning) in zip(sorted(found), sorted(expected), strict=True):
        assert line == expected_line
        assert words.startswith(beginning)


def test_a_loop_that_every_bridge_breaks_is_allowed(tmp_path: Path) -> None:
    assert problems(tmp_path, changed(LOOP, MORE_QUEUES, *STP)) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "no bridges (add bridges: and at least one of them)"),
        ("# nothing\n", 1, "no bridges (add bridges: and at least one of them)"),
        ("- a\n", 1, "the file is not a mapping (begin with bridges:)"),
        ("bridges: {}\nhosts: [1]\n", 1, "no bridges (add bridges: and at least one of them)"),
    ],
)
def test_files_that_are_no_network(tmp_path: Path, text: str, line: int, words: str) -> None:
    first = problems(tmp_path, text)[0]
    assert first[0] == line
    assert first[1].startswith(words)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"none\.yaml:1: cannot read the file: No such file or directory"):
        topology.load(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TopologyError, match="cannot read the file: it is not UTF-8"):
        topology.load(tmp_path / "bytes.yaml")


def test_the_command_prints_json_or_the_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FOLDER / "small.yaml")]) == 0
    network = json.loads(capsys.readouterr().out)
    assert set(network) == {"about", "teaches", "bridges", "hosts", "links", "patches", "bonds", "queues"}
    assert network["links"] == []
    path = tmp_path / "wrong.yaml"
    path.write_text(changed(("port: nica/vf0", "port: nicc/vf0")))
    assert main([str(path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{path}:7: hosts.vm1.port: there is no bridge nicc (did you mean nicb?)\n")
