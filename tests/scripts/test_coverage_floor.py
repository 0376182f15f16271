"""``scripts/coverage_floor.py``: a branch counts that was run in any process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripts import coverage_floor


def write(path: Path, executed: list[list[int]], missing: list[list[int]]) -> None:
    branches = {"executed_branches": executed, "missing_branches": missing}
    path.write_text(json.dumps({"app/flowlane/core/a.py": branches}))


def test_branches_of_all_processes_count_together(tmp_path: Path) -> None:
    write(tmp_path / "one.json", [[1, 2]], [[1, 3], [5, 0], [5, 6]])
    write(tmp_path / "other.json", [[1, 3], [1, 2]], [[5, 0], [5, 6]])
    files = coverage_floor.read(tmp_path)
    assert files == {"app/flowlane/core/a.py": ({(1, 2), (1, 3)}, {(5, 0), (5, 6)})}
    assert coverage_floor.percentage(files, "app/flowlane/core/") == 50.0
    assert coverage_floor.percentage(files, "app/flowlane/cli/") == 0.0


@pytest.mark.parametrize(("missing", "code"), [([], 0), ([[1, 3]], 1)])
def test_below_the_floor_is_a_failure_that_names_the_branch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: list[list[int]],
    code: int,
) -> None:
    write(tmp_path / "one.json", [[1, 2]], missing)
    monkeypatch.setattr(coverage_floor, "RESULTS", tmp_path)
    assert coverage_floor.main(["--missing"]) == code
    assert ("app/flowlane/core/a.py 1->3\n" in capsys.readouterr().out) is bool(missing)
