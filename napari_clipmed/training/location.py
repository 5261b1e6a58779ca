"""Location supervision: the truth says where a lesion is, so small ones are found with fewer studies.

Used in training only: the 1×1 convolutions and the frame classifier here are thrown away afterwards, the
exported network is plain CLIP-DSA.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.training.dsa_data import NO_LESION


class LocationHeads(nn.Module):
    """Class scores for each cell of the third and fourth map, and for each frame."""

    def __init__(self, network: ClipDSA) -> None:
        super().__init__()
        labels, width = network.text_features.shape
        deep = network.visual.attnpool.k_proj.in_features
        self.third = nn.Conv2d(deep // 2, labels, 1)
        self.fourth = nn.Conv2d(deep, labels, 1)
        self.frame = nn.Linear(width, labels)

    def cell_loss(self, third: Tensor, fourth: Tensor, lesion: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy of the cells of both maps.

        Parameters
        ----------
        third, fourth : (N, C, h, w) Tensor
            Maps of N frames.
        lesion : (N, S, S) Tensor
            Where the lesion of the frame's study projects, above 0.5 inside.
        classes : (N,) int64 Tensor
            Its class; `NO_LESION` where it cannot be seen in this frame.
        """
        losses = []
        for head, maps in ((self.third, third), (self.fourth, fourth)):
            cells = functional.adaptive_max_pool2d(lesion[:, None], maps.shape[-2:])[:, 0] > 0.3
            losses.append(balanced_cross_entropy(head(maps.float()), cells, classes))
        return torch.stack(losses).mean()

    def frame_loss(self, features: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy of frame features (N, d), frames with and without visible lesion weighted alike."""
        each = functional.cross_entropy(self.frame(features.float()), classes, reduction="none")
        ill = classes != NO_LESION
        return torch.stack([each[part].mean() for part in (ill, ~ill) if part.any()]).mean()


def balanced_cross_entropy(logits: Tensor, cells: Tensor, classes: Tensor) -> Tensor:
    """Half for the cells of lesions, every lesion counting the same whatever its size, half for all others.

    Parameters
    ----------
    logits : (N, K, h, w) Tensor
    cells : (N, h, w) bool Tensor
        Where the lesion is.
    classes : (N,) int64 Tensor
        `NO_LESION` where the lesion cannot be seen: its cells then count neither way.
    """
    seen = (classes != NO_LESION)[:, None, None]
    positive = (cells & seen).float()
    negative = (~cells).float()
    truth = torch.where(cells & seen, classes[:, None, None], NO_LESION)
    each = functional.cross_entropy(logits, truth, reduction="none")
    per_lesion = positive / positive.sum(dim=(1, 2), keepdim=True).clamp_min(1.0)
    found = (each * per_lesion).sum() / per_lesion.sum().clamp_min(1.0)
    return 0.5 * found + 0.5 * (each * negative).sum() / negative.sum().clamp_min(1.0)
