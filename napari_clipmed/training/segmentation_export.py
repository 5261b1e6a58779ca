"""From a trained CausalCLIPSeg to a model with a card: rounded, measured on data it never saw, registered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.card import ModelCard, ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.registry import Registry
from napari_clipmed.progress import Progress
from napari_clipmed.training.causal_clipseg import Splits, load_checkpoint, split_by_patient
from napari_clipmed.training.causal_clipseg_evaluate import WORDINGS, EvaluationPlan, best_threshold, evaluate
from napari_clipmed.training.metrics_segmentation import EMPTY_CONVENTION
from napari_clipmed.training.qata_data import QaTaItem, load_split, patients_of, read_patients
from napari_clipmed.training.segmentation_config import SegmentationConfig

LICENCE = (
    "CC BY-NC-SA 3.0 IGO, as the QaTa-COV19 data set that it was trained on. Research use only; attribution: "
    "QaTa-COV19 by Qatar University and Tampere University (Degerli et al.), sentences by LViT (Li et al., "
    "IEEE Transactions on Medical Imaging 2024)."
)
LIMITS = (
    "Research use only, not for diagnosis.",
    "Trained on chest X-rays with COVID-19 lesions only: it marks something in healthy or other chests too.",
    "Its sentences name the left and right of the PICTURE, as QaTa-COV19 does: the patient's other side.",
    "It knows the words of QaTa-COV19 (sides, zones, numbers of areas); other words are ignored.",
)

WORDING_STRIDE = 4
"""The wordings are compared on every fourth radiograph only."""


def export(
    checkpoint: Path,
    config: SegmentationConfig,
    data: Path,
    root: Path,
    *,
    patients: Path | None = None,
    beside: Sequence[Path] = (),
    command: str = "",
    replace: bool = False,
    progress: Progress | None = None,
) -> ModelEntry:
    """Register a trained network under the id of its configuration, whole or not at all.

    Everything is measured with the weights rounded to half precision, as they will be loaded, on the
    validation split, none of whose patients took part in training.

    Parameters
    ----------
    checkpoint : Path
        Of `training.causal_clipseg.train`.
    config : SegmentationConfig
        That it was trained with.
    data : Path
        The data set.
    root : Path
        Root of models.
    patients : Path, optional
        Table with the patient of each id.
    beside : sequence of Path
        More folders that it learned from.
    command : str
        What made it, for the card.
    replace : bool
        Exchange a model of the same id.
    """
    progress = progress or Progress()
    network = load_checkpoint(checkpoint, config)
    splits = split_by_patient(data, config, patients, beside)
    calibration: dict[str, Any] = {"threshold": 0.5}
    if config.selection:
        best = best_threshold(network, splits.selection, config.preprocessing, progress=progress)
        calibration |= {
            "bias_shift": centre(network, best),
            "fitted_on": f"{len(splits.selection)} radiographs that chose the epoch",
        }
    state = half_precision(network)
    table = read_patients(patients) if patients is not None else None
    validation = load_split(data, "Val", table)
    known = patients_of(data, "Train", table)
    card = ModelCard(
        id=config.id,
        title=config.title,
        task="segmentation",
        architecture="causal-clipseg",
        config=network.config,
        preprocessing=config.preprocessing.to_card(),
        calibration=calibration,
        data=_story(splits, config, data),
        licence=LICENCE,
        seed=config.seed,
        command=command,
        metrics=measure(network, validation, config, known, progress),
        limits=list(LIMITS),
    )
    return Registry([root]).register(card, state, replace=replace)


def _story(splits: Splits, config: SegmentationConfig, data: Path) -> str:
    """What it learned from, for people."""
    real = [item for item in splits.train if item.image.is_relative_to(data)]
    others = len(splits.train) - len(real)
    beside = f", and beside them {others} films of other folders (simulated for the shipped model)"
    chosen = (
        f"{len(splits.selection)} more, of other patients, chose the epoch"
        if config.selection
        else "the validation split chose the epoch"
    )
    return (
        f"QaTa-COV19 v2 with the sentences of LViT: {len(real)} radiographs of the official training split"
        f"{beside if others else ''}; {chosen}; {splits.left_out} were left out because their patients "
        "appear in the validation split. Patients are known for the BIMCV part only; of the rest every "
        "radiograph counts as one."
    )


@torch.no_grad()
def centre(network: CausalCLIPSeg, threshold: float) -> float:
    """Shift every logit so that this probability becomes one half; the shift."""
    shift = -math.log(threshold / (1 - threshold))
    network.causal_decoder.txt.bias[-1] += shift
    return shift


def half_precision(network: CausalCLIPSeg) -> dict[str, Tensor]:
    """Round the weights to float16 in place; the rounded state dict, with counters as they are."""
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise ClipmedError("A weight of the network is too large for half precision, or not a number.")
    network.load_state_dict(state)
    return state


def measure(
    network: CausalCLIPSeg,
    validation: list[QaTaItem],
    config: SegmentationConfig,
    training_patients: frozenset[str],
    progress: Progress,
) -> dict[str, Any]:
    """Figures for the card: the data set's sentences, and mean Dice when they say less, or the wrong side."""
    full = evaluate(
        network, validation, config.preprocessing, training_patients=training_patients, progress=progress
    )
    some = validation[::WORDING_STRIDE]
    by_wording = {
        wording: evaluate(
            network, some, config.preprocessing, EvaluationPlan(wording=wording, rounds=1), progress=progress
        )["dice_mean"]
        for wording in WORDINGS
    }
    return {
        "split": "QaTa-COV19 Val (official), 224 px, threshold 0.5",
        **full,
        "dice_mean_by_wording": by_wording,
        "by_wording_n": len(some),
        "empty_masks": EMPTY_CONVENTION,
    }
