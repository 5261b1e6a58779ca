"""The tower in bytes says what the tower in floating point says, to the few per cent that bytes allow."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from small_models import awake
from torch import Tensor

from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.folding import fold_batch_norms
from napari_clipmed.models.fused_blocks import fuse_blocks
from napari_clipmed.models.int8_trunk import Int8Trunk, can_multiply_bytes

pytestmark = pytest.mark.skipif(not can_multiply_bytes(), reason="this processor multiplies no bytes")


@pytest.fixture(scope="module")
def plain() -> ClipDSA:
    torch.manual_seed(3)
    network = awake(ClipDSA("clipmed-tiny")).eval().requires_grad_(False)
    fold_batch_norms(network)
    network.visual.to(memory_format=torch.channels_last)
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    run = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 3 - 1.5
    run[3] *= 2.0  # one frame is stronger than the others
    return run.contiguous(memory_format=torch.channels_last)


def bytes_and_floats(plain: ClipDSA) -> tuple[Int8Trunk, ModifiedResNet]:
    trunk, visual = Int8Trunk(plain.visual), deepcopy(plain.visual)
    assert fuse_blocks(visual)
    return trunk, visual


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_frames_that_are_measured_are_read_in_floating_point(plain: ClipDSA, images: Tensor) -> None:
    trunk, visual = bytes_and_floats(plain)
    with torch.inference_mode():
        maps, scales = trunk.measure(visual, images[:2])
        assert error(maps, plain.trunk(images[:2])) < 1e-5
    convolutions_after_the_first = 2 + 3 * sum(len(getattr(visual, f"layer{n}")) for n in (1, 2, 3, 4))
    assert len(scales.steps) == 1 + convolutions_after_the_first
    assert min(scales.steps) > 0


def test_other_frames_differ_by_a_few_per_cent(plain: ClipDSA, images: Tensor) -> None:
    trunk, visual = bytes_and_floats(plain)
    with torch.inference_mode():
        _, scales = trunk.measure(visual, images[[0, 3]])
        found, exact = trunk(visual.conv1, images, scales), plain.trunk(images)
    assert found.shape == exact.shape
    assert found.dtype == images.dtype
    for one, other in zip(found, exact, strict=True):
        assert error(one, other) < 0.04
    assert error(found, exact.roll(1, dims=0)) > 0.2, "another frame's map would do as well"


def test_a_frame_does_not_depend_on_its_neighbours_in_a_chunk(plain: ClipDSA, images: Tensor) -> None:
    trunk, visual = bytes_and_floats(plain)
    with torch.inference_mode():
        _, scales = trunk.measure(visual, images[[0, 3]])
        together = trunk(visual.conv1, images, scales)
        alone = torch.cat([trunk(visual.conv1, some, scales) for some in images.split(1)])
    assert torch.equal(together, alone)


def test_numbers_beyond_the_scales_stay_at_the_largest_byte(plain: ClipDSA, images: Tensor) -> None:
    trunk, visual = bytes_and_floats(plain)
    with torch.inference_mode():
        _, scales = trunk.measure(visual, 0.1 * images[:1])
        found = trunk(visual.conv1, images, scales)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
