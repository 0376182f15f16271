"""The walls: which module may import which, how long a module may be, where tests and docs of a module are."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "app" / "flowlane"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 500

PURE = {
    "__future__", "array", "bisect", "collections", "copy", "dataclasses", "enum", "fnmatch", "functools", "heapq",
    "ipaddress", "itertools", "math", "operator", "re", "struct", "types", "typing", "zlib",
}  # fmt: skip
"""What the core may import besides itself: nothing here reads a file, a clock or the network."""

GRAPHS = PACKAGE / "core" / "topology" / "graph.py"
"""The only module of the core that may import networkx, which computes and does no I/O; the engine does not load it."""

IMPURE_CALLS = {"open", "input", "eval", "exec", "__import__", "print", "breakpoint"}
PURE_MODULES_OUTSIDE_CORE = ("errors.py", "units.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(text: str) -> ast.Module:
    """The syntax tree of a module; nobody changes it."""
    return ast.parse(text)


@cache
def nodes_of(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(text)))


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Every module a file imports, also inside functions and under TYPE_CHECKING."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    return tuple(imports_in(path.read_text(), package))


def imports_in(text: str, package: str) -> Iterator[str]:
    for node in nodes_of(text):
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


def impure_calls(text: str) -> list[int]:
    """Lines that call a built-in function which reads, writes or evaluates."""
    calls = (node for node in nodes_of(text) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id in IMPURE_CALLS]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_walls(path: Path) -> None:
    if in_folder(path, "core") or str(path.relative_to(PACKAGE)) in PURE_MODULES_OUTSIDE_CORE:
        outside = {name.partition(".")[0] for name in imports_of(path)} - PURE - {"flowlane"}
        outside -= {"networkx"} if path == GRAPHS else set()
        assert outside == set(), "the core is pure: no I/O, clock, thread, logger or framework"
        assert impure_calls(path.read_text()) == []
        ours = [name for name in imports_of(path) if name.startswith("flowlane")]
        allowed = ("flowlane.core", "flowlane.errors", "flowlane.units")
        assert [name for name in ours if name != "flowlane" and not name.startswith(allowed)] == []
    if in_folder(path, "northbound"):
        assert not reaches(path, "flowlane.southbound", "os_ken", "ovsdbapp", "ovs")
    if in_folder(path, "simulation"):
        assert not reaches(path, "flowlane.northbound", "flowlane.southbound", "os_ken", "eventlet", "webob")
    if in_folder(path, "cluster"):
        assert not reaches(path, "flowlane.northbound", "os_ken", "eventlet", "webob")
    if in_folder(path, "southbound"):
        assert not reaches(path, "flowlane.northbound", "webob")
    if in_folder(path, "policy"):
        assert not reaches(path, "flowlane.northbound", "flowlane.southbound", "os_ken", "eventlet", "webob")


OPENFLOW = "flowlane.southbound.openflow"
OPENFLOW_WALLS = {
    "wire": ("os_ken", "flowlane.hub", f"{OPENFLOW}.osken", f"{OPENFLOW}.tables", f"{OPENFLOW}.session"),
    "tables": ("os_ken", "flowlane.hub", f"{OPENFLOW}.osken", f"{OPENFLOW}.session"),
    "osken": (f"{OPENFLOW}.tables", f"{OPENFLOW}.session"),
    "session": ("os_ken", *(f"{OPENFLOW}.osken.{name}" for name in ("lazy", "listener", "repairs"))),
}
"""Folder -> what its modules do not import. A session gets os-ken's objects from the connection that it is given."""


@pytest.mark.parametrize("folder", OPENFLOW_WALLS)
def test_walls_of_openflow(folder: str) -> None:
    modules = [path for path in MODULES if in_folder(path, f"southbound/openflow/{folder}")]
    assert modules
    assert {
        name_of(path): forbidden for path in modules if (forbidden := reaches(path, *OPENFLOW_WALLS[folder]))
    } == {}


def test_only_hub_and_server_import_eventlet() -> None:
    assert [path.name for path in MODULES if reaches(path, "eventlet")] == ["hub.py", "wsgi.py"]


# ---- numbers and names of OpenFlow

RESERVED_NUMBERS = range(0xFFFFFF00, 0xFFFFFFFF)
"""OpenFlow's reserved ports, meters, groups and queues (OpenFlow 1.3.5, OFPP_MAX to OFPP_LOCAL and their like)."""


def openflow_in(text: str) -> list[str]:
    """Names and strings of a module that begin with OFP, and its reserved numbers of OpenFlow."""
    found = []
    for node in nodes_of(text):
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int(number)) if number in RESERVED_NUMBERS:
                found.append(hex(number))
            case ast.Constant(value=str(word)) | ast.Name(id=word) | ast.Attribute(attr=word):
                found.extend([word] if word.lstrip("_").startswith("OFP") else [])
            case ast.alias() | ast.arg() | ast.keyword() | ast.FunctionDef() | ast.ClassDef():
                names = (getattr(node, field, None) or "" for field in ("name", "asname", "arg"))
                found.extend(name for name in names if name.lstrip("_").startswith("OFP"))
    return found


@pytest.mark.parametrize("path", [path for path in MODULES if in_folder(path, "core")], ids=name_of)
def test_the_core_has_no_openflow_constant(path: Path) -> None:
    assert openflow_in(path.read_text()) == []


def test_no_constant_of_openflow_is_overlooked() -> None:
    hidden = """
from somewhere import OFPP_ANY as ANY
_OFPP_LOCAL = 4294967294
def f(reason, OFPR=0xFFFFFF00):
    return reason == "OFPFMFC_TABLE_FULL" or f"OFPMMFC_{reason}" or reason.OFPM_ALL(OFPG_ANY=0xFFFFFFFF, x=True)
"""
    assert sorted(openflow_in(hidden)) == sorted(
        [
            "OFPP_ANY", "_OFPP_LOCAL", "0xfffffffe", "OFPR", "0xffffff00", "OFPFMFC_TABLE_FULL", "OFPMMFC_",
            "OFPM_ALL", "OFPG_ANY",
        ]
    )  # fmt: skip


# ---- patches of os-ken

OSKEN = f"{OPENFLOW}.osken"


def is_python(path: Path) -> bool:
    """Whether a file is Python by its name, or by its first line."""
    if not path.is_file() or "__pycache__" in path.parts:
        return False
    first = path.read_bytes().partition(b"\n")[0]
    return path.suffix == ".py" or (not path.suffix and first.startswith(b"#!") and b"python" in first)


PROGRAMS = sorted(
    path
    for folder in ("app", "bench", "lab", "mininet", "scripts", "topologies")
    for path in (ROOT / folder).rglob("*")
    if is_python(path)
)


def root_name(node: ast.expr) -> str | None:
    """The name that an attribute of an attribute ... of a name begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def imported_from(tree: ast.AST, package: str) -> set[str]:
    """The names that stand for a package, its modules and what they define, and plain copies of these names."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.partition(".")[0]
                for alias in node.names
                if alias.name.partition(".")[0] == package
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
            names |= {alias.asname or alias.name for alias in node.names}
    bindings = list(bound(tree))
    while added := {name for name, value in bindings if root_name(value) in names} - names:
        names |= added
    return names


def bound(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of assignments to names, and of loops over values that are written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            values = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List | ast.Set) else ()
            yield from ((node.target.id, value) for value in values)


def patches(text: str, package: str) -> list[int]:
    """Lines that assign to, or delete, an attribute of something imported from a package."""
    tree = tree_of(text)
    names = imported_from(tree, package)
    lines = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and root_name(node.func) in ("setattr", "delattr"):
            targets = [ast.Attribute(node.args[0], "", lineno=node.lineno)]
        lines += [
            target.lineno
            for target in targets
            if isinstance(target, ast.Attribute) and root_name(target) in names
        ]
    return lines


def test_only_osken_patches_os_ken() -> None:
    lines = {path: patches(path.read_text(), "os_ken") for path in PROGRAMS}
    others = {
        path: at for path, at in lines.items() if at and not in_folder(path, "southbound/openflow/osken")
    }
    assert others == {}
    assert any(lines.values())


def test_no_patch_of_os_ken_is_overlooked() -> None:
    text = """
import os_ken.lib.hub as green
from os_ken.ofproto import parser, other
parser.OFPBucket.parser = read
kind = parser.OFPBucket
kind.__getattr__ = read
for kinds in (parser.A, parser.B):
    del kinds.parser
setattr(green, "spawn", read)
mine = parser.OFPBucket()
mine.weight = 1
"""
    assert sorted(patches(text, "os_ken")) == [4, 6, 8, 9]


PATCHED = """
import json, pkgutil, sys
from flowlane import hub
hub.prepare(patch=False)
import flowlane.app, flowlane.launch, flowlane.southbound
for module in pkgutil.walk_packages(flowlane.southbound.__path__, "flowlane.southbound."):
    __import__(module.name)
from flowlane.southbound.openflow.osken import listener
listener.install()

def owner(value):
    for name in ("__func__", "fget", "func"):
        value = getattr(value, name, value)
    return str(getattr(value, "__module__", ""))

found = {}
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] == "os_ken":
        things = list(vars(module).items())
        for key, kind in list(things):
            if isinstance(kind, type) and kind.__module__ == name:
                things += [(f"{key}.{attribute}", value) for attribute, value in vars(kind).items()]
        found |= {f"{name}.{key}": owner(value) for key, value in things if owner(value).startswith("flowlane")}
json.dump(found, sys.stdout)
"""
"""Prints, as JSON, which attributes of os-ken's modules and classes Flowlane has defined, and in which module."""


def test_what_is_patched_in_os_ken_is_defined_in_osken() -> None:
    done = subprocess.run([sys.executable, "-c", PATCHED], check=True, capture_output=True, text=True)
    owners: dict[str, str] = json.loads(done.stdout)
    assert len(owners) > 10
    assert {name: owner for name, owner in owners.items() if not owner.startswith(f"{OSKEN}.")} == {}


# ---- what a program loads

BY_NAME = {name_of(path): path for path in MODULES}


def closure(*roots: str) -> set[str]:
    """The modules of ours that importing these would load, also inside functions."""
    loaded: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        while name and name not in BY_NAME:
            name = name.rpartition(".")[0]  # a name that a module defines
        if not name or name in loaded:
            continue
        loaded.add(name)
        waiting += [*imports_of(BY_NAME[name]), name.rpartition(".")[0]]
    return loaded


def test_the_controller_does_not_load_the_tools_for_hosts() -> None:
    loaded = closure("flowlane.app", "flowlane.composition", "flowlane.manager")
    assert {
        "flowlane.core.engine",
        "flowlane.launch",
        f"{OSKEN}.listener",
        "flowlane.southbound.ovsdb.rows",
    } <= loaded
    assert [name for name in loaded if name.startswith(("flowlane.hosttools", "flowlane.cli"))] == []


def test_the_engine_does_not_load_networkx() -> None:
    assert GRAPHS in MODULES
    assert "flowlane.core.topology.discovery" in closure("flowlane.core.engine")
    assert name_of(GRAPHS) not in closure("flowlane.core.engine", "flowlane.core.explain")


def test_programs_do_not_import_tests() -> None:
    names = {path: {name.partition(".")[0] for name in imports_in(path.read_text(), "")} for path in PROGRAMS}
    of_tests = {"tests", "support", "conftest"}
    assert {path: imported & of_tests for path, imported in names.items() if imported & of_tests} == {}
    assert ROOT / "lab" / "boot" in PROGRAMS
    on_path = re.compile(r"sys\.path.*tests|PYTHONPATH.*tests")
    assert [path for path in PROGRAMS if on_path.search(path.read_text())] == []


NAMES_OF_DISTRIBUTIONS = {
    "oslo.config": "oslo_config",
    "os-ken": "os_ken",
    "PyYAML": "yaml",
    "WebOb": "webob",
}


def test_every_dependency_is_imported() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    declared = metadata["options"]["install_requires"] + metadata["options.extras_require"]["plan"]
    required = re.findall(r"^([\w.-]+)", declared, re.MULTILINE)
    imported = {
        name.partition(".")[0]
        for path in PROGRAMS
        if path.is_relative_to(ROOT / "app") or path.is_relative_to(ROOT / "topologies")
        for name in imports_in(path.read_text(), "")
    }
    assert "eventlet" in required
    assert [name for name in required if NAMES_OF_DISTRIBUTIONS.get(name, name) not in imported] == []


# ---- the docs

PAGES = [ROOT / "docs" / "architecture.md", ROOT / "docs" / "engineers" / "architecture.md"]


def test_every_module_has_its_line_in_the_docs() -> None:
    page = next(page for page in PAGES if page.exists())
    rows = re.findall(r"^\| `([\w/]+\.py)` \| .+ \|$", page.read_text(), re.MULTILINE)
    modules = [str(path.relative_to(PACKAGE)) for path in MODULES if path.name != "__init__.py"]
    assert sorted(set(modules) - set(rows)) == [], f"add a line for each to {page.name}"
    assert sorted(set(rows) - set(modules)) == [], f"{page.name} has lines for modules that do not exist"
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_not_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", [path for path in MODULES if not in_folder(path, "cli")], ids=name_of)
def test_only_the_command_line_prints(path: Path) -> None:
    calls = (node for node in nodes_of(path.read_text()) if isinstance(node, ast.Call))
    assert [
        call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
    ] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path.read_text()))


def test_folders_that_are_not_packages() -> None:
    """An __init__.py in mininet/ would hide Mininet itself; app/ is a source root."""
    for folder in ("app", "mininet", "topologies", "tests"):
        assert not (ROOT / folder / "__init__.py").exists()


MIRRORED = ("cli", "cluster", "core", "hosttools", "northbound", "policy", "southbound")
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
