"""Every input of the corpus once more, findings among them: none raises, none takes long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fuzz import corpus
from fuzz.targets import TARGETS

SLOW = 0.05
"""Seconds of processor time that an input may take."""


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_found_is_read_or_refused_in_time(target: str) -> None:
    inputs = corpus.kept(target)
    assert inputs
    read = TARGETS[target].read
    for name, data in inputs.items():
        tried: list[float] = []
        while not tried or (tried[-1] > SLOW and len(tried) < 3):
            began = time.thread_time()
            read(data)
            tried.append(time.thread_time() - began)
        assert min(tried) < SLOW, name


def test_an_archive_of_the_same_inputs_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    corpus.write("frame", {"b": b"2", "a": b"1"})
    first = (tmp_path / "frame.zip").read_bytes()
    corpus.write("frame", {"a": b"1", "b": b"2"})
    assert (tmp_path / "frame.zip").read_bytes() == first
    assert corpus.kept("frame") == {"a": b"1", "b": b"2"}
