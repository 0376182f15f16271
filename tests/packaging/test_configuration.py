"""The sample of /etc/flowlane/flowlane.conf has every option, and its values are the defaults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from flowlane import hub

hub.prepare(patch=False)
from flowlane import option_help, options  # noqa: E402
from flowlane.manual import configuration  # noqa: E402

PRINT_SETTINGS = """
import sys
from flowlane import hub
hub.prepare(patch=False)
from flowlane import options
options.parse(sys.argv[1:])
print({opt.dest: options.CONF[opt.dest] for opt, _ in options.known() if not opt.positional})
"""


def settings(*arguments: str) -> dict[str, object]:
    """The options of a process with these arguments."""
    command = [sys.executable, "-W", "ignore", "-c", PRINT_SETTINGS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    read: dict[str, object] = eval(done.stdout)
    return read


def test_it_has_every_option_with_a_text() -> None:
    listed = {
        item.opt.dest: option_help.help_of(item.opt) for _, _, group in option_help.groups() for item in group
    }
    known = {opt.dest for opt, _ in options.known() if not opt.positional}
    assert known == set(listed)
    assert [name for name, text in listed.items() if len(text) < 10] == []
    text = configuration.sample({})
    named = re.findall(r"^#?(\w+) =", text, re.MULTILINE)
    assert sorted(named) == sorted(known - {"user_flags"})
    assert max(map(len, text.splitlines())) <= configuration.WIDTH


def test_its_values_are_the_defaults(tmp_path: Path) -> None:
    """With every option of it in force, the controller has the options that it has without the file."""
    text = re.sub(r"^#(\w+ = .+)$", r"\1", configuration.sample({}), flags=re.MULTILINE)
    assert text.count("\nwsapi_port = 8080\n") == 1
    file = tmp_path / "flowlane.conf"
    file.write_text(text)
    assert settings("--config-file", str(file)) == settings()


def test_what_is_set_is_in_force(tmp_path: Path) -> None:
    file = tmp_path / "flowlane.conf"
    file.write_text(configuration.sample({"wsapi_port": "8081", "learn": "false"}))
    before, after = settings(), settings("--config-file", str(file))
    changed = {name: value for name, value in after.items() if before[name] != value}
    assert changed == {"wsapi_port": 8081, "learn": False}
