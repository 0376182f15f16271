"""``flowlane simulate``: the report, its JSON and its plot."""

import json
from pathlib import Path

import pytest

from flowlane.cli.main import main

POLICIES = Path(__file__).parents[2] / "docs" / "policies"
SHORT = ("--seconds", "10", "--count", "40", "--vms", "3")


def run(capsys: pytest.CaptureFixture[str], *words: Path | int | str) -> tuple[int, str, str]:
    code = main(["simulate", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *SHORT)
    assert (code, err) == (0, "")
    assert "second half: busiest over lower bound" in out
    assert "moves: " in out
    assert len([line for line in out.splitlines() if line.strip()[:1].isdigit()]) == 10


@pytest.mark.parametrize("workload", ["web-search", "hadoop", "zipf-1.0", "zipf-1.3"])
def test_every_workload_under_a_policy(capsys: pytest.CaptureFixture[str], workload: str) -> None:
    words = (POLICIES / "m08-overflow.yaml", "--workload", workload, "--software-queues", 2, *SHORT, "--json")
    code, out, _ = run(capsys, *words)
    report = json.loads(out)
    assert code == 0
    assert [sample["second"] for sample in report["samples"]] == list(range(1, 11))
    assert all(set(sample["loads"]) == {"0", "1", "2", "3", "4", "5"} for sample in report["samples"])
    assert all(sample["over_bound"] >= 1 for sample in report["samples"])
    assert all(
        0 <= sample["in_hardware"] <= 1 and 0 < sample["fairness"] <= 1 for sample in report["samples"]
    )
    moves = [sample["moves"] for sample in report["samples"]]
    assert moves == sorted(moves)
    assert report["pins"] > 0
    sent = [sum(sample["sent"].values()) for sample in report["samples"]]
    assert sent == sorted(sent) and sent[-1] > 0


def test_another_seed_is_another_run_and_the_same_seed_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run(capsys, *SHORT, "--seed", seed, "--json")[1] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_recorded_flows(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys,
        POLICIES / "m07-all-on-hardware.yaml",
        "--flows",
        POLICIES / "flows.csv",
        "--seconds",
        5,
        "--json",
    )
    assert code == 0
    assert (
        json.loads(out)["samples"][-1]["flows"] == len((POLICIES / "flows.csv").read_text().splitlines()) - 1
    )


@pytest.mark.parametrize(("name", "begin"), [("run.png", b"\x89PNG"), ("run.svg", b"<?xml")])
def test_the_plot_is_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, begin: bytes
) -> None:
    path = tmp_path / name
    assert run(capsys, *SHORT, "--plot", path)[0] == 0
    assert path.read_bytes().startswith(begin)


def test_queues_have_rates(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SHORT, "--queues", 2, "--uplink", "10Gbit/s", "--load", 1, "--json")
    free, slow = (
        json.loads(run(capsys, *words, *more)[1])["samples"][-1]["sent"]
        for more in ((), ("--max-rates", "1Gbit/s,-"))
    )
    assert slow["0"] < 1.02 * 10 * 10**9 / 8 < free["0"]
    assert slow["1"] >= 0.99 * free["1"]


def test_there_are_as_many_rates_as_queues_or_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*SHORT, "--queues", 3, "--min-rates")
    assert run(capsys, *words, "10Mbit/s")[0] == 0
    code, _, err = run(capsys, *words, "10Mbit/s,20Mbit/s")
    assert (code, err.strip()) == (
        1,
        "flowlane: --min-rates: 2 rates for 3 queues; give one, or one for each",
    )
    with pytest.raises(SystemExit):
        run(capsys, *words, "10Mbit/s,much")
    assert "is not a rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--count", "0"), ("--seconds", "ten"), ("--churn", "-1"), ("--load", "much"), ("--workload", "x")],
)
def test_a_wrong_option_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["simulate", *words])
    assert refused.value.code == 2
    capsys.readouterr()
