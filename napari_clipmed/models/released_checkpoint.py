"""Checkpoints of the CausalCLIPSeg that its authors published, read into ours.

The published network (github.com/WUTCM-Lab/CausalCLIPSeg, ``nets/``) names its parts as on the left:

=====================================  =================================================
``backbone.visual.attnpool.connect.``  ``connect.``
``backbone.``                          ``backbone.``, open_clip's names, which are equal
``neck_ad.f2_v_proj.``                 ``neck.reduce4.0.``
``neck_ad.f4_proj4.``                  ``neck.reduce4.1.``
``neck_ad.carafe.``                    ``neck.carafe.``
``neck_ad.masker3.`` …4, …5            ``neck.maskers.0.`` …1, …2
``neck_ad.aggr.``                      ``neck.aggregate.``
``proj.``                              ``causal_decoder.``
``proj_ad.``                           ``confounder_decoder.``
=====================================  =================================================

and inside a masker ``coordconv.conv1.``, ``conv2.``, ``coordconv2.conv1.``, ``conv.``, ``bn.`` become ``0.``
to ``4.``. Nine further parts of its neck are built but never used (15.2 of 51.8 million parameters); they
are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from napari_clipmed.errors import ModelError
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg

CONFIG = {"clip": "RN101-quickgelu", "upsampling": [4, 4], "context_length": 20}
"""Arguments of `CausalCLIPSeg` that give the published network."""

UNUSED = tuple(
    f"neck_ad.{part}."
    for part in (
        "txt_proj",
        "f1_v_proj",
        "norm_layer",
        "f2_cat",
        "f3_v_proj",
        "f3_cat",
        "f4_proj5",
        "f4_proj3",
        "coordconv",
    )
)
"""Parts that take no part in the published forward pass."""

_MASKER = (
    ("coordconv.conv1.", "0."),
    ("conv2.", "1."),
    ("coordconv2.conv1.", "2."),
    ("conv.", "3."),
    ("bn.", "4."),
)

KEYS: tuple[tuple[str, str], ...] = (
    ("backbone.visual.attnpool.connect.", "connect."),
    ("backbone.", "backbone."),
    ("neck_ad.f2_v_proj.", "neck.reduce4.0."),
    ("neck_ad.f4_proj4.", "neck.reduce4.1."),
    ("neck_ad.carafe.", "neck.carafe."),
    *(
        (f"neck_ad.masker{stage}.{theirs}", f"neck.maskers.{index}.{ours}")
        for index, stage in enumerate((3, 4, 5))
        for theirs, ours in _MASKER
    ),
    ("neck_ad.aggr.", "neck.aggregate."),
    ("proj.", "causal_decoder."),
    ("proj_ad.", "confounder_decoder."),
)
"""Prefixes (published, ours); the first that fits applies."""


def translate(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of a published state dict (with or without ``module.`` before each name).

    Raises
    ------
    ModelError
        When an entry does not belong to the published network.
    """
    translated = {}
    for key, value in checkpoint.items():
        name = key.removeprefix("module.")
        if name.startswith(UNUSED):
            continue
        for theirs, ours in KEYS:
            if name.startswith(theirs):
                translated[ours + name.removeprefix(theirs)] = value
                break
        else:
            raise ModelError(
                f"{key!r} is no part of the published CausalCLIPSeg; this is another checkpoint."
            )
    return translated


def load_released(network: CausalCLIPSeg, checkpoint: Mapping[str, Tensor]) -> None:
    """Load a published state dict into a network built with `CONFIG`.

    Raises
    ------
    ModelError
        When entries are missing, foreign, or of another shape.
    """
    state = translate(checkpoint)
    expected = {key: value.shape for key, value in network.state_dict().items()}
    missing = sorted(expected.keys() - state.keys())
    foreign = sorted(state.keys() - expected.keys())
    if missing or foreign:
        raise ModelError(
            f"The checkpoint is not that of the published CausalCLIPSeg: {len(missing)} entries are missing "
            f"and {len(foreign)} unknown, {(missing + foreign)[0]} for one."
        )
    unlike = next((key for key, shape in expected.items() if state[key].shape != shape), None)
    if unlike is not None:
        raise ModelError(
            f"{unlike} has the shape {tuple(state[unlike].shape)} in the checkpoint and "
            f"{tuple(expected[unlike])} in the network.",
            "Only RN101 checkpoints of the published code fit.",
        )
    network.load_state_dict(state)
