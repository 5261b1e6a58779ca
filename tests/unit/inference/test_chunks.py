"""When memory runs out, fewer images are read at a time, and what was read is kept."""

from __future__ import annotations

import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.chunks import is_out_of_memory, run_in_chunks
from napari_clipmed.inference.engine import Engine
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.clip_dsa import ClipDSA

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "mps", "cpu"])
def test_the_chunk_is_halved_and_the_rest_is_read(error: RuntimeError) -> None:
    seen: list[int] = []

    def double(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise error
        seen.append(len(images))
        return 2 * images

    images = torch.arange(10.0)
    answers, chunk = run_in_chunks(double, images, 8)
    assert torch.equal(answers, 2 * images)
    assert chunk == 2
    assert seen == [2, 2, 2, 2, 2]


def test_what_was_read_before_memory_ran_out_is_kept() -> None:
    calls: list[float] = []

    def full_at_the_second(images: torch.Tensor) -> torch.Tensor:
        if len(calls) == 1 and len(images) == 4:
            raise ERRORS[0]
        calls.extend(images.tolist()[:1])
        return images

    answers, _ = run_in_chunks(full_at_the_second, torch.arange(8.0), 4)
    assert answers.tolist() == list(range(8))
    assert calls == [0, 4, 6]


def test_no_room_for_one_image_is_a_sentence_and_other_errors_stay_themselves() -> None:
    def never(images: torch.Tensor) -> torch.Tensor:
        raise ERRORS[0]

    with pytest.raises(ClipmedError, match="single image"):
        run_in_chunks(never, torch.zeros(5), 4)

    def broken(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run_in_chunks(broken, torch.zeros(5), 4)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_an_engine_on_a_full_device_gives_the_same_answer_and_remembers_the_chunk(
    diagnosis_model: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(make_view(bolus()))
    expected = Engine(diagnosis_model, device="cpu", precision="fp32").classify(study).combined
    refused: list[int] = []
    trunk = ClipDSA.trunk

    def small(self: ClipDSA, frames: torch.Tensor) -> torch.Tensor:
        if len(frames) > 2:
            refused.append(len(frames))
            raise ERRORS[0]
        return trunk(self, frames)

    monkeypatch.setattr(ClipDSA, "trunk", small)
    engine = Engine(diagnosis_model, device="cpu", precision="fp32")
    assert list(engine.classify(study).combined.values()) == pytest.approx(list(expected.values()), abs=1e-6)
    assert refused
    refused.clear()
    engine.classify(make_study(make_view(bolus(seed=9))))
    assert not refused
