"""Whose hint counts, for what, and what ends the trust (M12)."""

import pytest

from flowlane.core.classify.hints import HINT_TEXTS, HintVerdict, trust_of, weigh
from flowlane.core.model import Hint, HintSource, Vm
from flowlane.core.policy import Match, Policy, RateGate, TrafficClass, Trust, VmSelector

CLASSES = (
    TrafficClass("default", 0),
    TrafficClass("gold", 1),
    TrafficClass("silver", 2),
    TrafficClass("root", 3),
)
POLICY = Policy(
    CLASSES,
    gates=(RateGate(20_000_000, 2.0, 10_000_000),),
    trust=(
        Trust(
            VmSelector(("web-*",)),
            frozenset({HintSource.DSCP, HintSource.PCP}),
            frozenset({1, 2}),
            dscp=((46, 1), (10, 2)),
            pcp=((5, 2),),
            gate=0,
        ),
        Trust(VmSelector(("web-1",)), frozenset({HintSource.REST}), frozenset({1})),
        Trust(VmSelector(("web-*",)), frozenset({HintSource.DSCP}), frozenset({2}), dscp=((46, 2), (12, 2))),
    ),
)
WEB1 = Vm(1, "web-1", "web-1", 1, 1, "p1")
DB = Vm(2, "db", "db", 1, 2, "p2")
B, NONE = HintVerdict.TRUSTED, HintSource.NONE


def rest(name: str, source: HintSource = HintSource.REST) -> Hint:
    return Hint("h", "web-1", name, Match(), source)


@pytest.mark.parametrize(
    ("vm", "dscp", "pcp", "hint", "opened", "expected"),
    [
        (WEB1, 0, 0, None, 0, (None, NONE, HintVerdict.NONE_GIVEN)),
        (WEB1, 46, 0, None, 0, (1, HintSource.DSCP, B)),
        (WEB1, 12, 0, None, 0, (2, HintSource.DSCP, B)),
        (WEB1, 11, 0, None, 0, (None, NONE, HintVerdict.NONE_GIVEN)),
        (WEB1, 0, 5, None, 0, (2, HintSource.PCP, B)),
        (WEB1, 46, 5, None, 0, (1, HintSource.DSCP, B)),
        (WEB1, 46, 0, None, 1, (None, HintSource.DSCP, HintVerdict.RATE_TOO_HIGH)),
        (WEB1, 12, 0, None, 1, (2, HintSource.DSCP, B)),
        (WEB1, 46, 0, rest("gold"), 1, (1, HintSource.REST, B)),
        (WEB1, 10, 0, rest("silver"), 0, (2, HintSource.DSCP, B)),
        (WEB1, 0, 0, rest("silver"), 0, (None, HintSource.REST, HintVerdict.CLASS_NOT_ALLOWED)),
        (WEB1, 0, 0, rest("nothing"), 0, (None, HintSource.REST, HintVerdict.UNKNOWN_CLASS)),
        (
            WEB1,
            0,
            0,
            rest("gold", HintSource.OVSDB),
            0,
            (None, HintSource.OVSDB, HintVerdict.SOURCE_NOT_TRUSTED),
        ),
        (DB, 46, 5, rest("gold"), 0, (None, HintSource.REST, HintVerdict.VM_NOT_TRUSTED)),
        (None, 46, 5, None, 0, (None, NONE, HintVerdict.NONE_GIVEN)),
    ],
)
def test_weigh(
    vm: Vm | None,
    dscp: int,
    pcp: int,
    hint: Hint | None,
    opened: int,
    expected: tuple[None, HintSource, HintVerdict] | tuple[int, HintSource, HintVerdict],
) -> None:
    assert weigh(trust_of(POLICY, vm), dscp, pcp, hint, opened) == expected


def test_every_verdict_has_its_text() -> None:
    assert set(HINT_TEXTS) == set(HintVerdict)
