"""Policies that are wrong: each is refused with the line, the key path and a remedy, and never with a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlane import policy as policies
from flowlane.errors import PolicyError

HEAD = "version: 1\n"
CLASSES = "version: 1\nclasses:\n  a: {limit: 50Mbit/s}\n  b: {}\n"
RULE = CLASSES + "rules:\n  - match: {%s}\n    class: a\n"
CLASS = "version: 1\nclasses:\n  a: {%s}\n"
TRUST = CLASSES + "trust:\n  - {%s}\n"
DEVICE = CLASSES + "devices:\n  - {%s}\n"
SHARE = CLASSES + "shares:\n  - {%s}\n"

CASES = [
    # --- not a document
    ("", 1, "", "the policy is empty"),
    ("   \n\n", 1, "", "the policy is empty"),
    ("# only a comment\n", 1, "", "the policy is empty"),
    ("\x00\x01\x02", 1, "", "not a text: YAML cannot contain character U+0000"),
    ("version: 1\nclasses: {a: {qos: \x07}}\n", 2, "", "not a text: YAML cannot contain character U+0007"),
    ("version: 1\ndefault: \ud800\n", 2, "", "not valid Unicode"),
    ("version: 1\n" + "# x\n" * 1_100_000, 1, "", "bytes; at most 4194304 are read"),
    ("version: 1\nrules: [" + "1," * 260_000 + "]", 2, "rules[249995]", "more than 250,000 keys and values"),
    ("version: 1\nrules: [" + "1," * 1000 + "]", 2, "rules[0]", "1 is not"),
    ("version: 1\nrules:\n" + "- {}\n" * 1000, 3, "rules[0]", "the key 'class' is missing"),
    ("version: 1\n" + "".join(f"k{n}:\n" for n in range(1000)), 2, "k0", "unknown key 'k0'"),
    (
        "version: 1\nclasses:\n" + "".join(f" k{n}:\n" for n in range(100)),
        3,
        "classes.k0",
        "there is no value",
    ),
    ("just words", 1, "", "'just words' is not"),
    ("- version: 1\n", 1, "", "is not"),
    ("42", 1, "", "42 is not"),
    ("~", 1, "", "there is no value"),
    ("version: 1\n---\nversion: 1\n", 2, "", "a second document begins here"),
    ("version: 1\nclasses: {a: {}\n", 3, "", "not YAML"),
    ("version: 1\n classes: {}\n", 2, "", "not YAML"),
    ("version: 1\n\tclasses: {}\n", 2, "", "not YAML"),
    ("version: 1\ndefault: 'x\n", 3, "", "not YAML"),
    ("version: 1\ndefault: @x\n", 2, "", "not YAML"),
    ("version: 1\nclasses: [}\n", 2, "", "not YAML"),
    ("%TAG ! tag:example.com,2000:\nversion: 1\n", 2, "", "not YAML"),
    # --- loops, bombs, tags, keys that are not words
    ("version: 1\nclasses: &a {b: *a}\n", 2, "classes", "anchors and aliases are refused"),
    ("version: 1\nrules: &a [*a]\n", 2, "rules", "anchors and aliases are refused"),
    ("version: 1\nrules: [*nobody]\n", 2, "rules[0]", "alias *nobody: anchors and aliases are refused"),
    ("version: 1\nclasses: {a: &x {}, b: *x}\n", 2, "classes.b", "alias *x"),
    ("version: 1\nclasses: {a: {<<: {}}}\n", 2, "classes.a.'<<'", "unknown key '<<'"),
    ("version: 1\ndefault: !!python/object/apply:os.system [ls]\n", 2, "default", "tags are refused"),
    ("version: 1\ndefault: !!str 5\n", 2, "default", "tags are refused"),
    ("version: 1\nrules: !mine []\n", 2, "rules", "tags are refused"),
    ("version: 1\n? [a, b]\n: c\n", 2, "", "a key must be a plain word"),
    ("version: 1\nclasses: {{a: b}: c}\n", 2, "classes", "a key must be a plain word"),
    ("version: 1\nrules: " + "[" * 50 + "]" * 50, 2, "rules" + "[0]" * 15, "nested more than 16 deep"),
    ("version: 1\nclasses: " + "{a: " * 5_000, 2, "classes" + ".a" * 15, "nested more than 16 deep"),
    ("version: 1\nversion: 1\n", 2, "version", "the key 'version' appears twice, first in line 1"),
    ("version: 1\nclasses:\n  a: {}\n  b: {}\n  a: {}\n", 5, "classes.a", "appears twice, first in line 3"),
    (RULE % "src: 10.0.0.1, src: 10.0.0.2", 6, "rules[0].match.src", "appears twice"),
    # --- the top
    ("classes: {}\n", 1, "", "the key 'version' is missing"),
    ("version: 2\n", 1, "version", "2 is not a version of the language"),
    ("version: '1'\n", 1, "version", "'1' is not a version of the language"),
    ("version:\n", 1, "version", "None is not a version of the language"),
    ("version: 1\nclases: {}\n", 2, "clases", "unknown key 'clases'"),
    ("version: 1\nstrategy: hash\n", 2, "strategy", "unknown key 'strategy'"),
    ("version: 1\n1: 2\n", 2, "1", "unknown key '1'"),
    ("version: 1\nclasses: []\n", 2, "classes", "[] is not a mapping of class names to classes"),
    ("version: 1\nrules:\n", 2, "rules", "there is no value"),
    ("version: 1\nrules: {}\n", 2, "rules", "{} is not a list of rules"),
    ("version: 1\nrules: 5\n", 2, "rules", "5 is not a list of rules"),
    ("version: 1\ndefault: nobody\n", 2, "default", "there is no class 'nobody'"),
    ("version: 1\ndefault: [a]\n", 2, "default", "['a'] is not a class name"),
    ("version: 1\nsampling: 64\n", 2, "sampling", "64 is not off, or one in how many packets"),
    ("version: 1\nsampling: 1/0\n", 2, "sampling", "'1/0' is not off, or one in how many packets"),
    ("version: 1\nport-security: on\n", 2, "port-security", "'on' is not a mode of port security"),
    (
        "version: 1\nextra-addresses:\n  - {vm: a, mac: xx}\n",
        3,
        "extra-addresses[0].mac",
        "'xx' is not a MAC address",
    ),
    (
        "version: 1\nextra-addresses:\n  - {vm: a, mac: [01:00:5e:00:01:05]}\n",
        3,
        "extra-addresses[0].mac[0]",
        "'01:00:5e:00:01:05' is a group address",
    ),
    (
        "version: 1\nextra-addresses:\n  - {mac: 00:00:5e:00:01:05}\n",
        3,
        "extra-addresses[0]",
        "'vm' is missing",
    ),
    ("version: 1\ncopy-rate: -1\n", 2, "copy-rate", "-1 is too small"),
    ("version: 1\ncopy-rate: 1000/s\n", 2, "copy-rate", "'1000/s' is not a number of packets per second"),
    ("version: 1\ncopy-rate: 1e9\n", 2, "copy-rate", "'1e9' is not a number"),
    ("version: 1\ncopy-rate: 99999999999999999999999\n", 2, "copy-rate", "is not a number of packets"),
    # --- classes
    ("version: 1\nclasses: {a: }\n", 2, "classes.a", "there is no value"),
    ("version: 1\nclasses: {a: 50Mbit/s}\n", 2, "classes.a", "'50Mbit/s' is not a class"),
    ("version: 1\nclasses: {a b: {}}\n", 2, "classes.'a b'", "'a b' is not a class name"),
    ("version: 1\nclasses: {'': {}}\n", 2, "classes.''", "'' is not a class name"),
    ("version: 1\nclasses: {" + "x" * 64 + ": {}}\n", 2, "classes." + "x" * 64, "is not a class name"),
    (CLASS % "limt: 50Mbit/s", 3, "classes.a.limt", "unknown key 'limt'"),
    (CLASS % "limit: 50", 3, "classes.a.limit", "50 is not a rate"),
    (CLASS % "limit: 50Mb", 3, "classes.a.limit", "'50Mb' is not a rate"),
    (CLASS % "limit: 50mbit/s", 3, "classes.a.limit", "'50mbit/s' is not a rate"),
    (CLASS % "limit: -5Mbit/s", 3, "classes.a.limit", "'-5Mbit/s' is not a rate"),
    (CLASS % "limit: 1.5.5Mbit/s", 3, "classes.a.limit", "is not a rate"),
    (CLASS % "limit: 0bit/s", 3, "classes.a.limit", "is too small"),
    (CLASS % "limit: 5Tbit/s", 3, "classes.a.limit", "5Tbit/s is too large"),
    (CLASS % "limit: 4294967296kbit/s", 3, "classes.a.limit", "is too large"),
    (CLASS % "limit: 1Gbit/s, burst: 600GB", 3, "classes.a.burst", "is too large"),
    (CLASS % "limit: [50Mbit/s]", 3, "classes.a.limit", "['50Mbit/s'] is not a rate"),
    (CLASS % "limit: 50Mbit/s, burst: 10", 3, "classes.a.burst", "10 is not a size"),
    (CLASS % "limit: 50Mbit/s, burst: 1s", 3, "classes.a.burst", "'1s' is not a size"),
    (
        CLASS % "limit: 50Mbit/s, burst: 1500B",
        3,
        "classes.a.burst",
        "a burst of 1500 bytes is less than one frame",
    ),
    (CLASS % "burst: 64kB", 3, "classes.a.burst", "burst without a limit has no effect"),
    (CLASS % "limit-scope: vm", 3, "classes.a.limit-scope", "limit-scope without a limit"),
    (CLASS % "limit: 5Mbit/s, limit-scope: host", 3, "classes.a.limit-scope", "'host' is not a scope"),
    (CLASS % "limit: 5Mbit/s, minimum: 6Mbit/s", 3, "classes.a.minimum", "more than the limit"),
    (CLASS % "priority: 8", 3, "classes.a.priority", "8 is too large"),
    (CLASS % "priority: -1", 3, "classes.a.priority", "-1 is too small"),
    (CLASS % "priority: high", 3, "classes.a.priority", "'high' is not a priority"),
    (CLASS % "priority: 1.5", 3, "classes.a.priority", "1.5 is not a priority"),
    (CLASS % "priority: true", 3, "classes.a.priority", "True is not a priority"),
    (CLASS % "queues: alone", 3, "classes.a.queues", "'alone' is not how queues are used"),
    (CLASS % "alike: []", 3, "classes.a.alike", "is empty"),
    (CLASS % "alike: vm", 3, "classes.a.alike", "'vm' is not a list"),
    (CLASS % "alike: [vm, vm]", 3, "classes.a.alike", "has the same value twice"),
    (
        CLASS % "alike: [vm, colour]",
        3,
        "classes.a.alike[1]",
        "'colour' is not a way in which flows are alike",
    ),
    (CLASS % "max-queues: 0", 3, "classes.a.max-queues", "0 is too small"),
    (CLASS % "min-queues: 3, max-queues: 2", 3, "classes.a.min-queues", "more than max-queues"),
    (CLASS % "path: fast", 3, "classes.a.path", "'fast' is not a path"),
    (CLASS % "road: fast", 3, "classes.a.road", "'fast' is not a path"),
    (
        CLASS % "path: software, road: software",
        3,
        "classes.a.road",
        "older spelling of path, and both are given",
    ),
    (
        "version: 1\nclasses:\n  c: {}\ndevices:\n  - change: {c: {road: software, path: hardware}}\n",
        5,
        "devices[0].change.c.road",
        "older spelling of path, and both are given",
    ),
    (CLASS % "meter-only: true, limit: 5Mbit/s, road: software", 3, "classes.a.road", "road is about queues"),
    (CLASS % "keep-vm-together: yes", 3, "classes.a.keep-vm-together", "'yes' is not true or false"),
    (CLASS % "meter-only: true", 3, "classes.a.meter-only", "neither queue nor limit"),
    (
        CLASS % "meter-only: true, limit: 5Mbit/s, queues: shared",
        3,
        "classes.a.queues",
        "a meter-only class has none",
    ),
    # --- rules
    (CLASSES + "rules: [{match: {}}]\n", 5, "rules[0]", "the key 'class' is missing"),
    (CLASSES + "rules: [{class: c}]\n", 5, "rules[0].class", "there is no class 'c'"),
    (CLASSES + "rules: [{class: 5}]\n", 5, "rules[0].class", "5 is not a class name"),
    (CLASSES + "rules: [a]\n", 5, "rules[0]", "'a' is not a rule"),
    (CLASSES + "rules: [{class: a, action: drop}]\n", 5, "rules[0].action", "unknown key 'action'"),
    (
        CLASSES + "rules:\n- {name: x, class: a}\n- {name: x, class: b}\n",
        7,
        "rules[1].name",
        "'x' is the name of another",
    ),
    (CLASSES + "rules: [{class: a, name: ''}]\n", 5, "rules[0].name", "is empty"),
    (CLASSES + "rules: [{class: a, match: }]\n", 5, "rules[0].match", "there is no value"),
    (RULE % "port: 80", 6, "rules[0].match.port", "unknown key 'port'"),
    (RULE % "dst-port: 65536", 6, "rules[0].match.dst-port", "65536 is not a port"),
    (RULE % "dst-port: [1, 70000]", 6, "rules[0].match.dst-port[1]", "70000 is not a port"),
    (RULE % "dst-port: 200-100", 6, "rules[0].match.dst-port", "the range '200-100' is reversed"),
    (RULE % "dst-port: []", 6, "rules[0].match.dst-port", "is empty"),
    (RULE % "dst-port: 1.5", 6, "rules[0].match.dst-port", "1.5 is not"),
    (RULE % "dst-port: http", 6, "rules[0].match.dst-port", "'http' is not a port"),
    (RULE % "protocol: tpc", 6, "rules[0].match.protocol", "'tpc' is not an IP protocol"),
    (RULE % "protocol: icmp, dst-port: 5", 6, "rules[0].match", "ports of a protocol without ports"),
    (RULE % "src: 10.0.0.0/33", 6, "rules[0].match.src", "'10.0.0.0/33' is not an address prefix"),
    (RULE % "src: 10.0.0.1/8", 6, "rules[0].match.src", "has bits set after its prefix"),
    (RULE % "src: 10.0.0", 6, "rules[0].match.src", "'10.0.0' is not an address prefix"),
    (RULE % "dst: 2001:db8::/129", 6, "rules[0].match.dst", "is not an address prefix"),
    (RULE % "src: 10.0.0.1, dst: '::1'", 6, "rules[0].match", "different IP versions"),
    (RULE % "ethertype: ipv6, src: 10.0.0.1", 6, "rules[0].match", "IP fields contradict the ethertype"),
    (RULE % "ethertype: arp, dscp: ef", 6, "rules[0].match", "IP fields contradict the ethertype"),
    (RULE % "ethertype: ipx", 6, "rules[0].match.ethertype", "'ipx' is not an ethertype"),
    (RULE % "vlan: 4096", 6, "rules[0].match.vlan", "4096 is not a VLAN id"),
    (RULE % "dscp: 64", 6, "rules[0].match.dscp", "64 is not a DSCP"),
    (RULE % "dscp: af44", 6, "rules[0].match.dscp", "'af44' is not a DSCP"),
    (RULE % "pcp: 8", 6, "rules[0].match.pcp", "8 is not a PCP"),
    (RULE % "vm: 'web-['", 6, "rules[0].match.vm", "[ is never closed"),
    (RULE % "vm: [web-1, 'db[']", 6, "rules[0].match.vm[1]", "[ is never closed"),
    (RULE % "vm: {}", 6, "rules[0].match.vm", "is empty"),
    (RULE % "vm: ''", 6, "rules[0].match.vm", "is empty"),
    (RULE % "vm: {id: web-1}", 6, "rules[0].match.vm.id", "unknown key 'id'"),
    (RULE % "vm: {external-id: owner}", 6, "rules[0].match.vm.external-id", "'owner' is not a mapping"),
    (
        RULE % "vm: {external-id: {owner: 'x['}}",
        6,
        "rules[0].match.vm.external-id.owner",
        "[ is never closed",
    ),
    (RULE % "rate: 100Mbit/s", 6, "rules[0].match.rate", "'100Mbit/s' is not a rate condition"),
    (RULE % "rate: '< 100Mbit/s'", 6, "rules[0].match.rate", "is not a rate condition"),
    (RULE % "rate: '>= 100'", 6, "rules[0].match.rate", "'100' is not a rate"),
    (RULE % "rate: '>= 100Mbit/s for 2'", 6, "rules[0].match.rate", "'2' is not a duration"),
    (RULE % "rate: '>= 100Mbit/s for 2h'", 6, "rules[0].match.rate", "2h is too long a time"),
    (RULE % "rate: '>= 1Mbit/s until below 2Mbit/s'", 6, "rules[0].match.rate", "2Mbit/s, is above 1Mbit/s"),
    (
        RULE % "rate: '>= 10% of a queue until below 20% of a queue'",
        6,
        "rules[0].match.rate",
        "above 10% of a queue",
    ),
    (RULE % "rate: '>= 10% of a queue until below 1Mbit/s'", 6, "rules[0].match.rate", "the other is not"),
    (RULE % "rate: '>= 101% of a queue'", 6, "rules[0].match.rate", "more than a queue carries"),
    (RULE % "rate: '>= 0.05% of a queue'", 6, "rules[0].match.rate", "too small"),
    (RULE % "rate: '>= 0bit/s'", 6, "rules[0].match.rate", "too small"),
    (RULE % "hint: c", 6, "rules[0].match.hint", "there is no class 'c'"),
    (RULE % "hint: b", 6, "rules[0].match.hint", "no trust entry allows hints for class b"),
    # --- trust
    (TRUST % "vm: x", 6, "trust[0]", "the key 'sources' is missing"),
    (TRUST % "sources: []", 6, "trust[0].sources", "is empty"),
    (TRUST % "sources: [tos]", 6, "trust[0].sources[0]", "'tos' is not a source"),
    (TRUST % "sources: [dscp]", 6, "trust[0]", "its values are given no class"),
    (TRUST % "sources: [rest], pcp: {5: a}", 6, "trust[0].pcp", "pcp is not among the sources"),
    (TRUST % "sources: [rest], classes: [a, d]", 6, "trust[0].classes[1]", "there is no class 'd'"),
    (TRUST % "sources: [dscp], dscp: {ef: d}", 6, "trust[0].dscp.ef", "there is no class 'd'"),
    (
        TRUST % "sources: [dscp], classes: b, dscp: {ef: a}",
        6,
        "trust[0].dscp.ef",
        "not among the entry's classes",
    ),
    (TRUST % "sources: [dscp], dscp: {0: a}", 6, "trust[0].dscp.0", "0 means that a packet is not marked"),
    (TRUST % "sources: [dscp], dscp: {8-15: a, 10: b}", 6, "trust[0].dscp.10", "overlaps with another key"),
    (TRUST % "sources: [dscp], dscp: {64: a}", 6, "trust[0].dscp.64", "64 is not a DSCP"),
    (TRUST % "sources: [pcp], pcp: {5: a, 05: b}", 6, "trust[0].pcp.05", "overlaps with another key"),
    (TRUST % "sources: [rest], at-most: fast", 6, "trust[0].at-most", "'fast' is not a rate"),
    (TRUST % "sources: [rest], at-most: 5", 6, "trust[0].at-most", "5 is not a rate"),
    # --- shares
    (SHARE % "name: x", 6, "shares[0]", "the key 'vm' is missing"),
    (SHARE % "vm: x, weight: 0", 6, "shares[0].weight", "0 is too small"),
    (SHARE % "vm: x, weight: half", 6, "shares[0].weight", "'half' is not a weight"),
    (CLASSES + "shares:\n- {vm: x}\n- {vm: [x]}\n", 7, "shares[1].vm", "the same VMs as in share 'share 1'"),
    (
        CLASSES + "shares:\n- {name: s, vm: x}\n- {name: s, vm: y}\n",
        7,
        "shares[1].name",
        "the name of another",
    ),
    # --- devices
    (DEVICE % "match: {role: nic}", 6, "devices[0]", "this entry changes nothing"),
    (DEVICE % "match: {role: router}, only: a", 6, "devices[0].match.role", "'router' is not a role"),
    (
        DEVICE % "match: {role: nic}, role: switch",
        6,
        "devices[0].role",
        "an entry that selects devices by role",
    ),
    (DEVICE % "match: {dpid: 12}, only: a", 6, "devices[0].match.dpid", "12 is not a datapath id"),
    (
        DEVICE % "match: {dpid: [0000000000000001, xyz]}, only: a",
        6,
        "devices[0].match.dpid[1]",
        "'xyz' is not a datapath",
    ),
    (DEVICE % "only: [a, c]", 6, "devices[0].only[1]", "there is no class 'c'"),
    (DEVICE % "only: []", 6, "devices[0].only", "is empty"),
    (DEVICE % "change: {c: {limit: none}}", 6, "devices[0].change.c", "there is no class 'c'"),
    (
        DEVICE % "change: {a: {limit: nothing}}",
        6,
        "devices[0].change.a.limit",
        "'nothing' is not a rate or `none`",
    ),
    (DEVICE % "change: {a: {limit: 5bit/s}}", 6, "devices[0].change.a.limit", "5bit/s is too small"),
    (DEVICE % "change: {a: {limit: 5Tbit/s}}", 6, "devices[0].change.a.limit", "5Tbit/s is too large"),
    (DEVICE % "change: {a: {}}", 6, "devices[0].change.a", "is empty"),
    (DEVICE % "change: {a: {priority: 5}}", 6, "devices[0].change.a.priority", "unknown key 'priority'"),
    (DEVICE % "only: b, change: {a: {limit: none}}", 6, "devices[0].change.a", "changed but not in only"),
    (DEVICE % "uplinks: 'eth['", 6, "devices[0].uplinks", "[ is never closed"),
    # --- settings
    (HEAD + "balance: {strategy: hsh}\n", 2, "balance.strategy", "there is no strategy 'hsh'"),
    (HEAD + "balance: {imbalance: 2}\n", 2, "balance.imbalance", "2 is not a percentage"),
    (
        HEAD + "balance: {moves-per-second: 101%}\n",
        2,
        "balance.moves-per-second",
        "101% is more than all flows",
    ),
    (HEAD + "balance: {window: 10}\n", 2, "balance.window", "10 is not a duration"),
    (HEAD + "balance: {interval: 1ms}\n", 2, "balance.interval", "1ms is out of range"),
    (HEAD + "balance: fast\n", 2, "balance", "'fast' is not a mapping of balance settings"),
    (HEAD + "pins: {which: some}\n", 2, "pins.which", "'some' is not which flows"),
    (HEAD + "pins: {budget: -1}\n", 2, "pins.budget", "-1 is too small"),
    (HEAD + "pins: {idle-timeout: 1.5s}\n", 2, "pins.idle-timeout", "1.5s is out of range"),
    (HEAD + "pins: {idle-timeout: 24h}\n", 2, "pins.idle-timeout", "24h is out of range"),
]


@pytest.mark.parametrize(
    ("text", "line", "path", "message"), CASES, ids=[f"{n}-{c[2]}"[:40] for n, c in enumerate(CASES)]
)
def test_a_malformed_policy_is_refused_with_its_place(text: str, line: int, path: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policies.load(text, "p.yaml")
    problems = caught.value.problems
    assert any((p.line, p.path) == (line, path) and message in p.message for p in problems), problems
    assert all(p.remedy and p.column >= 1 for p in problems)
    assert str(caught.value).startswith("p.yaml:")


def test_there_are_at_least_a_hundred_of_them() -> None:
    assert len(CASES) >= 100
    assert len({case[0] for case in CASES}) == len(CASES)


def test_all_problems_come_at_once_in_the_order_of_the_document() -> None:
    text = (
        CLASS % "limt: 5"
        + "rules:\n- {class: c}\n- {class: a, match: {dst-port: [x, 70000], src: y}}\nbalance: {strategy: z}\n"
    )
    with pytest.raises(PolicyError) as caught:
        policies.load(text)
    assert [(p.line, p.path) for p in caught.value.problems] == [
        (3, "classes.a.limt"),
        (5, "rules[0].class"),
        (6, "rules[1].match.dst-port[0]"),
        (6, "rules[1].match.dst-port[1]"),
        (6, "rules[1].match.src"),
        (7, "balance.strategy"),
    ]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("version: 1\nclases: {}\n", "did you mean classes?"),
        (CLASS % "limt: 5Mbit/s", "did you mean limit?"),
        (CLASS % "keep_vm_together: true", "did you mean keep-vm-together?"),
        (CLASS % "path: hardwares", "did you mean hardware?"),
        (
            CLASS.replace("a:", "tenant-gold:") % "" + "rules: [{class: tenant-gld}]\n",
            "did you mean tenant-gold?",
        ),
        (HEAD + "balance: {strategy: roundrobin}\n", "did you mean round-robin?"),
        (RULE % "dst-port: 200-100", "write 100-200"),
        (RULE % "src: 10.0.0.1/8", "write 10.0.0.0/8, or 10.0.0.1 for the one address"),
        (CLASS % "limit: 50", "such as 50Mbit/s"),
    ],
)
def test_the_remedy_helps(text: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policies.load(text)
    assert caught.value.problems[0].remedy == remedy


def test_more_rate_conditions_than_a_flow_can_remember() -> None:
    rules = "".join(f"- {{class: a, match: {{rate: '>= {n + 1}Mbit/s'}}}}\n" for n in range(13))
    with pytest.raises(PolicyError) as caught:
        policies.load(CLASSES + "rules:\n" + rules)
    assert [(p.line, p.path) for p in caught.value.problems] == [(18, "rules[12].match.rate")]


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\x00version", b"\x7fELF\x02\x01\x01\x00\xff", bytes(range(128, 256))]
)
def test_a_binary_file(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"version: 1\n" + junk)
    with pytest.raises(PolicyError) as caught:
        policies.load_file(path)
    assert caught.value.problems[0].line == 2
    assert str(path) in str(caught.value)


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(PolicyError):
        policies.load_file(path)


def test_nesting_without_end_is_refused_with_its_place() -> None:
    """libyaml may stop by its own limit before it has reported the first bracket."""
    with pytest.raises(PolicyError) as caught:
        policies.load("version: 1\nrules: " + "[" * 100_000, "p.yaml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "nested more than 16 deep")
    assert problem.path.removeprefix("rules") in ("[0]" * depth for depth in range(16))
