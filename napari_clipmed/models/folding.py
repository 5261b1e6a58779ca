"""A network made ready for inference only: batch norms folded away, products in a shorter number format."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution into that convolution, in place.

    Parameters
    ----------
    network : Module
        In eval mode, float32. Its blocks must hold a convolution and its norm one after the other, as
        `nn.Sequential` and open_clip's ResNet blocks do. It is for inference only afterwards: its state dict
        is another, and its statistics are gone.

    Returns
    -------
    int
        Number of norms that were folded.

    Raises
    ------
    ValueError
        For a network in training mode, whose norms depend on the batch.
    """
    if network.training:
        raise ValueError("batch norms are folded in eval mode only")
    folded = 0
    for block in network.modules():
        for (first, convolution), (second, norm) in pairwise(list(block.named_children())):
            if (
                isinstance(convolution, nn.Conv2d)
                and isinstance(norm, nn.BatchNorm2d)
                and norm.track_running_stats
                and norm.num_features == convolution.out_channels
            ):
                setattr(block, first, fuse_conv_bn_eval(convolution, norm))
                setattr(block, second, nn.Identity())
                folded += 1
    return folded


def cast_products(network: nn.Module, dtype: torch.dtype, kinds: tuple[type[nn.Module], ...]) -> None:
    """Cast the weights of all layers of some kinds, in place; norms, positions and the rest stay."""
    for module in network.modules():
        if isinstance(module, kinds):
            module.to(dtype)
