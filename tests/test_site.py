"""The documentation as a site: it is built without a warning, and has every page of the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """A link that leads nowhere, a page that no table of contents has, and a broken table are warnings."""
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".", str(site)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    first = (site / "index.html").read_text()
    assert 'href="docs/README.html"' in first
    pages = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) >= 60
    assert [str(page) for page in pages if not (site / page.with_suffix(".html")).is_file()] == []
    index = (site / "docs/README.html").read_text()
    for page in (
        "tutorial.html",
        "guides/limits.html",
        "operators/policy.html",
        "engineers/architecture.html",
    ):
        assert f'href="{page}"' in index
