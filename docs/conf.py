"""The documentation as a site, by Sphinx: ``./run docs``.

The sources are the Markdown pages of the repository in their places, so that links between them are the same on the
site, in a clone and on a forge.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "app"))

from flowlane import __version__ as release  # noqa: E402

project = "Flowlane"
author = "the Flowlane authors"
copyright = "the Flowlane authors, Apache-2.0"
version = release

root_doc = "docs/README"
include_patterns = [
    "docs/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "bench/README.md",
    "topologies/README.md",
]
source_suffix = {".md": "markdown"}

extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True

html_theme = "furo"
html_title = f"Flowlane {release}"
html_copy_source = False
html_show_sphinx = False
html_baseurl = ""

PARTS = {
    "Learn": ["docs/tutorial", "docs/operators/demo", "docs/operators/lab", "topologies/README"],
    "Do": [
        "docs/operators/attach",
        "docs/guides/*",
        "docs/operators/qos",
        "docs/operators/trying-policies",
        "docs/operators/many-hosts",
        "docs/security/*",
        "docs/operators/offload",
        "docs/operators/*",
    ],
    "Look up": [
        "docs/operators/policy",
        "docs/policies/README",
        "docs/reference/*",
        "docs/engineers/pipeline",
    ],
    "Understand": ["docs/engineers/architecture", "docs/engineers/*", "docs/reliability", "bench/README"],
    "Decisions": ["docs/decisions/README", "docs/decisions/*"],
    "Project": ["README", "CHANGELOG", "CONTRIBUTING", "SECURITY"],
}
"""The parts of the site, and the pages of each; a page that a pattern finds is in the first part that has it."""

FIRST_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Flowlane</title>
<meta http-equiv="refresh" content="0; url=docs/README.html"><a href="docs/README.html">Flowlane</a></html>
"""


def contents() -> str:
    """Return the tables of contents, which the index of a clone does not need."""
    pages = [str(path.relative_to(ROOT).with_suffix("")) for path in sorted(ROOT.glob("docs/**/*.md"))]
    placed = {page for names in PARTS.values() for page in names} | {root_doc}
    parts = []
    for title, names in PARTS.items():
        listed = []
        for name in names:
            if not name.endswith("*"):
                listed.append(name)
                continue
            found = [page for page in pages if page.startswith(name[:-1]) and page not in placed]
            listed += found
            placed.update(found)
        parts.append(
            "\n".join(
                ["```{toctree}", ":hidden:", f":caption: {title}", "", *(f"/{n}" for n in listed), "```"]
            )
        )
    return "\n\n" + "\n\n".join(parts) + "\n"


def add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the tables of contents to the first page."""
    if page == root_doc:
        source[0] += contents()


def write_first_page(app: Sphinx, exception: Exception | None) -> None:
    """Write a page at the top of the site that leads to the first one."""
    if exception is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text(FIRST_PAGE)


def setup(app: Sphinx) -> None:
    """Connect to Sphinx's events."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", write_first_page)
