"""Loading a policy: what the words of the language become, and what random texts do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flowlane import policy as policies
from flowlane.core.model import HintSource, Role
from flowlane.core.policy import (
    Alike,
    Balance,
    ClassChange,
    DeviceRules,
    DeviceSelector,
    ExtraAddresses,
    LimitScope,
    Match,
    PathPreference,
    Pins,
    Policy,
    PortSecurity,
    RateGate,
    Rule,
    Share,
    TrafficClass,
    Trust,
    VmSelector,
)
from flowlane.errors import PolicyError, Problem
from flowlane.policy.structure import schema

FULL = """\
version: 1
default: rest
classes:
  bulk:
    priority: 2
    qos: bronze
    limit: 50Mbit/s
    burst: 64kB
    limit-scope: vm
    minimum: 10Mbit/s
    queues: exclusive
    alike: [rate-limit, vm]
    min-queues: 1
    max-queues: 3
    path: hardware
    keep-vm-together: true
  offloaded: {limit: 1Gbit/s, meter-only: true}
  rest: {}
rules:
  - name: backup
    match:
      vm: {name: [web-*, db-1], external-id: {owner: tenant-*}}
      protocol: tcp
      src: 10.0.0.0/8
      dst-port: [873, "8000-8999"]
      rate: ">= 100Mbit/s for 5s until below 20Mbit/s"
    class: bulk
  - {match: {hint: [bulk, rest], vm: web-1}, class: offloaded}
  - {class: rest}
shares:
  - {name: tenant-a, vm: "a-*", weight: 2}
  - {vm: [b-1, b-2]}
trust:
  - vm: web-*
    sources: [dscp, pcp, rest]
    classes: [bulk, rest]
    dscp: {ef: bulk, 8-9: rest}
    pcp: {5: bulk}
    at-most: 20Mbit/s
devices:
  - match: {name: tor-*, dpid: 00000000000000aF}
    role: switch
    uplinks: [up1, "up[23]"]
    only: bulk
    sampling: off
    change:
      bulk: {limit: none, queues: shared, path: software, max-queues: 1, meter-only: false}
balance: {strategy: least-loaded, imbalance: 5%, moves-per-second: 1%, window: 20s, interval: 500ms}
pins: {which: worthy, budget: 500, idle-timeout: 30s}
copy-rate: 200
sampling: 1/64
port-security: strict
extra-addresses:
  - {vm: "lb-*", mac: [00:00:5e:00:01:05, 00-00-5E-00-02-05]}
"""


def test_every_word_of_the_language() -> None:
    policy = policies.load(FULL)
    assert policy.classes == (
        TrafficClass("rest", 0),
        TrafficClass(
            "bulk", 1, 2, "bronze", 50_000_000, 512_000, LimitScope.VM, 10_000_000, True,
            (Alike.RATE_LIMIT, Alike.VM), 1, 3, PathPreference.HARDWARE, True,
        ),
        TrafficClass("offloaded", 2, rate_limit=10**9, meter_only=True),
    )  # fmt: skip
    web = VmSelector(("web-*", "db-1"), (("owner", "tenant-*"),))
    ten = (bytes([10, 0, 0, 0]), 8)
    assert policy.rules == (
        Rule(
            "backup",
            0,
            Match(web, protocols=(6,), src=(ten,), dst_ports=((873, 873), (8000, 8999)), gate=1),
            1,
            20,
        ),
        Rule("rule 2", 1, Match(VmSelector(("web-1",)), hint=(1, 0)), 2, 28),
        Rule("rule 3", 2, Match(), 0, 29),
    )
    assert policy.gates == (RateGate(20_000_000, 2.0, 10_000_000), RateGate(100_000_000, 5.0, 20_000_000))
    assert policy.shares == (
        Share("tenant-a", VmSelector(("a-*",)), 2.0),
        Share("share 2", VmSelector(("b-1", "b-2")), 1.0),
    )
    sources = frozenset({HintSource.DSCP, HintSource.PCP, HintSource.REST})
    marks = ((46, 1), (8, 0), (9, 0))
    assert policy.trust == (Trust(VmSelector(("web-*",)), sources, frozenset({0, 1}), marks, ((5, 1),), 0),)
    assert policy.devices == (
        DeviceRules(
            DeviceSelector(names=("tor-*",), dpids=(0xAF,)),
            only=(1,),
            changes=(ClassChange(1, None, True, False, PathPreference.SOFTWARE, 1, False),),
            sampling=0,
            role=Role.SWITCH,
            uplinks=("up1", "up[23]"),
        ),
    )
    assert policy.balance == Balance("least-loaded", 0.05, 0.01, 20.0, 0.5)
    assert policy.pins == Pins("worthy", 500, 30)
    assert policy.copy_rate == 200
    assert policy.sampling == 64
    assert policy.port_security is PortSecurity.STRICT
    assert policy.extra_addresses == (
        ExtraAddresses(VmSelector(("lb-*",)), (0x00005E000105, 0x00005E000205)),
    )
    assert policy.text == FULL


def test_the_smallest_policy_has_the_defaults() -> None:
    policy = policies.load("version: 1")
    assert policy.classes == (TrafficClass("default", 0),)
    assert (policy.rules, policy.gates, policy.balance, policy.pins) == ((), (), Balance(), Pins())


def test_defaults_of_the_schema_are_those_of_the_model() -> None:
    """The schema's defaults are what editors show; writing them out must change nothing."""
    defaults = {
        name: {
            key: item["default"]
            for key, item in schema()["$defs"][name]["properties"].items()
            if "default" in item
        }
        for name in ("class", "balance", "pins")
    }
    written = policies.load(
        yaml.safe_dump(
            {
                "version": 1,
                "classes": {"default": {k: v for k, v in defaults["class"].items() if k != "limit-scope"}},
                "balance": defaults["balance"],
                "pins": defaults["pins"],
                "copy-rate": schema()["properties"]["copy-rate"]["default"],
            }
        )
    )
    plain = policies.load("version: 1")
    assert (written.classes, written.balance, written.pins, written.copy_rate) == (
        plain.classes, plain.balance, plain.pins, plain.copy_rate,
    )  # fmt: skip


def test_a_class_named_default_is_the_default_one() -> None:
    policy = policies.load("version: 1\nclasses:\n  a: {}\n  default: {priority: 3}\n")
    assert [(item.name, item.index, item.priority) for item in policy.classes] == [
        ("default", 0, 3),
        ("a", 1, 0),
    ]


def test_equal_rate_conditions_are_one_gate() -> None:
    text = "version: 1\nrules:\n" + "".join(
        f"- {{match: {{rate: '{rate}', vlan: {n}}}, class: default}}\n"
        for n, rate in enumerate([">= 8Mbit/s", ">=1MB/s for 2000ms", ">= 8Mbit/s until below 4Mbit/s"])
    )
    policy = policies.load(text)
    assert policy.gates == (RateGate(8_000_000, 2.0, 4_000_000),)
    assert [rule.match.gate for rule in policy.rules] == [0, 0, 0]


def test_words_that_yaml_1_1_would_twist_stay_words() -> None:
    classes = "{no: {}, on: {qos: yes}, 1e3: {}}"
    text = f"version: 1\nclasses: {classes}\nrules:\n- {{match: {{vm: [no, 12:30:45]}}, class: no}}\n"
    policy = policies.load(text)
    assert [item.name for item in policy.classes] == ["default", "no", "on", "1e3"]
    assert policy.classes[2].qos == "yes"
    assert policy.rules[0].match.vms == VmSelector(("no", "12:30:45"))


def test_the_built_in_policy() -> None:
    policy = policies.default()
    assert [item.name for item in policy.classes] == ["small", "heavy"]
    assert (policy.classes[0].exclusive, policy.classes[1].exclusive) == (False, True)
    assert policy.gates == (RateGate(250_000, 0.0, 100_000, of_queue=True),)
    assert (policy.rules[0].match, policy.rules[0].class_index) == (Match(gate=0), 1)
    assert policy.text == policies.default_text()


def test_a_file_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nclasses:\r\n  a: {}\r\n")
    assert [item.name for item in policies.load_file(path).classes] == ["default", "a"]


@pytest.mark.parametrize("text", [FULL, "version: 1", policies.default_text()])
def test_loading_twice_gives_the_same(text: str) -> None:
    assert policies.load(text) == policies.load(text)


def outcome(text: str) -> Policy | tuple[Problem, ...]:
    try:
        return policies.load(text)
    except PolicyError as error:
        return error.problems


def words_of(node: object) -> Iterator[object]:
    """Every key and word of the schema, so that random documents come near the language."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from words_of(value)
    elif isinstance(node, list):
        for item in node:
            yield from words_of(item)
    else:
        yield node


KEYS = sorted({key for name in schema()["$defs"].values() for key in name.get("properties", {})})
WORDS = [word for word in words_of(schema()) if isinstance(word, str | int | float | bool) or word is None]
leaves = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=12),
    st.integers(),
    st.floats(allow_nan=True),
    st.none(),
    st.booleans(),
    st.dates(),
    st.binary(max_size=6),
    st.sampled_from([">= 5Mbit/s", "10.0.0.0/8", "1-5", "web-*", "50Mbit/s", "2s", "none", "ef"]),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=5), st.integers(0, 9))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=15,
)
near = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 1, 2, None])},
    optional={key: values for key in schema()["properties"] if key != "version"},
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(near, values))
def test_random_documents_are_read_or_refused(data: object) -> None:
    text = yaml.dump(data, allow_unicode=True)
    assert outcome(text) == outcome(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_random_texts_are_read_or_refused(text: str) -> None:
    assert outcome(text) == outcome(text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_good_policy_with_a_piece_cut_or_put_in_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(FULL)))
    end = data.draw(st.integers(start, min(len(FULL), start + 40)))
    junk = data.draw(st.text(alphabet=" \n:-{}[]&*!|>'\"%@#,abz019.\t", max_size=6))
    text = FULL[:start] + junk + FULL[end:]
    policy = outcome(text)
    assert policy == outcome(text)
    if isinstance(policy, tuple):
        assert all(1 <= problem.line <= text.count("\n") + 2 for problem in policy)


@settings(max_examples=200, deadline=None)
@given(near)
def test_what_the_schema_refuses_is_refused(data: object) -> None:
    """An editor with the schema and Flowlane never disagree in this direction."""
    text = yaml.safe_dump(data) if not _odd(data) else "version: 1"
    plain = yaml.safe_load(text)
    if not Draft202012Validator(schema()).is_valid(plain) and _plain(plain):
        assert isinstance(outcome(text), tuple)


def _odd(data: object) -> bool:
    return "python" in yaml.dump(data)


def _plain(data: object) -> bool:
    """Whether YAML 1.1 and the language read the same out of the text: no dates, keys that are texts."""
    if isinstance(data, dict):
        return all(isinstance(key, str) and _plain(value) for key, value in data.items())
    if isinstance(data, list):
        return all(_plain(item) for item in data)
    return isinstance(data, str | int | bool | None)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        (">= 25% of a queue", RateGate(250_000, 2.0, 125_000, of_queue=True)),
        (
            ">= 12.5 % of queue for 1s until below 5% of a queue",
            RateGate(125_000, 1.0, 50_000, of_queue=True),
        ),
    ],
)
def test_a_rate_may_be_a_part_of_what_a_queue_can_carry(text: str, gate: RateGate) -> None:
    policy = policies.load(
        f"version: 1\nclasses: {{a: {{}}}}\nrules: [{{match: {{rate: '{text}'}}, class: a}}]\n"
    )
    assert policy.gates == (gate,)
