"""Pictures of networks show every bridge, host and queue; those of the docs are drawn from the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowlane.topology import load, read
from flowlane.topology.__main__ import main
from flowlane.topology.drawing import bridge_graph, draw, positions

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "topologies").glob("*.yaml"))
TEXT = re.compile(r"<text[^>]*>([^<]+)</text>")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_picture_of_the_docs_is_drawn_from_the_file(tmp_path: Path, path: Path) -> None:
    draw(read(path), tmp_path / "network.svg")
    drawn = TEXT.findall((tmp_path / "network.svg").read_text())
    graph = read(path)
    for node, data in graph.nodes(data=True):
        if data["kind"] in {"bridge", "host"}:
            assert node in drawn
        if "queues" in data:
            words = f"{node.partition('/')[2]}: {data['queues']['count']} x {data['queues']['rate']}"
            assert words in drawn
    shown = ROOT / "docs" / "images" / "topologies" / f"{path.stem}.svg"
    assert sorted(TEXT.findall(shown.read_text())) == sorted(drawn), "draw it anew: topologies/README.md"


def test_vms_are_below_and_machines_beyond_the_wire_above() -> None:
    drawn = bridge_graph(read(ROOT / "topologies" / "two-hosts.yaml"))
    rows = {node: y for node, (_, y) in positions(drawn).items()}
    assert rows["vm1"] < rows["nica"] < rows["tor"] < rows["remote"]


def test_patch_ports_and_moves_are_dashed() -> None:
    patched = bridge_graph(read(ROOT / "topologies" / "int-and-ex.yaml"))
    assert [edge["dashed"] for edge in patched.get_edge_data("br-int", "br-ex").values()] == [True]
    moving = bridge_graph(read(ROOT / "topologies" / "migration.yaml"))
    assert [edge["dashed"] for edge in moving.get_edge_data("vm1", "nicb").values()] == [True]


def test_the_command_draws_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "topologies" / "small.yaml")
    assert main([file, "--draw", str(tmp_path / "small.svg")]) == 0
    assert (tmp_path / "small.svg").read_text().startswith("<?xml")
    assert main([file, "--draw", str(tmp_path / "none" / "small.svg")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_readme_has_a_paragraph_and_a_picture_of_each(path: Path) -> None:
    page = " ".join((ROOT / "topologies" / "README.md").read_text().split())
    network = load(path)
    assert " ".join(network["teaches"].split()) in page
    assert f"(../docs/images/topologies/{path.stem}.svg)" in page
