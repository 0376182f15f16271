"""The walls of the house: who may import whom, how long a module may be, where tests stand."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "app" / "flowlane"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 500

IMPURE = {
    "os_ken", "eventlet", "webob", "oslo_config", "ovsdbapp", "ovs", "requests", "rich", "yaml",
    "asyncio", "datetime", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random",
    "secrets", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time",
    "urllib",
}  # fmt: skip
PURE_MODULES_OUTSIDE_CORE = ("errors.py", "units.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions and under TYPE_CHECKING."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    return imports_in(path.read_text(), package)


def imports_in(text: str, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            ground = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (ground, node.module) if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def in_folder(path: Path, folder: str) -> bool:
    return path.is_relative_to(PACKAGE / folder)


def reaches(path: Path, *walls: str) -> list[str]:
    return [
        name
        for name in imports_of(path)
        if any(name == wall or name.startswith(f"{wall}.") for wall in walls)
    ]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_walls(path: Path) -> None:
    if in_folder(path, "core") or str(path.relative_to(PACKAGE)) in PURE_MODULES_OUTSIDE_CORE:
        assert not reaches(path, *IMPURE), "the core is pure: no I/O, clock, thread, logger or framework"
        ours = [name for name in imports_of(path) if name.startswith("flowlane")]
        allowed = ("flowlane.core", "flowlane.errors", "flowlane.units")
        assert [name for name in ours if name != "flowlane" and not name.startswith(allowed)] == []
    if in_folder(path, "northbound"):
        assert not reaches(path, "flowlane.southbound", "os_ken", "ovsdbapp", "ovs")
    if in_folder(path, "southbound"):
        assert not reaches(path, "flowlane.northbound", "webob")
    if in_folder(path, "policy"):
        assert not reaches(path, "flowlane.northbound", "flowlane.southbound", "os_ken", "eventlet", "webob")
    if in_folder(path, "southbound/openflow/wire") or in_folder(path, "southbound/openflow/tables"):
        assert not reaches(path, "os_ken", "eventlet")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_not_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", [path for path in MODULES if not in_folder(path, "cli")], ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert [
        call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
    ] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_folders_that_are_not_packages() -> None:
    """An __init__.py in mininet/ would hide Mininet itself; app/ is a source root."""
    for folder in ("app", "mininet", "topologies", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


MIRRORED = ("cli", "core", "hosttools", "northbound", "policy", "southbound")
TEST_FILES = sorted(path for folder in MIRRORED for path in (ROOT / "tests" / folder).rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_mirror_the_package(path: Path) -> None:
    """tests/a/test_b.py or tests/a/test_b_more.py tests app/flowlane/a/b.py, or the package a/b.

    Properties of a whole package are in its test_properties.py.
    """
    folder = PACKAGE / path.parent.relative_to(ROOT / "tests")
    subjects = [module.stem.lstrip("_") for module in folder.glob("*.py")]
    subjects += [inner.name for inner in folder.iterdir() if inner.is_dir()] + ["properties"]
    subject = path.stem.removeprefix("test_")
    assert any(subject == name or subject.startswith(f"{name}_") for name in subjects), (
        f"no module for {subject}"
    )


def test_the_walls_are_not_blind() -> None:
    """An import inside a function, relative, or of a part of a module is found as well."""
    hidden = "def f():\n    from os_ken.base import app_manager\n    import logging.handlers\nfrom ..north import api\n"
    found = set(imports_in(hidden, "flowlane.core"))
    assert found == {
        "os_ken.base",
        "os_ken.base.app_manager",
        "logging.handlers",
        "flowlane.north",
        "flowlane.north.api",
    }
