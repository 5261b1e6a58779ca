"""A model is read in the fastest number format that changes none of its answers, and in float32 otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_clipmed.inference import device, precision
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.precision import ACCEPTED, AGREEMENTS, largest_difference, probe_studies, settle
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.int8_trunk import can_multiply_bytes
from napari_clipmed.models.registry import load_network
from napari_clipmed.study import Study


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Compute:
    """A processor that multiplies bytes and bfloat16."""
    monkeypatch.setattr(device, "can_multiply_bytes", lambda: True)
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: name == "cpu")
    return choose_compute("cpu")


def with_agreement(entry: ModelEntry, **differences: float) -> ModelEntry:
    return replace(entry, card=entry.card.model_copy(update={"agreement": differences}))


@pytest.mark.parametrize(
    ("int8", "bf16", "expected"),
    [
        (ACCEPTED, 0.0, "int8"),
        (ACCEPTED * 1.01, ACCEPTED, "bf16"),
        (0.5, ACCEPTED * 1.01, "fp32"),
    ],
)
def test_the_fastest_that_agrees_by_the_card_is_taken(
    diagnosis_model: ModelEntry, fast: Compute, int8: float, bf16: float, expected: str
) -> None:
    assert fast.faster_first() == ("int8", "bf16")
    settled = settle(with_agreement(diagnosis_model, int8=int8, bf16=bf16), fast)
    assert settled.precision == expected
    assert not settled.open


def test_what_was_asked_for_stays(diagnosis_model: ModelEntry, fast: Compute) -> None:
    disagreeing = with_agreement(diagnosis_model, int8=1.0, bf16=1.0)
    for asked in ("int8", "bf16", "fp32"):
        assert settle(disagreeing, choose_compute("cpu", asked)).precision == asked


def test_hardware_without_short_formats_gets_float32(
    diagnosis_model: ModelEntry, fast: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreeing = with_agreement(diagnosis_model, int8=0.0, bf16=0.0)
    monkeypatch.setattr(device, "can_multiply_bytes", lambda: False)
    assert settle(agreeing, fast).precision == "bf16"
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: False)
    assert settle(agreeing, choose_compute("cpu")).precision == "fp32"


def test_a_model_without_a_record_is_measured_once(
    diagnosis_model: ModelEntry, fast: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(network: object, twin: object, compute: Compute, *rest: object) -> float:
        asked.append(compute.precision)
        return {"int8": 0.3, "bf16": 0.001}[compute.precision]

    monkeypatch.setattr(precision, "largest_difference", measured)
    assert settle(diagnosis_model, fast).precision == "bf16"
    assert asked == ["int8", "bf16"]
    assert settle(diagnosis_model, fast).precision == "bf16"
    assert len(asked) == 2
    AGREEMENTS.file.write_text("spoilt")
    assert settle(diagnosis_model, fast).precision == "bf16"
    assert len(asked) == 4


@pytest.mark.skipif(not can_multiply_bytes(), reason="this processor multiplies no bytes natively")
def test_the_difference_is_that_of_the_answers_and_a_low_temperature_makes_it_larger(
    diagnosis_model: ModelEntry,
) -> None:
    preprocessing = Preprocessing.from_card(diagnosis_model.card.preprocessing)

    def difference(fmt: str, temperature: float) -> float:
        networks = (load_network(diagnosis_model) for _ in range(2))
        compute = choose_compute("cpu").exactly(fmt)
        return largest_difference(
            *networks, compute, probe_studies(preprocessing), {"temperature": temperature}
        )

    assert difference("fp32", 0.05) < 1e-6
    assert 1e-6 < difference("int8", 4.0) < difference("int8", 1.0)


def test_probes_are_always_the_same_and_not_like_each_other() -> None:
    preprocessing = Preprocessing(size=64, n_frames=16)
    first, again = (list(probe_studies(preprocessing)) for _ in range(2))
    runs = [images for study in first for images in study.values()]
    for run, same in zip(runs, (images for study in again for images in study.values()), strict=True):
        assert torch.equal(run, same)
        assert run.shape[1:] == (3, 64, 64)
        assert not torch.equal(run[0], run[-1]), "the branches fill"
    assert not any(torch.equal(run, runs[0]) for run in runs[1:])


@pytest.mark.skipif(not can_multiply_bytes(), reason="this processor multiplies no bytes natively")
def test_the_engine_reads_in_bytes_what_agrees_in_bytes(diagnosis_model: ModelEntry, biplane: Study) -> None:
    agreeing = with_agreement(diagnosis_model, int8=0.0)
    quick, exact = Engine(agreeing, device="cpu"), Engine(agreeing, device="cpu", precision="fp32")
    answers = quick.classify(biplane).combined, exact.classify(biplane).combined
    assert quick.precision("diagnosis") == "int8"
    assert list(answers[0].values()) == pytest.approx(list(answers[1].values()), abs=0.01)
    assert answers[0] != answers[1], "bytes are not floats: something was not read in bytes"
