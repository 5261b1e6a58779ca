"""How good masks are, in the two ways that papers on QaTa-COV19 report (and that must not be compared).

*Mean*: Dice and IoU of each image, averaged (LViT, CausalCLIPSeg). *Pooled*: all pixels of the set counted
together (LanGuideMedSeg and its descendants), typically several points higher.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

EMPTY_CONVENTION = (
    "an image whose true and predicted mask are both empty counts 1, one of them empty counts 0"
)


@dataclass(frozen=True)
class SegmentationScores:
    """Figures of one set of images at one threshold."""

    dice_mean: float
    dice_pooled: float
    miou_mean: float
    miou_pooled: float
    n: int
    n_empty_truth: int
    threshold: float

    def as_dict(self) -> dict[str, float | int | str]:
        """For JSON, the convention for empty masks included."""
        return {**self.__dict__, "empty_masks": EMPTY_CONVENTION}


@dataclass
class SegmentationMetrics:
    """Counts overlaps image by image; sizes may differ between updates.

    Parameters
    ----------
    threshold : float
        Of the probability; equal counts as foreground.
    """

    threshold: float = 0.5
    _counts: list[Tensor] = field(default_factory=list)

    def update(self, probability: Tensor, target: Tensor) -> None:
        """Add images: probability and target [B, …], target 0 or 1."""
        predicted = (probability >= self.threshold).flatten(1)
        truth = (target >= 0.5).flatten(1)
        counts = torch.stack([(predicted & truth).sum(1), predicted.sum(1), truth.sum(1)], dim=1)
        self._counts.append(counts.to("cpu", torch.float64))

    @classmethod
    def of(cls, counts: Tensor, threshold: float = 0.5) -> SegmentationMetrics:
        """From the `counts` of other metrics at the same threshold."""
        return cls(threshold, [counts])

    @property
    def counts(self) -> Tensor:
        """Pixels of overlap, prediction and truth of each image, in order, (n, 3) float64."""
        return torch.cat(self._counts)

    def per_image_dice(self) -> Tensor:
        """Dice of each image, in order, float64."""
        both, predicted, truth = torch.cat(self._counts).unbind(1)
        return _ratio(2 * both, predicted + truth)

    def compute(self) -> SegmentationScores:
        """The figures so far."""
        if not self._counts:
            return SegmentationScores(0.0, 0.0, 0.0, 0.0, 0, 0, self.threshold)
        counts = torch.cat(self._counts)
        both, predicted, truth = counts.unbind(1)
        all_both, all_predicted, all_truth = counts.sum(0)
        return SegmentationScores(
            dice_mean=_ratio(2 * both, predicted + truth).mean().item(),
            dice_pooled=_ratio(2 * all_both, all_predicted + all_truth).item(),
            miou_mean=_ratio(both, predicted + truth - both).mean().item(),
            miou_pooled=_ratio(all_both, all_predicted + all_truth - all_both).item(),
            n=len(counts),
            n_empty_truth=int((truth == 0).sum()),
            threshold=self.threshold,
        )


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part of the whole, 1 where there is nothing to find and nothing was found."""
    return torch.where(whole > 0, part / whole.clamp_min(1), torch.ones_like(whole))
