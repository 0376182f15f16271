"""M12: a VM's hint counts where the policy trusts it."""

from support.engine.example_policies import Tried, spec

from flowlane.core import events as ev
from flowlane.core.classify.matching import read_match
from flowlane.core.model import Hint, HintSource, QueueKind

MBIT = 1_000_000


def world() -> Tried:
    return Tried("m12", ["voip-1", "job-1", "other"], queues=4, software=2)


def suggest(
    host: Tried,
    vm: str,
    class_name: str,
    match: dict[str, int | str] | None = None,
    source: HintSource = HintSource.REST,
    expires: float | None = None,
) -> None:
    hint = Hint(f"{vm}-{class_name}", vm, class_name, read_match(match or {}), source, expires, match or {})
    host.world.step(ev.HintGiven(hint))


def test_a_mark_on_the_packets_is_believed_from_some_vms_only() -> None:
    host = world()
    trusted, tagged, doubted = host.begin(
        spec("voip-1", 0, 5000, MBIT, "udp", dscp=46),
        spec("voip-1", 1, 5000, MBIT, "udp", vlan=10, pcp=5),
        spec("other", 2, 5000, MBIT, "udp", dscp=46),
    )
    assert [host.class_of(number) for number in (trusted, tagged, doubted)] == ["voice", "voice", "default"]
    assert host.explain(trusted).hint == "DSCP: the hint is trusted"
    assert host.explain(tagged).hint == "PCP: the hint is trusted"


def test_a_mark_that_the_measured_rate_belies_is_no_longer_believed() -> None:
    host = world()
    (number,) = host.begin(spec("voip-1", 0, 5000, MBIT, "udp", dscp=46))
    host.wait(20)
    assert host.class_of(number) == "voice"
    host.set_rate([number], 40 * MBIT)
    host.wait(20)
    assert host.class_of(number) == "default"
    assert "measured rate is higher" in host.explain(number).hint


def test_a_suggestion_apart_from_the_flow_counts_until_it_is_withdrawn() -> None:
    host = world()
    (number,) = host.begin(spec("job-1", 0, 9000, MBIT))
    assert (host.class_of(number), host.kind(number)) == ("default", QueueKind.PHYSICAL)
    host.wait(6)
    suggest(host, "job-1", "bulk")
    assert (host.class_of(number), host.kind(number)) == ("bulk", QueueKind.SOFTWARE)
    assert host.explain(number).rule == "the VM's hint: no rule matches"
    host.world.step(ev.HintWithdrawn("job-1"))
    assert host.class_of(number) == "default"
    host.wait(6)  # No flow moves twice within the window.
    assert (host.class_of(number), host.kind(number)) == ("default", QueueKind.PHYSICAL)


def test_a_suggestion_is_for_the_flows_that_it_names() -> None:
    host = world()
    named, other = host.begin(spec("job-1", 0, 9000, MBIT), spec("job-1", 1, 9001, MBIT))
    suggest(host, "job-1", "bulk", {"dst-port": 9000, "protocol": "tcp"})
    assert (host.class_of(named), host.class_of(other)) == ("bulk", "default")


def test_a_vm_gets_no_class_that_the_rules_do_not_let_it_ask_for() -> None:
    host = world()
    (number,) = host.begin(spec("job-1", 0, 9000, MBIT))
    suggest(host, "job-1", "voice")
    assert host.class_of(number) == "default"
    assert "does not let the VM ask" in host.explain(number).hint
    (ssh,) = host.begin(spec("job-1", 1, 22, MBIT))
    suggest(host, "job-1", "bulk")
    assert host.class_of(ssh) == "interactive", "rules go before hints"


def test_a_vm_that_nobody_trusts_is_not_heard() -> None:
    host = world()
    (number,) = host.begin(spec("other", 0, 9000, MBIT))
    suggest(host, "other", "bulk", source=HintSource.OVSDB)
    assert host.class_of(number) == "default"
    assert host.explain(number).hint == "OVSDB: no trust entry of the policy covers the VM"


def test_a_suggestion_ends_with_its_time() -> None:
    host = world()
    (number,) = host.begin(spec("job-1", 0, 9000, MBIT))
    suggest(host, "job-1", "bulk", expires=host.world.now + 5)
    assert host.class_of(number) == "bulk"
    host.wait(6)
    assert host.class_of(number) == "default"
