"""The simulated host and the flows of plan and simulate."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path

import pytest

from flowlane.cli.trial import add_host_arguments, host_for, read_workload


def parsed(*words: str) -> Namespace:
    parser = argparse.ArgumentParser()
    add_host_arguments(parser)
    return parser.parse_args(words)


def test_the_host_has_the_vms_of_the_flows(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text("vm,src,dst,rate\nb,::1,::2,1Mbit/s\na,::1,::3,1Mbit/s\nb,::1,::4,1Mbit/s\n")
    flows, others, warnings = read_workload(path, None)
    host = host_for(parsed("--queues", "3", "--software-queues", "2", "--uplink", "1Gbit/s"), flows)
    assert (host.vms, host.queues, host.software_queues, host.rate) == (("a", "b"), 3, 2, 10**9)
    assert (others, warnings) == ({}, ())


@pytest.mark.parametrize("text", ["", "\n\n", "vm,src,dst,rate\n"])
def test_a_file_without_a_flow_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(text)
    assert read_workload(path, None).warnings == (f"{path}: no flow was found",)
    assert capsys.readouterr().err == f"flowlane: warning: {path}: no flow was found\n"
