"""Options as they are read: what each value becomes, and what is refused with its name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowlane import options
from flowlane.errors import ConfigError

PLAIN: dict[str, Any] = {
    "app": [], "app_lists": [], "ca_certs": None, "config_dir": [], "config_file": [], "ctl_cert": None,
    "ctl_privkey": None, "database": None, "database_ca": None, "forget_after": 3600, "ipfix_listen": None,
    "learn": True,
    "lldp_probes": True, "member": None, "ovsdb": ["none"], "policy": None, "rest_cert": None,
    "rest_client_ca": None, "rest_host": [], "rest_key": None, "rest_url": None, "start_table": [],
    "state_dir": "none", "tokens": None, "topology": None, "wsapi_host": "127.0.0.1", "wsapi_port": 8080,
}  # fmt: skip


class Values:
    """Options that are set, in place of oslo.config's."""

    def __init__(self, **changed: Any) -> None:
        self.__dict__.update({**PLAIN, **changed})

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)


def read(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> options.Settings:
    monkeypatch.setattr(options, "CONF", Values(**changed))
    return options.settings()


def test_nothing_set_is_one_controller_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(options.DATABASE_VARIABLE, raising=False)
    found = read(monkeypatch)
    assert (found[0], found[1], found[2], found[3]) == ("127.0.0.1", 8080, (), None)
    assert found[-1] == options.ClusterSettings(None, socket.gethostname(), "")


@pytest.mark.parametrize(
    ("changed", "url"),
    [
        ({"wsapi_host": "192.0.2.1"}, "http://192.0.2.1:8080"),
        ({"wsapi_host": "2001:db8::1", "rest_cert": "cert.pem"}, "https://[2001:db8::1]:8080"),
        ({"wsapi_host": "host1"}, "http://host1:8080"),
        ({"wsapi_host": "localhost"}, ""),
        ({"wsapi_host": "0.0.0.0"}, ""),
        ({"wsapi_host": "192.0.2.1", "wsapi_port": 0}, ""),
        ({"rest_url": "https://ctl.example"}, "https://ctl.example"),
    ],
)
def test_others_reach_rest_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], url: str
) -> None:
    assert read(monkeypatch, **changed)[-1][2] == url


@pytest.mark.parametrize(
    ("changed", "named", "database"),
    [
        ({"database": "tcp:192.0.2.1:6650"}, "", "tcp:192.0.2.1:6650"),
        ({"database": "none"}, "tcp:192.0.2.1:6650", None),
        ({}, "tcp:192.0.2.1:6650", "tcp:192.0.2.1:6650"),
        ({}, "", None),
    ],
)
def test_the_database_is_the_options_or_the_units(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], named: str, database: str | None
) -> None:
    monkeypatch.setenv(options.DATABASE_VARIABLE, named)
    assert read(monkeypatch, **changed)[-1][0] == database


def test_the_state_directory_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    assert made in read(monkeypatch, state_dir=str(made))
    assert made.is_dir()
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/first:{tmp_path}/second")
    assert tmp_path / "first" in read(monkeypatch, state_dir=None)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"member": "no name"}, "--member 'no name' is no name"),
        ({"state_dir": "/proc/no/such"}, "--state-dir /proc/no/such cannot be made"),
        ({"rest_key": "key.pem"}, "need --rest-cert"),
        ({"ipfix_listen": "4739"}, "--ipfix-listen 4739: give ADDRESS:PORT"),
        ({"start_table": ["zz=3"]}, "--start-table zz=3: give N or DPID=N"),
        ({"start_table": ["250"]}, "--start-table 250: give N or DPID=N"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(monkeypatch, **changed)
    assert text in str(refused.value)


def test_values_of_options() -> None:
    assert options.start_tables(["10", "a1=20"]) == {None: 10, 0xA1: 20}
    assert options.ipfix_address("[::1]:4739") == ("::1", 4739)


def test_names_that_no_option_has_are_listed_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "flowlane.conf"
    file.write_text("[DEFAULT]\nwsapi_prot = 80\npolicy = a.yaml\n[rest]\nport = 1\n")
    monkeypatch.setattr(options, "CONF", Values(config_file=[str(file)], config_dir=[str(tmp_path)]))
    name, section = options.unknown_names()
    assert name.startswith(f"{file}: 'wsapi_prot' is no option; ")
    assert "wsapi_port" in name
    assert section == f"{file}: section 'rest' is not read; options stand in [DEFAULT]"
    monkeypatch.setattr(options, "CONF", Values(app=["other.app"]))
    assert options.unknown_names() == []


def test_a_reload_names_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Files(dict[str, Any]):
        good = True

        def reload_config_files(self) -> bool:
            if self.good:
                self["policy"] = "new.yaml"
            return self.good

    monkeypatch.setattr(options, "_OWN", {"policy", "learn"})
    files = Files(dict.fromkeys(options._OWN, "old"))
    monkeypatch.setattr(options, "CONF", files)
    assert options.reload() == ("policy",)
    files.good = False
    with pytest.raises(ConfigError, match="every option keeps its value"):
        options.reload()


@pytest.mark.parametrize("arguments", [["--user-flags=/no/flags.py"], ["--user-flags", "/no/flags.py"]])
def test_flags_that_cannot_be_loaded_are_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(options, "register", lambda: None)
    with pytest.raises(ConfigError, match=r"--user-flags /no/flags\.py: "):
        options.register_all(["--verbose", *arguments])
