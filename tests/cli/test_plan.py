"""``flowlane plan``: as a table, as JSON and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap
from support import captures

from flowlane.cli.main import main

POLICIES = Path(__file__).parents[2] / "docs" / "policies"
FLOWS = POLICIES / "flows.csv"


def run(capsys: pytest.CaptureFixture[str], *words: Path | int | str) -> tuple[int, str, str]:
    code = main(["plan", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def planned(capsys: pytest.CaptureFixture[str], *words: Path | int | str) -> Any:
    code, out, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_every_flow_of_the_file_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    result = planned(capsys, POLICIES / "m10-rate-limits.yaml", "--flows", FLOWS, "--queues", 8)
    assert len(result["assignments"]) == len(FLOWS.read_text().splitlines()) - 1
    by_vm = {item["vm"]: item for item in result["assignments"]}
    assert (by_vm["free-1"]["class"], by_vm["free-1"]["limit"]) == ("free", 10_000_000)
    assert by_vm["web-1"]["class"] == "default"
    assert sum(queue["flows"] for queue in result["queues"]) == len(result["assignments"])
    assert {queue["queue_id"] for queue in result["queues"]} == set(range(8))
    assert result["figures"]["bytes_in_hardware"] == 1.0


def test_a_limit_holds_a_flow_back_in_the_plan_as_the_meter_does(capsys: pytest.CaptureFixture[str]) -> None:
    result = planned(capsys, POLICIES / "m10-rate-limits.yaml", "--flows", FLOWS)
    assert all(
        item["limit"] is None or item["class"] in {"free", "paid", "dns"} for item in result["assignments"]
    )


def test_the_table_names_flow_class_queue_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, POLICIES / "m10-rate-limits.yaml", "--flows", FLOWS)
    assert code == 0
    assert "tcp 10.0.0.1:40001" in out
    assert "busiest hardware queue over the lower bound: " in out
    assert "bytes in hardware: 100.0%" in out


def test_software_queues_take_part(capsys: pytest.CaptureFixture[str]) -> None:
    words = (POLICIES / "m08-overflow.yaml", "--flows", FLOWS, "--queues", 2, "--software-queues", 2)
    result = planned(capsys, *words)
    assert {queue["kind"] for queue in result["queues"]} == {"physical", "software"}
    backup = [item for item in result["assignments"] if item["class"] == "background"]
    assert {item["kind"] for item in backup} == {"software"}


def test_no_queues_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    result = planned(capsys, POLICIES / "m06-two-on-one-queue.yaml", "--flows", FLOWS, "--queues", 0)
    assert {item["queue_id"] for item in result["assignments"]} == {None}
    assert run(capsys, POLICIES / "m06-two-on-one-queue.yaml", "--flows", FLOWS, "--queues", 0)[0] == 0


def test_a_capture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    frames = [
        Ether(src="02:00:00:00:00:07", dst="02:00:00:00:00:fe")
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / TCP(sport=n, dport=80)
        for n in range(9)
    ]
    wrpcap(str(path), frames, linktype=1)
    result = planned(capsys, POLICIES / "m07-all-on-hardware.yaml", "--pcap", path)
    assert len(result["assignments"]) == 9
    assert {item["vm"] for item in result["assignments"]} == {"02:00:00:00:00:07"}


def test_equal_flows_in_two_vlans_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    frames = [captures.tcp_frame(tags=captures.tagged(vlan)) for vlan in (7, 8, 8)]
    path.write_bytes(captures.pcap(captures.cut([*frames, captures.tcp_frame()], 1 << 16)))
    result = planned(capsys, POLICIES / "m07-all-on-hardware.yaml", "--pcap", path)
    flow = "tcp 10.0.0.1:1000 > 10.0.0.2:80"
    assert {
        (item["vlan"], item["flow"], item["packets"], item["bytes"]) for item in result["assignments"]
    } == {
        (7, f"{flow} in VLAN 7", 1, 158),
        (8, f"{flow} in VLAN 8", 2, 316),
        (None, flow, 1, 154),
    }
    _, out, _ = run(capsys, POLICIES / "m07-all-on-hardware.yaml", "--pcap", path)
    lines = out.splitlines()
    assert lines[0].split()[:5] == ["VM", "VLAN", "FLOW", "PACKETS", "BYTES"]
    assert sorted(line.split()[1] for line in lines[1:4]) == ["-", "7", "8"]


def test_what_is_not_known_or_no_flow_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    lldp = bytes.fromhex("0180c200000e02000000000788cc") + bytes(46)
    path.write_bytes(captures.simple_blocks() + captures.simple_packet(lldp) * 2 + bytes(5))
    warnings = (
        f"{path}: cut off inside packet 8, at byte {path.stat().st_size}; the 7 packets before that are used",
        f"{path}: 7 packets without time stamp: where a flow has no other, its rate is unknown, "
        "and it is placed as one that sends next to nothing",
    )
    code, out, err = run(capsys, POLICIES / "m07-all-on-hardware.yaml", "--pcap", path, "--json")
    assert (code, err) == (0, "".join(f"flowlane: warning: {text}\n" for text in warnings))
    result = json.loads(out)
    (item,) = result["assignments"]
    assert (item["rate"], item["packets"], item["bytes"]) == (None, 5, 2270)
    assert (result["other_packets"], tuple(result["warnings"])) == ({"LLDP": 2}, warnings)
    _, out, _ = run(capsys, POLICIES / "m07-all-on-hardware.yaml", "--pcap", path)
    assert "  unknown  " in out
    assert out.endswith("2 packets of no VM's flow: 2 LLDP\n")


@pytest.mark.parametrize(("name", "begin"), [("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")])
def test_the_plot_is_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, begin: bytes
) -> None:
    path = tmp_path / name
    assert run(capsys, POLICIES / "m07-all-on-hardware.yaml", "--flows", FLOWS, "--plot", path)[0] == 0
    assert path.read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("none.yaml", "--flows", FLOWS), "none.yaml"),
        ((POLICIES / "m06-two-on-one-queue.yaml", "--flows", "none.csv"), "none.csv"),
        (
            (POLICIES / "m06-two-on-one-queue.yaml", "--flows", FLOWS, "--plot", "/nowhere/x.png"),
            "/nowhere/x.png",
        ),
        ((FLOWS, "--flows", FLOWS), "flows.csv"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[Path | str, ...], text: str
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "")
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [("--queues", "-1"), ("--queues", "x"), ("--uplink", "10"), ()])
def test_a_wrong_option_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["plan", str(POLICIES / "m06-two-on-one-queue.yaml"), *words])
    assert refused.value.code == 2
    capsys.readouterr()
