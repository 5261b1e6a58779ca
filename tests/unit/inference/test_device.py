"""A device is chosen with a reason, and never one that is not there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference import device
from napari_clipmed.inference.device import choose_compute, spare_threads


def test_the_reason_is_a_sentence_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: True)
    compute = choose_compute()
    assert (compute.device, compute.precision, compute.channels_last) == ("cpu", "bf16", True)
    assert "No CUDA" in compute.reason
    assert "bfloat16" in compute.reason
    monkeypatch.setattr(device, "_bf16_is_native", lambda name: False)
    assert choose_compute().precision == "fp32"


def test_cuda_comes_before_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    compute = choose_compute()
    assert (compute.device, compute.precision) == ("cuda", "bf16")


def test_a_missing_device_and_an_unknown_word_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ClipmedError, match="not available"):
        choose_compute("cuda")
    with pytest.raises(ClipmedError, match="Unknown device"):
        choose_compute("gpu")
    with pytest.raises(ClipmedError, match="Precisions|precision"):
        choose_compute(precision="int4")


def test_threads_are_capped_on_request_only() -> None:
    before = torch.get_num_threads()
    try:
        assert choose_compute("cpu", threads=1).threads == 1
        assert torch.get_num_threads() == 1
        assert spare_threads() >= 1
    finally:
        torch.set_num_threads(before)


def test_a_placed_network_is_frozen_and_gives_nearly_the_same_in_bf16() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).train()
    images = torch.rand(2, 3, 16, 16)
    answers = {}
    for precision in ("fp32", "bf16"):
        compute = choose_compute("cpu", precision)
        placed = compute.place(network)
        assert not placed.training
        assert not any(p.requires_grad for p in placed.parameters())
        with compute.running():
            answers[precision] = placed(compute.send(images)).float()
    assert torch.allclose(answers["fp32"], answers["bf16"], atol=0.02)
    assert not torch.equal(answers["fp32"], answers["bf16"])
