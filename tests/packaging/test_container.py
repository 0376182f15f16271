"""The container file, of which no engine is needed here: its instructions, and that what they copy exists."""

from __future__ import annotations

import re

from support.installation import ROOT

FILE = ROOT / "packaging" / "container" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments) of the file, without comments; continued lines are one."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def test_it_ends_as_a_user_that_is_not_root() -> None:
    found = instructions()
    assert found[0][0] == "FROM"
    assert [rest for word, rest in found if word == "USER"] == ["flowlane"]
    assert ("ENTRYPOINT", '["flowlane-manager"]') in found


def test_what_it_copies_exists_and_images_have_versions() -> None:
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
        if word == "FROM":
            assert re.match(r"docker\.io/library/debian:\d+-slim", rest)
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
