"""The pace is measured once for each machine and model, and a spoilt memory of it does no harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_models import awake

from napari_clipmed.inference import tuning
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.tuning import CHUNKS, PACES, Pace, measure, pace_for
from napari_clipmed.models.clip_dsa import ClipDSA

COMPUTE = choose_compute("cpu", "fp32")
Read = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def read() -> Read:
    return COMPUTE.freeze(awake(ClipDSA("clipmed-tiny"))).trunk


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Pace]:
    found: list[Pace] = []

    def counting(*given: object) -> Pace:
        found.append(measure(*given))
        return found[-1]

    monkeypatch.setattr(tuning, "measure", counting)
    return found


def test_a_pace_is_measured_once_and_read_from_disk_then(read: Read, measured: list[Pace]) -> None:
    first = pace_for(read, 64, COMPUTE, "abc")
    assert first.chunk in CHUNKS["cpu"]
    assert 1 <= first.threads <= COMPUTE.threads
    assert pace_for(read, 64, COMPUTE, "abc") == first
    assert len(measured) == 1
    assert PACES.file.is_file()


def test_another_model_size_precision_or_version_is_measured_anew(
    read: Read, measured: list[Pace], monkeypatch: pytest.MonkeyPatch
) -> None:
    pace_for(read, 64, COMPUTE, "abc")
    pace_for(read, 64, COMPUTE, "other")
    pace_for(read, 32, COMPUTE, "abc")
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    pace_for(read, 64, COMPUTE, "abc")
    assert len(measured) == 4


@pytest.mark.parametrize("content", ["", "[]", "not json", '{"NAME": {"chunk": 10000, "threads": 1}}'])
def test_a_spoilt_file_is_measured_anew(read: Read, measured: list[Pace], content: str) -> None:
    pace_for(read, 64, COMPUTE, "abc")
    name = next(iter(PACES.all()))
    PACES.file.write_text(content.replace("NAME", name))
    assert pace_for(read, 64, COMPUTE, "abc").chunk in CHUNKS["cpu"]
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(
    read: Read, measured: list[Pace], monkeypatch: pytest.MonkeyPatch
) -> None:
    PACES.file.parent.parent.mkdir(parents=True, exist_ok=True)
    PACES.file.parent.write_text("a file where the folder should be")
    assert pace_for(read, 64, COMPUTE, "abc").chunk in CHUNKS["cpu"]


def test_measuring_leaves_the_number_of_threads_alone(read: Read) -> None:
    before = torch.get_num_threads()
    measure(read, 32, COMPUTE)
    assert torch.get_num_threads() == before
