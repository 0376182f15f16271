"""Loader of a policy: text, structure, then section by section; every problem is collected."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path as FilePath
from typing import BinaryIO

from flowlane.core.policy import Policy
from flowlane.errors import ConfigError, PolicyError, Problem
from flowlane.policy import document as documents
from flowlane.policy.classes import build_classes, class_names
from flowlane.policy.context import Context, invalid_paths
from flowlane.policy.devices import build_devices
from flowlane.policy.match import read_gates
from flowlane.policy.passive import build_passive_switches
from flowlane.policy.rules import build_rules, check_hints
from flowlane.policy.settings import (
    build_balance,
    build_copy_rate,
    build_extra_addresses,
    build_learn_after,
    build_pins,
    build_port_security,
    build_sampling,
    build_track_above,
    build_vm_flows,
)
from flowlane.policy.structure import check_structure
from flowlane.policy.trust import build_shares, build_trust


def load(text: str, source: str = "policy") -> Policy:
    """Read a policy; ``source`` names it in the error.

    Raises:
        PolicyError: with every problem that was found.
    """
    try:
        document = documents.read(text)
    except PolicyError as error:
        raise PolicyError(error.problems, source) from None
    policy = _build(document, text)
    if document.problems:
        ordered = sorted(document.problems, key=lambda problem: (problem.line, problem.column))
        raise PolicyError(ordered[: documents.MAX_PROBLEMS], source)
    return policy


def load_file(path: str | FilePath) -> Policy:
    """Read a policy from a file.

    Raises:
        PolicyError: see :func:`load`; also when the file is not UTF-8.
        ConfigError: the file cannot be read.
    """
    try:
        with FilePath(path).open("rb") as file:
            return load_stream(file, str(path))
    except OSError as error:
        raise ConfigError(f"policy file {path} cannot be read: {error.strerror or error}") from error


def load_stream(file: BinaryIO, source: str) -> Policy:
    """Read a policy from an open binary file, of which at most :data:`documents.MAX_BYTES` + 1 are read.

    Raises:
        PolicyError: see :func:`load`; also when the bytes are not UTF-8.
    """
    raw = file.read(documents.MAX_BYTES + 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) > documents.MAX_BYTES:
            return load(raw.decode("utf-8", "replace"), source)
        line = raw.count(b"\n", 0, error.start) + 1
        problem = Problem(line, 1, "", "not UTF-8", "save it as UTF-8; is this a binary file?")
        raise PolicyError([problem], source) from None
    return load(text, source)


def default_text() -> str:
    """Return the text of the built-in policy."""
    return files("flowlane.policy").joinpath("default.yaml").read_text("utf-8")


def default() -> Policy:
    """Load the built-in policy, the default: flows share queues, a flow that is heavy for a while gets its own."""
    return load(default_text(), "built-in policy")


def _build(document: documents.Document, text: str) -> Policy:
    broken = check_structure(document)
    # Where so many breaches were found there may be more, and what they break cannot be built.
    if not isinstance(document.data, dict) or len(document.problems) >= documents.MAX_PROBLEMS:
        return Policy(classes=())
    context = Context(document, invalid_paths(broken), class_names(document))
    read_gates(context)
    policy = Policy(
        classes=build_classes(context),
        rules=build_rules(context),
        gates=context.gates,
        shares=build_shares(context),
        trust=build_trust(context),
        devices=build_devices(context),
        passive_switches=build_passive_switches(context),
        balance=build_balance(context),
        pins=build_pins(context),
        copy_rate=build_copy_rate(context),
        learn_after=build_learn_after(context),
        track_above=build_track_above(context),
        vm_flows=build_vm_flows(context),
        port_security=build_port_security(context),
        extra_addresses=build_extra_addresses(context),
        sampling=build_sampling(context),
        text=text,
    )
    check_hints(context, policy.rules, policy.trust)
    return policy
