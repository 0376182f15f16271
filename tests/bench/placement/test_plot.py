"""The picture of the placement."""

from pathlib import Path

import pytest
from bench.placement.plot import STYLES, draw_picture


@pytest.mark.parametrize(("name", "begin"), [("x.svg", b"<?xml"), ("x.png", b"\x89PNG")])
def test_the_picture_has_every_way_that_was_run(tmp_path: Path, name: str, begin: bytes) -> None:
    load = [
        {"workload": workload, "state": state, "way": way, "figures": {"p95": 1.5, "late_median": 1.2}}
        for workload in ("all-equal", "incast")
        for state in ("settled", "churn")
        for way in STYLES
    ]
    delay = [
        {"heavy": heavy, "way": way, "leaf": leaf, "p99": 1000.0}
        for heavy in ("long", "short")
        for way in ("hash", "built-in")
        for leaf in ("FIFO", "fq_codel")
    ]
    draw_picture({"load": load, "delay": delay}, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
