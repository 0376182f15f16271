"""Building Flowlane's packages, for their tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a program that has to succeed; return what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def build_packages(folder: Path) -> tuple[Path, Path]:
    """Build the Debian package, without compressing it, for speed; return (package, wheel)."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(Path.home()),
        "FLOWLANE_DEB_COMPRESSION": "none",
    }
    run(ROOT / "packaging" / "deb" / "build", folder, env=environment)
    (package,), (wheel,) = folder.glob("*.deb"), folder.glob("*.whl")
    return package, wheel
