"""flowlane doctor on real databases and a real switch."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest
from lab.inside import private_ovs, samples
from lab.inside.manager import wait_for

from flowlane.cli import doctor

if TYPE_CHECKING:
    from pathlib import Path

    from lab.inside.private_ovs import PrivateOvs


NO_CONTROLLER = "http://127.0.0.1:9"


def run(remote: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    code = doctor.run(parser.parse_args(["--db", remote, "--timeout", "5", "--url", NO_CONTROLLER, *words]))
    return code, capsys.readouterr().out


def findings(remote: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(run(remote, capsys, "--json")[1])
    return items


def test_no_open_vswitch_is_one_problem_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(f"unix:{tmp_path}/none.sock", capsys)
    assert code == 1
    assert "systemctl start openvswitch-switch" in text


def test_a_dummy_port_whose_queues_the_switch_does_not_report(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dummy devices report queue 0 whatever their rows say: a difference that the doctor has to find."""
    ovs.add_bridge("br0", ("p1",), controller="tcp:127.0.0.1:9")
    ovs.set_queues("p1", {0: {"min-rate": "1"}, 1: {"min-rate": "1e9"}})
    by_place = {(item["level"], item["where"]): item["what"] for item in findings(ovs.database, capsys)}
    assert by_place["problem", "p1"] == "the database has queues 0-1, the switch reports 0 over OpenFlow"
    assert by_place["problem", "bridge br0"] == "not connected to tcp:127.0.0.1:9"
    assert "1e9" in by_place["warning", "queue 1 of port p1"]
    code, text = run(ovs.database, capsys)
    assert code == 1
    assert "start flowlane-manager" in text


def device(name: str, queues_by: str = "set-queue", queues: int = 0, **changes: Any) -> dict[str, Any]:
    """A device as REST lists it, as far as the doctor reads it."""
    counts = {kind: {"total": number, "free": 0} for kind, number in (("physical", queues), ("software", 0))}
    base = {
        "name": name,
        "dpid": "01",
        "unusable": "",
        "dpid_shared_by": [],
        "conflicts": [],
        "queues_by": queues_by,
        "declared": False,
        "sampling": None,
    }
    return {**base, "queues": counts, **changes}


@pytest.mark.parametrize("offload", [False, True])
def test_how_queues_are_chosen_is_explained_where_flows_are_to_be_offloaded(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, offload: bool
) -> None:
    names = (f"brq{offload:d}", f"brm{offload:d}")
    ovs.vsctl(
        *(
            word
            for name in names
            for word in ("--", "add-br", name, "--", "set", "Bridge", name, "datapath_type=dummy")
        )
    )
    ovs.vsctl("set", "Open_vSwitch", ".", f"other_config:hw-offload={str(offload).lower()}")
    devices = [device(names[0], queues=4), device(names[1], "dscp", 8), device("elsewhere", queues=4)]
    items = {"/v1/devices": devices, "/v1/databases": []}
    monkeypatch.setattr(doctor, "pages", lambda _client, path, *_: {"items": items[path], "next": None})
    said = [item for item in findings(ovs.database, capsys) if "queues are chosen" in item["what"]]
    ovs.vsctl("remove", "Open_vSwitch", ".", "other_config", "hw-offload")
    by_place = {item["where"]: item for item in said}
    by_queue, by_mark = (by_place[f"bridge {name}"] for name in names)
    assert by_queue["level"] == ("warning" if offload else "ok")
    assert ("queues-by: dscp" in (by_queue["remedy"] or "")) is offload
    assert (by_mark["level"], "DSCP" in by_mark["what"]) == ("ok", True)
    assert by_place["bridge elsewhere"]["level"] == "ok", "that is another Open vSwitch"


def test_what_the_controller_says_of_its_devices_is_listed(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [
        device("br0", conflicts=["entry x of table 0 is not met"]),
        device("br1", unusable="it has 3 tables", dpid_shared_by=["192.0.2.1", "192.0.2.2"]),
    ]
    conflict = {"device": "0a", "described_by": "host1"}
    databases = [
        {"name": "host1", "state": "synchronized", "problem": "", "conflicts": []},
        {"name": "host2", "state": "synchronized", "problem": "", "conflicts": [conflict]},
        {
            "name": "host3",
            "state": "connecting",
            "problem": "no connection: Connection refused",
            "conflicts": [],
        },
    ]
    items = {"/v1/devices": devices, "/v1/databases": databases}
    monkeypatch.setattr(doctor, "pages", lambda _client, path, *_: {"items": items[path], "next": None})
    listed = {(item["level"], item["where"], item["what"]) for item in findings(ovs.database, capsys)}
    assert ("warning", "bridge br0", "entry x of table 0 is not met") in listed
    assert ("problem", "bridge br1", "unusable: it has 3 tables") in listed
    shared = "switches at 192.0.2.1, 192.0.2.2 connect with this datapath id in turns"
    assert ("problem", "bridge br1", shared) in listed
    assert ("warning", "database host3", "connecting: no connection: Connection refused") in listed
    assert (
        "warning",
        "database host2",
        "describes device 0a, which database host1 described first",
    ) in listed
    assert not any(where == "database host1" for _, where, _ in listed)


def test_where_samples_go_is_checked_on_bridges_that_sample(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [device(name, sampling={"one_in": 64}) for name in ("brs", "elsewhere")] + [device("brn")]
    listed = {"/v1/devices": devices, "/v1/databases": []}
    monkeypatch.setattr(doctor, "pages", lambda _client, path, *_: {"items": listed[path], "next": None})
    for name in ("brs", "brn"):
        ovs.add_bridge(name, ())

    def found() -> list[tuple[str, str]]:
        items = [item for item in findings(ovs.database, capsys) if "samples" in item["what"]]
        assert {item["where"] for item in items} == {"bridge brs"}
        return [(item["level"], item["remedy"] or "") for item in items]

    assert found() == [("warning", "flowlane attach brs --sampling")]
    samples.export(ovs, "brs", 4739)
    assert [level for level, _ in found()] == ["ok"]
    ovs.vsctl("set", "IPFIX", ovs.vsctl("--columns=_uuid", "list", "IPFIX").split()[-1], "cache_max_flows=9")
    assert [level for level, _ in found()] == ["warning"]
    ovs.vsctl("--all", "destroy", "Flow_Sample_Collector_Set", "--", "del-br", "brs", "--", "del-br", "brn")


def test_without_a_controller_it_is_said_that_conflicts_are_not_known(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str]
) -> None:
    items = json.loads(run(ovs.database, capsys, "--json")[1])
    (item,) = [item for item in items if item["where"] == "controller"]
    assert (item["level"], "conflicts" in item["what"]) == ("info", True)


def test_in_band_control_lets_a_vm_bypass_the_tables_until_the_remedy_is_applied(
    ovs: PrivateOvs, capsys: pytest.CaptureFixture[str]
) -> None:
    ovs.add_bridge("br-in", ("in-vm", "in-up"), controller="tcp:127.0.0.1:9")
    packet = "in_port=in-vm,tcp,dl_dst=0a:00:00:00:00:02,nw_src=10.0.0.1,nw_dst=127.0.0.1,tp_dst=9"

    def in_band_remedies() -> list[str]:
        mine = [item for item in findings(ovs.database, capsys) if item["where"] == "bridge br-in"]
        return [item["remedy"] for item in mine if "in-band" in item["what"]]

    wait_for(lambda: "Datapath actions: drop" not in ovs.trace("br-in", packet))
    (remedy,) = in_band_remedies()
    ovs.vsctl(*remedy.partition("ovs-vsctl ")[2].split())
    wait_for(lambda: "Datapath actions: drop" in ovs.trace("br-in", packet))
    assert not in_band_remedies()


@pytest.mark.mininet
def test_a_real_userspace_switch_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    with private_ovs.running(system=True) as switch:
        switch.add_bridge("br0", ("fl-up",))
        switch.set_queues("fl-up", {0: {"min-rate": "1000"}, 1: {"min-rate": "1000"}})
        items = findings(switch.database, capsys)
        texts = [item["what"] for item in items]
        assert any("not scheduled" in text for text in texts)
        assert any("2 physical queues, but the NIC has 1 transmit queue" in text for text in texts)
        assert any("internal port" in text for text in texts)
        assert not any("over OpenFlow" in text for text in texts), "database and switch agree"
        no_controller = [item for item in items if item["where"] == "controller"]
        assert [item["level"] for item in no_controller] == ["info"]
        assert {item["level"] for item in items if item not in no_controller} == {"ok", "warning"}
        assert run(switch.database, capsys)[0] == 0
