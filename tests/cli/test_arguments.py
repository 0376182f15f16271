"""Values of options: what is no number, or out of bounds, is refused with the option's name and what is accepted."""

from __future__ import annotations

import pytest

from flowlane.cli import main as cli

POLICY = "docs/policies/m06-two-on-one-queue.yaml"

BAD_NUMBERS = [
    "",
    "-1",
    "x",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "9" * 5000,
    "²",
    "٣",
    "1_0",
    " 1 x",
    "0x10",
]

NUMBERS = {
    ("status", "--watch"): ["0", "0.0999", "86401", "1e9"],
    ("devices", "--watch"): ["0"],
    ("devices", "--limit"): ["1.5", "1000000001"],
    ("queues", "--watch"): ["0"],
    ("vms", "--watch"): ["0"],
    ("vms", "--limit"): ["1.5"],
    ("flows", "--watch"): ["0"],
    ("flows", "--limit"): ["1.5", "+1"],
    ("assignments", "--watch"): ["0"],
    ("assignments", "--limit"): ["1.5"],
    ("events", "--count"): ["0", "1.5"],
    ("hint", "set", "vm", "--class", "c", "--lifetime"): ["60", "0s", "0.0ms", "9" * 400 + "h", "1d"],
    ("plan", POLICY, "--flows", "x", "--queues"): ["61441", "1.5"],
    ("plan", POLICY, "--flows", "x", "--software-queues"): ["61441", "1.5"],
    ("plan", POLICY, "--flows", "x", "--uplink"): ["10", "0bit/s", "0.1bit/s", "1001Tbit/s", "1e3Mbit/s"],
    ("simulate", "--queues"): ["61441"],
    ("simulate", "--software-queues"): ["61441"],
    ("simulate", "--uplink"): ["10", "0bit/s"],
    ("simulate", "--count"): ["0", "10000001"],
    ("simulate", "--vms"): ["0", "10000001"],
    ("simulate", "--seconds"): ["0", "10000001"],
    ("simulate", "--churn"): ["10.1"],
    ("simulate", "--load"): ["10.1"],
    ("simulate", "--seed"): ["1.5"],
    ("qos", "show", "--timeout"): ["0", "3601"],
    ("qos", "apply", "p", "--timeout"): ["0", "3601"],
    ("qos", "clear", "p", "--timeout"): ["0", "3601"],
    ("qos", "apply", "p", "--queues"): ["0", "61441", "1.5", "automatic"],
    ("qos", "apply", "p", "--software-queues"): ["61441", "1.5"],
    ("qos", "apply", "p", "--rate"): ["10", "0bit/s", "1001Tbit/s"],
    ("qos", "apply", "p", "--min-rate"): ["10", "0bit/s", "1001Tbit/s", "odd"],
    ("doctor", "--timeout"): ["0", "3601"],
}
"""Every option that takes a number -> what is out of its bounds, beside what no option takes."""


@pytest.mark.parametrize("words", NUMBERS, ids=lambda words: f"{words[0]} {words[-1]}")
def test_what_is_no_number_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    for value in [*BAD_NUMBERS, *NUMBERS[words]]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*words[:-1], f"{words[-1]}={value}"])
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        last = err.splitlines()[-1]
        assert f": error: argument {words[-1]}: {value[:60]!r}"[:-1] in last, "the option and its value"
        assert " is not " in last
        assert len(last) < 300, "a long value is cut"


@pytest.mark.parametrize(
    ("words", "value", "accepted"),
    [
        (["flows", "--watch"], "-1", "'-1' is not a number of seconds from 0.1 to 86400"),
        (["flows", "--limit"], "-5", "'-5' is not a number from 0 to 1000000000"),
        (["events", "--count"], "0", "'0' is not a number from 1 to 1000000000"),
        (["simulate", "--churn"], "nan", "'nan' is not a part from 0 to 10"),
        (["simulate", "--queues"], "many", "'many' is not a number of queues from 0 to 61440"),
        (["simulate", "--uplink"], "0bit/s", "'0bit/s' is not a rate from 1bit/s to 1000Tbit/s"),
        (["qos", "apply", "p", "--queues"], "0", "'0' is not auto or a number of queues from 1 to 61440"),
        (["qos", "apply", "p", "--min-rate"], "odd", "'odd' is not even, none or a rate such as 50Mbit/s"),
    ],
)
def test_what_is_accepted_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], value: str, accepted: str
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*words, value])
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"argument {words[-1]}: {accepted}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulate", "--workload", "mice"], "argument --workload: invalid choice: 'mice' (choose from "),
        (
            ["qos", "apply", "p", "--type", "linux-hbt"],
            "argument --type: invalid choice: 'linux-hbt' (choose",
        ),
        (["dance"], "invalid choice: 'dance' (choose from "),
        (["policy", "dance"], "invalid choice: 'dance' (choose from "),
        (["hint", "dance"], "invalid choice: 'dance' (choose from "),
        (["qos", "dance"], "invalid choice: 'dance' (choose from "),
    ],
)
def test_an_unknown_choice_is_named_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
