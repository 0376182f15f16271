"""``scripts/coverage_floor.py``: a branch counts that was run in any process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripts import branch_coverage, coverage_floor


def found(executed: list[list[int]], missing: list[list[int]]) -> dict[str, dict[str, list[list[int]]]]:
    return {"app/flowlane/core/a.py": {"executed_branches": executed, "missing_branches": missing}}


def test_branches_of_all_processes_count_together() -> None:
    one = found([[1, 2]], [[1, 3], [5, 0], [5, 6]])
    files = coverage_floor.read([one, found([[1, 3], [1, 2]], [[5, 0], [5, 6]])])
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
    (tmp_path / "one.json").write_text(json.dumps(found([[1, 2]], missing)))
    monkeypatch.setattr(coverage_floor, "RESULTS", tmp_path)
    monkeypatch.setattr(coverage_floor, "branches_of", lambda _folder: found([], [[1, 2]]))
    assert coverage_floor.main(["--missing"]) == code
    assert ("app/flowlane/core/a.py 1->3\n" in capsys.readouterr().out) is bool(missing)


def test_files_that_no_test_imports_count() -> None:
    files = branch_coverage.branches_of(branch_coverage.PACKAGE / "core" / "topology")
    assert files["app/flowlane/core/topology/way.py"]["missing_branches"]
    assert all(not branches["executed_branches"] for branches in files.values())
