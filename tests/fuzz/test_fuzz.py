"""A small campaign of the fuzzer; `make fuzz` runs a large one."""

from __future__ import annotations

import os

import pytest
from fuzz import campaign, guarded, make_seeds
from mutations import damaged

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are guarded by fork and POSIX limits")

CASES, SEED = 100, 20260


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_sound_files_are_read(seeds, tmp_path) -> None:
    """Else the fuzzer would damage what is refused anyway."""
    for name, data in seeds.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert guarded(path).outcome == ("sentence" if name == "dicomdir" else "study"), name


def test_damaged_files_give_a_study_or_a_sentence(seeds) -> None:
    failures = [
        f"case {number} of seed {SEED}: {what}: {verdict}"
        for number, what, verdict in campaign(seeds, SEED, iter(range(CASES)))
        if verdict.failed
    ]
    assert not failures, "\n".join(failures)


def test_a_case_is_the_same_every_time(seeds) -> None:
    assert [damaged(seeds, 7, number) for number in range(20)] == [
        damaged(seeds, 7, number) for number in range(20)
    ]
    assert damaged(seeds, 7, 1) != damaged(seeds, 8, 1)


@pytest.mark.parametrize(
    ("defect", "outcome"),
    [
        ("raise ValueError", "traceback"),
        ("while True: pass", "hang"),
        ("os.abort()", "crash"),
        ("b'x' * 2**30", "memory"),
        ("bytearray(2**40)", "memory"),
    ],
)
def test_the_guard_sees_every_kind_of_failure(tmp_path, monkeypatch, defect, outcome) -> None:
    import fuzz

    monkeypatch.setattr(fuzz, "SECONDS", 1 if outcome == "hang" else 20)
    monkeypatch.setattr(fuzz, "open_study", lambda path: exec(defect, {"os": os}))
    path = tmp_path / "case"
    path.write_bytes(b"x")
    assert fuzz.guarded(path).outcome == outcome
