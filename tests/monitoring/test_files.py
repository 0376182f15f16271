"""Alert rules and dashboards: Prometheus' own tool checks the rules, and every metric that they name exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.engine.controller import world

from flowlane.cli.main import main
from flowlane.cli.monitoring import monitoring_files
from flowlane.northbound.monitoring.metrics import METRICS, exposition
from flowlane.northbound.query import EVENT_KINDS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "app" / "flowlane" / "monitoring" / "prometheus" / "flowlane.rules.yml"
RULE_TESTS = Path(__file__).with_name("flowlane.rules.test.yml")
DASHBOARDS = sorted((ROOT / "app" / "flowlane" / "monitoring" / "grafana").glob("*.json"))
NAME = re.compile(r"\b(?:flowlane|process)_[a-z0-9_]+")
PLACES = {"$__rate_interval": "5m", "$__interval": "1m", "$instance": ".*", "$device": ".*", "$port": ".*"}
"""Grafana's variables -> what stands there for promtool."""


def promtool(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool, which ``./run test unit`` fetches from Debian's package."""
    own = ROOT / ".run" / "promtool"
    command = str(own) if own.exists() else shutil.which("promtool")
    assert command is not None, "there is no promtool; ./run test unit fetches it"
    return subprocess.run(
        [command, *words], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def names_of_series() -> set[str]:
    """The names of all series that the controller has, those of histograms included."""
    names = {"up"}
    for metric in METRICS:
        parts = ("_bucket", "_sum", "_count") if metric.type == "histogram" else ("",)
        names |= {metric.name + part for part in parts}
    return names


def expressions(node: Any) -> list[str]:
    """Every PromQL expression of a dashboard."""
    if isinstance(node, list):
        return [text for item in node for text in expressions(item)]
    if not isinstance(node, dict):
        return []
    own = [node["expr"]] if isinstance(node.get("expr"), str) else []
    return own + [text for item in node.values() for text in expressions(item)]


def rules() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return loaded


def test_metrics_follow_prometheus_conventions() -> None:
    done = promtool("check", "metrics", text=exposition(world()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_does_find_what_is_wrong() -> None:
    wrong = "# HELP flowlane_load_bits Load.\n# TYPE flowlane_load_bits counter\nflowlane_load_bits 1\n"
    done = promtool("check", "metrics", text=wrong)
    assert done.returncode != 0
    assert "flowlane_load_bits" in done.stdout + done.stderr


def test_rules_are_valid_and_fire_when_they_should() -> None:
    assert promtool("check", "rules", str(RULES)).returncode == 0
    done = promtool("test", "rules", str(RULE_TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tested = {
        check["alertname"]
        for case in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for check in case["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert {rule["alert"] for rule in rules()} == tested
    assert all({"summary", "remedy"} == set(rule["annotations"]) for rule in rules())
    assert {rule["labels"]["severity"] for rule in rules()} == {"page", "warn", "info"}


def test_every_metric_of_a_rule_exists() -> None:
    named = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert named - names_of_series() == set()


def test_the_commands_in_remedies_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    remedies = " ".join(rule["annotations"]["remedy"] for rule in rules())
    named = set(re.findall(r"\bflowlane ([a-z-]+)", remedies))
    assert {"status", "events"} <= named
    for command in named:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, command
    capsys.readouterr()
    assert set(re.findall(r"--kind ([a-z]+)", remedies)) <= set(EVENT_KINDS)


def test_there_are_dashboards() -> None:
    assert [path.name for path in DASHBOARDS] == ["flowlane-overview.json", "flowlane-queues.json"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_metric_of_a_dashboard_exists(path: Path) -> None:
    board = json.loads(path.read_text())
    texts = [*expressions(board), *(str(item.get("definition", "")) for item in board["templating"]["list"])]
    assert len(texts) > 10
    assert {name for text in texts for name in NAME.findall(text)} - names_of_series() == set()


def test_the_dashboards_show_every_metric_of_devices_and_queues() -> None:
    shown = {name for path in DASHBOARDS for name in NAME.findall(path.read_text())}
    alerted = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    of_devices = {metric.name for metric in METRICS if "device" in metric.labels}
    not_shown = {"flowlane_sampled_heavy_flows_total"}
    assert of_devices - shown - alerted == not_shown


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_expressions_of_a_dashboard_are_promql(path: Path, tmp_path: Path) -> None:
    records = []
    for number, text in enumerate(expressions(json.loads(path.read_text()))):
        for name, place in PLACES.items():
            text = text.replace(name, place)  # noqa: PLW2901
        assert "$" not in text
        records.append({"record": f"panel:number:{number}", "expr": text})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported_anywhere(path: Path) -> None:
    """It names no data source of the machine where it was made; ids and places are its own."""
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert {json.dumps(panel["datasource"]) for panel in board["panels"] if panel["type"] != "row"} == {
        json.dumps({"type": "prometheus", "uid": "${datasource}"})
    }
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


PAGE = ROOT / "docs" / "operators" / "metrics.md"
YAML = re.compile(r"^( *)```yaml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def test_the_configuration_in_the_page_is_valid(tmp_path: Path, keys: Path) -> None:
    """As a reader would have it: the files written by the command, a token, a CA."""
    scrape, provisioning = [textwrap.dedent(found[2]) for found in YAML.finditer(PAGE.read_text())]
    assert main(["monitoring", str(tmp_path / "flowlane")]) == 0
    (tmp_path / "flowlane-token").write_text("flowlane_x\n")
    shutil.copy(keys / "cert.pem", tmp_path / "flowlane-ca.pem")
    config = tmp_path / "prometheus.yml"
    config.write_text(scrape.replace("/etc/prometheus", str(tmp_path)))
    done = promtool("check", "config", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout
    (job,) = yaml.safe_load(scrape)["scrape_configs"]
    assert job["job_name"] in RULES.read_text()
    (provider,) = yaml.safe_load(provisioning)["providers"]
    folder = provider["options"]["path"].replace("/etc/prometheus", str(tmp_path))
    assert sorted(path.name for path in Path(folder).iterdir()) == [path.name for path in DASHBOARDS]


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["monitoring", str(tmp_path)]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert line.replace(str(tmp_path), "        /etc/prometheus/flowlane") in PAGE.read_text()


def test_the_command_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitoring", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out.split()
    written = sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert sorted(printed) == [str(path) for path in written]
    assert {path.read_bytes() for path in written} == {path.read_bytes() for path in [*DASHBOARDS, RULES]}
    assert len(list(monitoring_files())) == len(DASHBOARDS) + 1
