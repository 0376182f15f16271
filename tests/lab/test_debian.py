from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab.launcher.debian import Release, host_release
from lab.launcher.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


def os_release(folder: Path, text: str) -> Path:
    path = folder / "os-release"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("codename", "newest"), [("bookworm", "bookworm-backports"), ("trixie", "trixie")], ids=["12", "13"]
)
def test_qemu_comes_from_where_it_has_the_nic(tmp_path: Path, codename: str, newest: str) -> None:
    found = host_release(os_release(tmp_path, f'ID=debian\nVERSION_CODENAME="{codename}"\n'))
    assert found == Release(codename, newest)


@pytest.mark.parametrize(
    "text", ["", 'ID=fedora\nPRETTY_NAME="Fedora Linux 42"\n', "ID=debian\nVERSION_CODENAME=bullseye\n"]
)
def test_another_system_is_told_what_to_do(tmp_path: Path, text: str) -> None:
    with pytest.raises(LabError, match="Debian 12"):
        host_release(os_release(tmp_path, text))
