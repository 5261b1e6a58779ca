"""Is this study like those that the model learned from? Statistics of the features, and plain rules.

The statistics are a Gaussian on the leading principal components of the training descriptors and the energy
outside them (Mahalanobis distance and residual, as in PCA-based novelty detection). `fit_statistics` makes
them after training, from views that were held out; they are stored with the weights as ``ood.*`` tensors
and, for the thresholds, in the card's calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from napari_clipmed.models.card import STATISTICS_PREFIX
from napari_clipmed.study import Kind, Study

if TYPE_CHECKING:
    from torch import Tensor

_FLOOR = 1e-3
"""Least spread of a descriptor, relative to the median spread; constant ones must not explode."""


def describe(maps: Tensor, frames: Tensor) -> Tensor:
    """One view as a vector: its features in the mean and over time, and its greys.

    Parameters
    ----------
    maps : (t, C, h, w) Tensor
        Last feature map of the trunk, one for each sampled frame.
    frames : (t, S, S) Tensor
        The greys in [0, 1] that the trunk read.

    Returns
    -------
    (2 C + 10,) float32 Tensor
        On the CPU.
    """
    pooled = maps.float().mean(dim=(2, 3)).cpu()
    greys = frames.float().cpu()
    small = torch.nn.functional.adaptive_avg_pool2d(greys, 32)
    levels = torch.quantile(small.flatten(), torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]))
    moving = small.std(dim=0, unbiased=False)
    extras = torch.stack([greys.std(), moving.mean(), moving.max()])
    return torch.cat([pooled.mean(dim=0), pooled.std(dim=0, unbiased=False), levels, extras])


def fit_statistics(
    training: Tensor, held_out: Tensor, components: int = 48, quantile: float = 0.99
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Learn what training views look like.

    Parameters
    ----------
    training : (n, D) Tensor
        `describe` of views the model was trained on.
    held_out : (m, D) Tensor
        Of views it was not trained on; they set the thresholds, since training views look too familiar.
    components : int
        Principal components kept.
    quantile : float
        Share of the held-out views that passes each threshold.

    Returns
    -------
    tensors : dict
        To be stored with the weights: ``ood.mean``, ``ood.spread`` (D,), ``ood.basis`` (D, k),
        ``ood.deviation`` (k,).
    calibration : dict
        To be merged into the card's: ``ood_distance``, ``ood_residual``, ``ood_quantile``.
    """
    training, held_out = training.double(), held_out.double()
    mean = training.mean(dim=0)
    spread = training.std(dim=0)
    spread = spread.clamp_min(_FLOOR * spread.median().clamp_min(1e-6))
    kept = min(components, len(training) - 1, training.shape[1])
    _, singular, basis = torch.linalg.svd((training - mean) / spread, full_matrices=False)
    tensors = {
        "mean": mean,
        "spread": spread,
        "basis": basis[:kept].T,
        "deviation": (singular[:kept] / max(1, len(training) - 1) ** 0.5).clamp_min(1e-6),
    }
    tensors = {STATISTICS_PREFIX + key: value.float().contiguous() for key, value in tensors.items()}
    distances = torch.stack([torch.stack(_distances(tensors, row)) for row in held_out.float()])
    thresholds = torch.quantile(distances, quantile, dim=0)
    return tensors, {
        "ood_distance": float(thresholds[0]),
        "ood_residual": float(thresholds[1]),
        "ood_quantile": quantile,
    }


def strangeness(
    tensors: Mapping[str, Tensor], calibration: Mapping[str, Any], descriptor: Tensor
) -> float | None:
    """How far a view lies outside the training data: above 1 is farther than nearly all held-out views.

    Returns None when the model came without statistics, or with those of another network.
    """
    spread = tensors.get(STATISTICS_PREFIX + "spread")
    if spread is None or spread.shape != descriptor.shape or "ood_distance" not in calibration:
        return None
    distance, residual = _distances(tensors, descriptor)
    return max(float(distance) / calibration["ood_distance"], float(residual) / calibration["ood_residual"])


def plain_rules(study: Study, wanted: Kind, simulated_only: bool = False) -> list[str]:
    """Sentences for what needs no statistics to be out of place; empty when nothing is.

    Parameters
    ----------
    study : Study
        Its kind and views.
    wanted : Kind
        The kind of study that the model was trained on.
    simulated_only : bool
        Whether the model has seen simulated studies only: then every real one is outside its training data.
    """
    names = {Kind.ANGIOGRAM: "an angiogram", Kind.CHEST: "a chest film", Kind.OTHER: "an unknown image"}
    if study.kind is not wanted:
        return [f"This is {names[study.kind]}; the model was trained on {names[wanted]}."]
    if wanted is Kind.ANGIOGRAM and not all(view.subtracted for view in study.views):
        return ["This run is not subtracted; the model was trained on subtracted runs."]
    if simulated_only and not study.synthetic:
        return ["The model has seen simulated studies only; on a real one its answer is unproven."]
    return []


def _distances(tensors: Mapping[str, Tensor], descriptor: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square of the whitened leading components, and of what they leave over."""
    mean, spread, basis, deviation = (
        tensors[STATISTICS_PREFIX + key].float() for key in ("mean", "spread", "basis", "deviation")
    )
    standard = (descriptor.float() - mean) / spread
    leading = standard @ basis
    residual = standard - basis @ leading
    return (leading / deviation).square().mean().sqrt(), residual.square().mean().sqrt()
