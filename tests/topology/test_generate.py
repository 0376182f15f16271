"""Networks made by a rule are good files, of the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlane import topology
from flowlane.topology.__main__ import main
from flowlane.topology.generate import leaf_spine

FOLDER = Path(__file__).parents[2] / "topologies"


@pytest.mark.parametrize(("leaves", "spines", "vms"), [(1, 1, 1), (4, 2, 8), (3, 5, 255)])
def test_leaf_spine_networks_are_good_files(tmp_path: Path, leaves: int, spines: int, vms: int) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(leaf_spine(leaves, spines, vms, queues=3))
    network = topology.load(path)
    assert len(network["bridges"]) == spines + 2 * leaves
    assert len(network["hosts"]) == leaves * vms
    assert len(network["links"]) == leaves * (1 + spines)
    assert {queues["count"] for queues in network["queues"].values()} == {3}


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 256, 1), (1, 1, -1)])
def test_numbers_that_no_network_has_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not a number from 1 to 255"):
        leaf_spine(*numbers)


def test_the_file_of_the_repository_is_what_the_rule_makes() -> None:
    assert (FOLDER / "leaf-spine.yaml").read_text() == leaf_spine(2, 2, 2, queues=2)


def test_the_command_prints_it_or_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--leaf-spine", "2x1x3"]) == 0
    assert capsys.readouterr().out == leaf_spine(2, 1, 3)
    for text in ("2x1", "x", "2x1x0"):
        assert main(["--leaf-spine", text]) == 1
        assert "Traceback" not in capsys.readouterr().err
