"""A device is chosen with a reason, and never one that is not there."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from small_models import awake
from torch import nn

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference import device
from napari_clipmed.inference.device import choose_compute, spare_threads
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.folding import fold_batch_norms
from napari_clipmed.models.fused_blocks import FusedConv, can_fuse, fuse_blocks


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


def test_a_card_without_bfloat16_gets_half_precision_and_a_processor_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ClipmedError, match="fp16"):
        choose_compute("cpu", "fp16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    compute = choose_compute()
    assert (compute.device, compute.precision, compute.dtype) == ("cuda", "fp16", torch.float16)


def test_folded_norms_change_nothing_in_float32_and_none_is_left() -> None:
    torch.manual_seed(1)
    network = awake(ClipDSA("clipmed-tiny"))
    _give_statistics(network)
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        before = network.trunk(images)
        after = choose_compute("cpu", "fp32").freeze(deepcopy(network)).trunk(images)
    assert before.abs().max() > 0.1
    assert (before - after).abs().max() < 1e-5 * before.abs().max()
    frozen = choose_compute("cpu", "fp32").freeze(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())


def test_relu_and_short_cut_inside_the_convolutions_change_nothing() -> None:
    if not can_fuse():
        pytest.skip("this build of torch has no fused convolutions")
    torch.manual_seed(2)
    network = awake(ClipDSA("clipmed-tiny"))
    _give_statistics(network)
    fold_batch_norms(network)
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    fused = deepcopy(network)
    assert fuse_blocks(fused.visual)
    assert not any(isinstance(module, nn.ReLU) for module in fused.visual.modules())
    with torch.inference_mode():
        before, after = network.trunk(images), fused.trunk(images)
        stages = fused.visual.forward_intermediates(images, indices=[2, 3, 4], intermediates_only=True)
    assert (before - after).abs().max() < 1e-5 * before.abs().max()
    assert torch.equal(stages["image_intermediates"][-1], after)


def test_a_torch_without_the_operators_leaves_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    network = choose_compute("cpu", "fp32").freeze(awake(ClipDSA("clipmed-tiny")))
    assert any(isinstance(module, nn.ReLU) for module in network.visual.modules())
    assert network.trunk(torch.rand(1, 3, 64, 64)).shape[2:] == (2, 2)


def test_norms_that_depend_on_the_batch_are_not_folded() -> None:
    with pytest.raises(ValueError, match="eval"):
        fold_batch_norms(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train())
    alone = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    assert fold_batch_norms(alone) == 0


def test_a_frozen_network_keeps_heads_and_sentences_in_float32() -> None:
    network = choose_compute("cpu", "bf16").freeze(ClipDSA("clipmed-tiny"))
    convolutions = [m for m in network.visual.modules() if isinstance(m, nn.Conv2d | FusedConv)]
    assert {m.weight.dtype for m in convolutions} == {torch.bfloat16}
    rest = [p for name, p in network.named_parameters() if not name.startswith("visual.")]
    rest += list(network.visual.attnpool.parameters())
    assert {p.dtype for p in rest} == {torch.float32}


def _give_statistics(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.bias.data.uniform_(-0.2, 0.2)


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
