"""What an image tower sees at each place of a picture, in the space of the sentences, without training.

The last attention mixes all places. With each place attending to itself alone, what it would have passed on
(its value) is brought into the joint space instead: the dense features of MaskCLIP (Zhou et al., ECCV 2022,
section 3.2), for CLIP's ResNet by its attention pooling, for vision transformers by their last block.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from napari_clipmed.errors import ModelError


def dense_features(visual: nn.Module, images: Tensor) -> Tensor:
    """Features of each place.

    Parameters
    ----------
    visual : nn.Module
        Image tower of an open_clip model, in eval mode.
    images : (N, 3, S, S) Tensor

    Returns
    -------
    (N, h, w, d) Tensor
        In the space of the sentences, not normalised.

    Raises
    ------
    ModelError
        For a tower that pools in a way of its own.
    """
    if isinstance(visual, ModifiedResNet):
        maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
        return visual.attnpool.c_proj(visual.attnpool.v_proj(maps.permute(0, 2, 3, 1)))
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        places = _own_values(visual, visual.transformer.resblocks[-1], images)
        return places if visual.proj is None else places @ visual.proj
    blocks = getattr(getattr(visual, "trunk", None), "blocks", None)
    if (
        isinstance(visual, TimmModel)
        and blocks is not None
        and "pool" not in dict(visual.head.named_children())
    ):
        return visual.head(_own_values(visual, blocks[-1], images))
    raise ModelError(
        f"Heat maps of sentences are not known for a {type(visual).__name__} of this kind.",
        "Choose CLIP's ResNet or a vision transformer; BiomedCLIP and QuiltNet are such.",
    )


def _own_values(visual: Any, last: nn.Module, images: Tensor) -> Tensor:
    """Normalised tokens (N, h, w, c) of the last block, in which every token attended to itself alone."""

    def look_at_itself(block: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        length = given[0].shape[1]
        mask = torch.full((length, length), float("-inf"), device=images.device, dtype=given[0].dtype)
        return given, options | {"attn_mask": mask.fill_diagonal_(0.0)}

    hook = last.register_forward_pre_hook(look_at_itself, with_kwargs=True)
    try:
        found = visual.forward_intermediates(
            images, indices=1, normalize_intermediates=True, intermediates_only=True
        )
    finally:
        hook.remove()
    return found["image_intermediates"][-1].permute(0, 2, 3, 1)
