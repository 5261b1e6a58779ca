"""State dicts in the layout of the published code, against a forward pass that shares no code with ours."""

from __future__ import annotations

import pytest
import torch
from clip_reference import RN101, Size, State, draw, parameters, sentence_state
from random_networks import _one_thread_and_seed  # noqa: F401 - a fixture
from released_reference import (
    Reference,
    backbone,
    image_shapes,
    projector,
    published,
    unused_neck,
    used_neck,
)
from torch import Tensor

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbones import count_parameters
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.released_checkpoint import CONFIG, KEYS, UNUSED, load_released, translate

TINY = Size((1, 1, 1, 1), embed=64, width=8, grid=2, text_width=32, text_layers=1, context=20)
TINY_CONFIG = {
    "clip": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 8,
            "patch_size": None,
            "head_width": 64,
        },
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
    },
    "upsampling": [4, 4],
    "context_length": 20,
}


def checkpoint_of(size: Size) -> State:
    return draw(published(size), torch.Generator().manual_seed(0))


def two_sentences() -> Tensor:
    """A short one and one of exactly 20 tokens; 49406 begins, 49407 ends, zeros follow."""
    tokens = torch.zeros(2, 20, dtype=torch.int64)
    tokens[0, :5] = torch.tensor([49406, 1823, 320, 539, 49407])
    tokens[1] = torch.arange(20) + 1000
    tokens[1, 0], tokens[1, -1] = 49406, 49407
    return tokens


def test_rn101_in_the_released_layout_gives_the_released_answer_to_1e_5() -> None:
    """Random weights in every entry, the reference in plain torch from pixels and tokens to both masks."""
    checkpoint = checkpoint_of(RN101)
    network = CausalCLIPSeg(**CONFIG).eval()
    load_released(network, checkpoint)
    image, tokens = torch.randn(2, 3, 64, 96), two_sentences()
    with torch.no_grad():
        found, expected = network(image, tokens), Reference(checkpoint)(image, tokens)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape == (2, 1, 64, 96)
        assert theirs.std() > 0.05, "a constant answer would prove nothing"
        assert (ours - theirs).abs().max() < 1e-5
    assert (found[0] - found[1]).abs().max() > 0.05, "the two decoders have weights of their own"


def test_stages_of_the_published_size_need_no_interpolation() -> None:
    """At 64 px the grid is that of the position embeddings; at 96 x 64 it is interpolated."""
    checkpoint = checkpoint_of(TINY)
    network, reference = CausalCLIPSeg(**TINY_CONFIG).eval(), Reference(checkpoint)
    load_released(network, checkpoint)
    for size in ((64, 64), (96, 64)):
        image = torch.randn(2, 3, *size)
        with torch.no_grad():
            for ours, theirs in zip(network.stages(image), reference.stages(image), strict=True):
                assert (ours - theirs).abs().max() < 1e-5
    grid = network.backbone.visual.attnpool.positional_embedding
    assert torch.equal(grid, checkpoint["backbone.visual.attnpool.positional_embedding"])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_prefix_of_parallel_training_does_not_matter(prefix: str) -> None:
    checkpoint = checkpoint_of(TINY)
    network = CausalCLIPSeg(**TINY_CONFIG).eval()
    load_released(network, {prefix + key: value for key, value in checkpoint.items()})
    image, tokens = torch.randn(2, 3, 64, 96), two_sentences()
    with torch.no_grad():
        found, expected = network(image, tokens), Reference(checkpoint)(image, tokens)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-5


def test_twenty_tokens_say_what_seventy_seven_say() -> None:
    """The released text tower runs over 20 places, CLIP's own over 77: a causal mask makes them equal."""
    size = Size((1, 1, 1, 1), embed=64, width=8, grid=2, text_width=32, text_layers=2, context=77)
    clip = {k.removeprefix("backbone."): v for k, v in checkpoint_of(size).items()}
    short = two_sentences()
    long = torch.nn.functional.pad(short, (0, 57))
    assert (sentence_state(clip, short) - sentence_state(clip, long)).abs().max() < 1e-5


def test_unused_parts_are_dropped_and_every_used_part_is_mapped() -> None:
    checkpoint = checkpoint_of(TINY)
    translated = translate(checkpoint)
    assert len(translated) == len(backbone(TINY) | used_neck(64, 128)) + 2 * len(projector("", 64))
    assert {key for key in checkpoint if key.startswith(UNUSED)} == set(unused_neck(64, 128))
    assert all(any(key.startswith(theirs) for key in checkpoint) for theirs, _ in KEYS)


def test_other_checkpoints_are_refused_in_a_sentence() -> None:
    network, checkpoint = CausalCLIPSeg(**TINY_CONFIG), checkpoint_of(TINY)
    with pytest.raises(ModelError, match="another checkpoint"):
        load_released(network, {"encoder.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="1 entries are missing"):
        load_released(network, {k: v for k, v in checkpoint.items() if k != "proj.txt.bias"})
    with pytest.raises(ModelError, match="has the shape"):
        load_released(network, checkpoint | {"proj.txt.bias": torch.zeros(5)})


def test_rn101_has_the_parameters_of_the_specification() -> None:
    """To the last one, against the published layout; the rounded figures are those of the specification."""
    with torch.device("meta"):
        network = CausalCLIPSeg(**CONFIG)
    connect = count_parameters(network.connect)
    assert count_parameters(network.backbone.visual) == parameters(image_shapes(RN101)) == 56_259_936
    assert round((count_parameters(network.backbone.visual) + connect) / 1e6, 1) == 57.3
    assert count_parameters(network.backbone) + connect == parameters(backbone(RN101)) == 120_737_633
    assert count_parameters(network.neck) == parameters(used_neck(512, 1024)) == 36_617_892
    assert parameters(unused_neck(512, 1024)) == 15_226_368
    assert round((36_617_892 + 15_226_368) / 1e6, 1) == 51.8
    for decoder in (network.causal_decoder, network.confounder_decoder):
        assert count_parameters(decoder) == parameters(projector("", 512)) == 4_788_737


@pytest.mark.parametrize("side", [224, 416])
def test_rn101_has_the_shapes_of_the_specification(side: int) -> None:
    with torch.device("meta"):
        network = CausalCLIPSeg(**CONFIG).eval()
    image = torch.zeros(2, 3, side, side, device="meta")
    eighth, sixteenth, last = side // 8, side // 16, side // 32
    stages = network.stages(image)
    assert [tuple(stage.shape) for stage in stages] == [
        (2, 512, eighth, eighth),
        (2, 1024, sixteenth, sixteenth),
        (2, 512, last, last),
    ]
    aligned = network.neck.align(*stages)
    masks = network.masks(image)
    separated = network.separate(image)
    for features in (*aligned, *masks, *separated):
        assert features.shape == (2, 512, sixteenth, sixteenth)
    assert network.backbone.text_projection.shape == (512, 512), "the sentence vector is as long"
    assert network.encode_image(image).shape == (2, 256, side, side)
    assert network.causal_decoder.txt.out_features == 256 * 3 * 3 + 1 == 2305
    tau = torch.zeros(2, 512, device="meta")
    assert network.decode(network.encode_image(image), tau).shape == (2, 1, side, side)
