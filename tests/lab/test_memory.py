from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab.launcher.errors import LabError
from lab.launcher.memory import check_memory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("available_kib", "remedy"), [(1_500_000, "--memory 1408"), (400_000, "end something else")]
)
def test_a_machine_without_the_memory_is_told_so(tmp_path: Path, available_kib: int, remedy: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal:  8000000 kB\nMemAvailable:  {available_kib} kB\nHugePages_Total:  0\n")
    with pytest.raises(LabError, match=remedy):
        check_memory(1536, meminfo)
    check_memory(available_kib // 1024, meminfo)
