"""The example policies of the documentation: each is good, and gives the verdicts that its head promises."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from flowlane import policy as policies
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.classify.gates import advance, resolve
from flowlane.core.classify.matching import read_match
from flowlane.core.device.rules import DeviceView, derive
from flowlane.core.flowkey import IPV4, IPV6, LAYER2, FlowParts
from flowlane.core.model import Capabilities, Hint, HintSource, LeftOut, Role, Vm
from flowlane.core.policy import Match, Policy, TrafficClass
from flowlane.policy.lint import notes
from flowlane.units import parse_duration, parse_rate

FOLDER = Path(__file__).parent.parent.parent / "docs" / "policies"
FILES = sorted(FOLDER.glob("*.yaml"))
EXAMPLES = [
    pytest.param(path, words, verdict, id=f"{path.stem.split('-')[0]}: {words}")
    for path in FILES
    for words, verdict in re.findall(r"^# example: (.*?) -> (\S+)$", path.read_text(), re.MULTILINE)
]
CAPABILITIES = Capabilities(max_meters=1000, meter_burst=True, select_groups=True)


def packet(facts: dict[str, str]) -> FlowParts:
    """The flow key's parts, from the words of an example."""
    vlan = int(facts["vlan"]) if "vlan" in facts else None
    if "ethertype" in facts:
        return FlowParts(1, vlan, LAYER2, 0, int(facts["ethertype"], 16), 0, bytes(6), bytes(6))
    dst = ip_address(facts.get("dst", "192.0.2.1"))
    src = ip_address(facts.get("src", "10.0.0.1" if dst.version == 4 else "2001:db8::1"))
    kind = IPV4 if dst.version == 4 else IPV6
    protocol = read_match({"protocol": facts["protocol"]}).protocols[0]
    ports = int(facts.get("src-port", 40000)), int(facts.get("dst-port", 40000))
    return FlowParts(1, vlan, kind, protocol, *ports, src.packed, dst.packed)


def level_of(policy: Policy, facts: dict[str, str]) -> int:
    """The gates of a flow that has had its rate for a while, measured each half second."""
    level, since = 0, 0.0
    if "rate" in facts:
        for step in range(int(parse_duration(facts["held"]) * 2) + 1):
            level, since = advance(
                resolve(policy.gates, 0), level, since, parse_rate(facts["rate"]), step / 2
            )
    return level


def verdict_of(policy: Policy, facts: dict[str, str]) -> str:
    ids = {key: facts[key] for key in ("owner",) if key in facts}
    vm = Vm(1, facts["vm"], facts["vm"], 1, 1, "vf1", external_ids=ids) if "vm" in facts else None
    dscp, pcp, level = int(facts.get("dscp", 0)), int(facts.get("pcp", 0)), level_of(policy, facts)
    hint = Hint("h", facts["vm"], facts["hint"], Match(), HintSource.REST) if "hint" in facts else None
    classifier = compile_rules(policy)
    belief = classifier.weigh_hints(vm, dscp, pcp, hint, level)
    index, _ = classifier.classify(vm, packet(facts), dscp, pcp, belief.class_index, level)
    return policy.classes[index].name


@pytest.mark.parametrize(("path", "words", "verdict"), EXAMPLES)
def test_an_example_flow_is_of_the_class_that_is_promised(path: Path, words: str, verdict: str) -> None:
    facts = dict(word.split("=", 1) for word in words.split())
    role = Role(facts.get("role", "nic"))
    device = DeviceView(
        1, facts.get("device", "br-nic"), role, CAPABILITIES, physical_queues=8, software_queues=8
    )
    policy, _ = derive(policies.load_file(path), device)
    assert verdict_of(policy, facts) == verdict


@pytest.mark.parametrize("number", [2, *range(4, 14)])
def test_every_requirement_has_its_example(number: int) -> None:
    paths = [path for path in FILES if path.name.startswith(f"m{number:02}-")]
    assert len(paths) == 1
    text = paths[0].read_text()
    assert text.startswith(f"# M{number}: ")
    assert len(re.findall(r"^# example: .* -> \S+$", text, re.MULTILINE)) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_has_no_dead_rules_and_no_unused_class(path: Path) -> None:
    policy = policies.load_file(path)
    assert [text for _, text in notes(policy) if "never" in text] == []
    if not path.name.startswith("m"):
        return
    told = {verdict for file, _, verdict in (example.values for example in EXAMPLES) if file == path}
    assert {policy.classes[rule.class_index].name for rule in policy.rules} <= told


def on(name: str, **device: Any) -> tuple[dict[str, TrafficClass], tuple[LeftOut, ...]]:
    view = DeviceView(
        1,
        device.pop("device", "br-nic"),
        capabilities=CAPABILITIES,
        physical_queues=8,
        software_queues=8,
        **device,
    )
    policy, left_out = derive(policies.load_file(next(FOLDER.glob(f"{name}-*"))), view)
    return {item.name: item for item in policy.classes}, left_out


def test_m2_the_same_altered_and_subset() -> None:
    whole = policies.load_file(next(FOLDER.glob("m02-*")))
    assert derive(whole, DeviceView(1, "br-nic", Role.NIC, CAPABILITIES, 8, 8))[0] is whole
    assert on("m02", role=Role.VSWITCH)[0]["backup"].rate_limit == 100_000_000
    classes, left_out = on("m02", role=Role.SWITCH)
    assert classes["backup"].rate_limit is None
    assert [item.what for item in left_out] == ["class web"]


def test_m13_one_flow_is_treated_by_each_device_on_its_own() -> None:
    assert on("m13")[0]["elephants"].exclusive
    assert not on("m13", role=Role.SWITCH)[0]["elephants"].exclusive
    assert on("m13", device="br-offload")[0]["elephants"].meter_only
