"""Manual pages, completions and the sample configuration: complete, and accepted by the programs that read them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowlane import hub
from flowlane.manual import commands
from flowlane.manual.commands import Command

hub.prepare(patch=False)
from flowlane.manual.__main__ import files  # noqa: E402

WRITTEN = files({"wsapi_port": "8081"})
PAGES = [name for name in WRITTEN if name.startswith("man/")]
BOTH = (commands.flowlane(), commands.manager())


def every(command: Command) -> Iterator[Command]:
    yield command
    for sub in command.subcommands:
        yield from every(sub)


def checked(*words: str, text: str) -> str:
    """Give a text to a program that may complain of nothing; return what it prints."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_correct_roff(name: str) -> None:
    shown = checked("groff", "-man", "-ww", "-Tutf8", "-P-cbou", text=WRITTEN[name])
    assert "NAME" in shown
    lint = checked("mandoc", "-T", "lint", "-W", "style", text=WRITTEN[name])
    # Each page that another one is named in is not installed here; lines may be long, as texts are one line each.
    assert [line for line in lint.splitlines() if "referenced manual not found" not in line] == []


def test_pages_name_every_command_and_option() -> None:
    pages = {
        name: checked("groff", "-man", "-Tascii", "-P-cbou", "-rLL=1000n", text=WRITTEN[name])
        for name in PAGES
    }
    for command, page in zip(BOTH, ("man/man1/flowlane.1", "man/man8/flowlane-manager.8"), strict=True):
        for sub in every(command):
            assert " ".join(sub.words) in pages[page]
            for option in sub.options:
                assert option.flags[-1] in pages[page]
    assert "wsapi_port = 8080" in pages["man/man5/flowlane.conf.5"]


def test_help_shows_flowlanes_options_first() -> None:
    hub.prepare(patch=False)
    from flowlane import option_help  # noqa: PLC0415

    text = option_help.parser().format_help()
    assert text.index("--policy") < text.index("--ofp-listen-host") < text.index("--log-file")
    for word in ("bgp", "zapi", "zebra", "test-switch"):
        assert word not in text.lower()


# ---- completion


def in_bash(tmp_path: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    script = "".join(
        WRITTEN[f"bash-completion/completions/{name}"] for name in ("flowlane", "flowlane-manager")
    )
    words = line.split(" ")
    (tmp_path / "complete.bash").write_text(
        f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))}) COMP_CWORD={len(words) - 1}\n"
        f'_{words[0].replace("-", "_")}\nprintf "%s\\n" "${{COMPREPLY[@]}}"\n'
    )
    return checked("bash", "--norc", "-u", str(tmp_path / "complete.bash"), text="").split()


def in_fish(tmp_path: Path, line: str) -> list[str]:
    """What fish offers for the last word of a line."""
    for name in ("flowlane", "flowlane-manager"):
        (tmp_path / f"{name}.fish").write_text(WRITTEN[f"fish/vendor_completions.d/{name}.fish"])
    sourced = "; ".join(f"source {tmp_path}/{name}.fish" for name in ("flowlane", "flowlane-manager"))
    shown = checked("fish", "--no-config", "-c", f"cd {tmp_path}; {sourced}; complete -C {line!r}", text="")
    return [row.partition("\t")[0] for row in shown.splitlines()]


ZSH_START = """
PS1= fpath=({directory}/functions $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {{
    local -a found
    # Some calls only fill arrays: -O, -A and -D (zshcompwid(1)).
    if [[ "${{(j: :)@[1,(i)(-|--)]}} " != *-[OAD]\\ * ]]; then
        builtin compadd -O found "$@"
        print -rl -- $found >>{directory}/offered
    fi
    builtin compadd "$@"
}}
offer() {{ _main_complete; print -- '--end--' >>{directory}/offered }}
zle -C offer complete-word offer
bindkey '^I' offer
bindkey '^U' kill-whole-line
"""
"""Start-up of an interactive shell in which Tab writes what is offered into a file."""

ZSH = """
zmodload zsh/zpty
cd {directory}
zpty shell 'ZDOTDIR={directory} zsh -i'
for line in {lines}; do
    rm -f {directory}/offered
    zpty -w -n shell $'\\C-u'"$line"$'\\t'
    until grep -q -- --end-- {directory}/offered 2>/dev/null; do zpty -r -t shell shown; sleep 0.02; done
    cat {directory}/offered
done
"""


def in_zsh(tmp_path: Path, lines: list[str]) -> list[list[str]]:
    """What zsh offers for the last word of each line."""
    (tmp_path / "functions").mkdir(exist_ok=True)
    (tmp_path / "functions" / "_flowlane").write_text(WRITTEN["zsh/site-functions/_flowlane"])
    (tmp_path / ".zshrc").write_text(ZSH_START.format(directory=tmp_path))
    script = ZSH.format(directory=tmp_path, lines=" ".join(map(repr, lines)))
    offered = checked("zsh", "-f", "-c", script, text="").split("--end--\n")
    return [words.split() for words in offered[:-1]]


SHELLS = {
    "bash": lambda tmp_path, lines: [in_bash(tmp_path, line) for line in lines],
    "fish": lambda tmp_path, lines: [in_fish(tmp_path, line) for line in lines],
    "zsh": in_zsh,
}

LINES = {
    "flowlane ": {"status", "policy", "hint", "doctor"},
    "flowlane pol": {"policy"},
    "flowlane policy ": {"show", "check", "replace"},
    "flowlane simulate --work": {"--workload"},
    "flowlane simulate --workload ": {"web-search"},
    "flowlane policy check ": {"policy.yaml"},
    "flowlane check --devices ": {"policy.yaml"},
    "flowlane-manager --wsapi-": {"--wsapi-host", "--wsapi-port"},
    "flowlane-manager --policy ": {"policy.yaml"},
}
"""Line -> some of what is offered for its last word."""


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.yaml").touch()
    monkeypatch.chdir(tmp_path)
    offered = dict(zip(LINES, SHELLS[shell](tmp_path, list(LINES)), strict=True))
    assert {line: wanted - set(offered[line]) for line, wanted in LINES.items()} == {
        line: set() for line in LINES
    }
    assert "status" not in offered["flowlane pol"] + offered["flowlane policy "]


def test_the_completion_of_bash_is_clean(tmp_path: Path) -> None:
    script = tmp_path / "flowlane.bash"
    script.write_text(WRITTEN["bash-completion/completions/flowlane"])
    checked(
        str(Path(sys.executable).with_name("shellcheck")),
        "--shell=bash",
        "--exclude=SC2317,SC2207",
        str(script),
        text="",
    )
