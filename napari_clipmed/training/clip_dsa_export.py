"""From a training checkpoint to a model with a card: rounded, calibrated, measured."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.frame_reader import FrameReader
from napari_clipmed.inference.outofdistribution import fit_statistics
from napari_clipmed.inference.precision import fastest, largest_difference, probe_studies
from napari_clipmed.inference.prediction_sets import describe_thresholds, fit_thresholds
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.backbone_list import licence_of
from napari_clipmed.models.card import ModelCard, ModelEntry
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.registry import Registry
from napari_clipmed.progress import Progress
from napari_clipmed.training.clip_dsa import load_checkpoint
from napari_clipmed.training.clip_dsa_certainty import certainty_figures
from napari_clipmed.training.clip_dsa_evaluate import Answers, answer_studies, network_images, report
from napari_clipmed.training.clip_dsa_recipe import ClipDSARecipe
from napari_clipmed.training.dsa_data import read_rows
from napari_clipmed.training.metrics_classification import calibration_error

STATISTICS_STUDIES = 100
"""Training studies whose features describe what the model has seen."""

POINTING_STUDIES = 60

AGREEMENT_STUDIES = 24
"""Validation studies that are read in every precision."""

CALIBRATION_STUDIES = 400
"""Validation studies that set temperatures and thresholds."""


def export(
    checkpoint: Path,
    recipe: ClipDSARecipe,
    data: Path,
    root: Path,
    *,
    command: str = "",
    limits: tuple[str, ...] = (),
    replace: bool = False,
    rounds: int = 1000,
    progress: Progress | None = None,
) -> ModelEntry:
    """Make a model of a checkpoint and register it, whole or not at all.

    Everything is measured on the network as it will be loaded, with its weights rounded to half precision:
    calibration in float32, the figures in the precision that agrees with it (`inference.precision`).

    Parameters
    ----------
    checkpoint : Path
        Of `training.clip_dsa.train`.
    data : Path
        The folder it was trained on: ``val`` gives the temperatures and thresholds, ``test`` the figures.
    root : Path
        Root of models.
    command : str
        What made it, for the card.
    limits : tuple of str
        Sentences for the card, besides those that the figures ask for.
    replace : bool
        Exchange a model of the same id.
    rounds : int
        Bootstrap rounds of the intervals.
    """
    labels = LabelSet.named(recipe.label_set)
    network = load_checkpoint(checkpoint, recipe, labels)
    state = half_precision(network)
    compute = choose_compute()
    preprocessing = Preprocessing(network.image_size, recipe.n_frames, recipe.fit)

    def ask(reader: FrameReader, split: str, most: int | None = None, pointing: int = 0) -> Answers:
        rows = read_rows(data, split)[:most]
        return answer_studies(
            reader, rows, labels, preprocessing, pointing=pointing, describing=True, progress=progress
        )

    exact = FrameReader(deepcopy(network), compute.exactly("fp32"))
    seen, held_out = ask(exact, "train", STATISTICS_STUDIES), ask(exact, "val", CALIBRATION_STUDIES)
    calibration = calibrate(held_out, labels)
    assert seen.descriptors is not None and held_out.descriptors is not None
    statistics, thresholds = fit_statistics(seen.descriptors, held_out.descriptors)
    calibration |= thresholds
    studies = [network_images(row, preprocessing) for row in read_rows(data, "val")[:AGREEMENT_STUDIES]]
    studies += probe_studies(preprocessing)
    agreement = {
        tried: largest_difference(*twins(network), compute.exactly(tried), studies, calibration)
        for tried in compute.faster_first()
    }
    compute = fastest(compute, lambda tried: agreement[tried.precision])
    metrics: dict[str, Any] = {
        "training": effort(checkpoint),
        "precision": f"{compute.precision} on {compute.device}",
    }
    metrics |= {"val": report(held_out, labels, calibration, rounds)}
    metrics["val"]["calibration_error_uncalibrated"] = round(
        calibration_error(held_out.probabilities("both", {}), held_out.truth), 4
    )
    if read_rows(data, "test"):
        unseen = ask(FrameReader(deepcopy(network), compute), "test", pointing=POINTING_STUDIES)
        metrics["test"] = report(unseen, labels, calibration, rounds)
        metrics["test"]["certainty"] = certainty_figures(unseen, labels, calibration, statistics, rounds)
    card = ModelCard(
        id=recipe.id,
        title=recipe.title,
        task="diagnosis",
        architecture="clip-dsa",
        config=network.config,
        label_set=labels.model_dump(mode="json"),
        preprocessing=preprocessing.to_card(),
        calibration=calibration,
        agreement=agreement,
        data=describe_data(data, recipe),
        simulated_only=True,  # the only data that `training.dsa_data` reads
        licence=_licence(recipe),
        seed=recipe.seed,
        command=command,
        metrics=metrics,
        limits=[*limits, *figure_limits(metrics, labels), sentence_limit(network)],
    )
    return Registry([root]).register(card, state | statistics, root, replace=replace)


def _licence(recipe: ClipDSARecipe) -> str:
    """Ours, and that of the weights that the training began with, where they state one."""
    given = licence_of(recipe.backbone)
    return f"BSD-3-Clause; begun with weights under {given}" if given else "BSD-3-Clause"


def twins(network: ClipDSA) -> tuple[ClipDSA, ClipDSA]:
    """Two copies."""
    return deepcopy(network), deepcopy(network)


def half_precision(network: ClipDSA) -> dict[str, Tensor]:
    """Round matrices and kernels of a network to float16, in place, and give the state to be stored.

    Vectors (norms, their statistics, biases, temperatures) and the prototypes stay in float32.
    """
    state = {}
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1 and name != "text_features":
            state[name] = tensor.half()
            tensor.copy_(state[name])
        else:
            state[name] = tensor
    return state


def calibrate(held_out: Answers, labels: LabelSet) -> dict[str, Any]:
    """Temperatures, and thresholds of the prediction sets, each from its own half of the patients.

    A set keeps its promise only when its thresholds come from studies that its probabilities were not fitted
    to; every second patient of each class goes to either half.
    """
    first, second = halves(held_out)
    calibration: dict[str, Any] = {"temperature": fit_temperatures(first)}
    calibration["fitted_on"] = f"{len(first.rows)} validation studies"
    thresholds = {
        name: fit_thresholds(second.probabilities(name, calibration), second.truth) for name in second.logits
    }
    calibration["prediction_sets"] = describe_thresholds(thresholds, labels.keys, len(second.rows))
    return calibration


def halves(answers: Answers) -> tuple[Answers, Answers]:
    """Two halves with no patient in both, alike in their classes as far as that allows."""
    half: dict[str, int] = {}
    count: dict[str, int] = {}
    for row in answers.rows:
        if row.patient not in half:
            half[row.patient] = count.get(row.label, 0) % 2
            count[row.label] = count.get(row.label, 0) + 1
    mine = np.array([half[row.patient] for row in answers.rows])
    return answers.chosen(np.flatnonzero(mine == 0)), answers.chosen(np.flatnonzero(mine == 1))


def fit_temperatures(answers: Answers) -> dict[str, float]:
    """Temperature of every head that gives its validation studies the highest likelihood."""
    return {name: round(fit_temperature(logits, answers.truth), 4) for name, logits in answers.logits.items()}


def fit_temperature(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Temperature with the least mean negative log likelihood, between 0.05 and 20."""
    scores, wanted = torch.from_numpy(logits), torch.from_numpy(truth)

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / np.exp(log_temperature), wanted))

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(best.x))


def effort(checkpoint: Path) -> dict[str, Any]:
    """How long the exported weights had been trained."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    minutes = round(content["elapsed"] / 60, 1)
    return {"epochs": content["epoch"] + 1, "steps": content["global_step"], "minutes": minutes}


def describe_data(data: Path, recipe: ClipDSARecipe) -> str:
    """What a model learned from, and what it was told besides the class."""
    rows = read_rows(data)
    parts = []
    for split in ("train", "val", "test"):
        part = [row for row in rows if row.split == split]
        parts.append(f"{split} {len(part)} studies of {len({row.patient for row in part})} patients")
    told = f"SIMULATED angiograms (phantom dsa): {'; '.join(parts)}; no patient is in two splits."
    if any(stage.location for stage in recipe.stages):
        told += (
            " In training only, the true place of the lesion and the frames that show it were auxiliary"
            " targets; their heads are discarded."
        )
    return told


def figure_limits(metrics: dict[str, Any], labels: LabelSet) -> list[str]:
    """What the figures forbid, in words."""
    figures = metrics.get("test") or metrics["val"]
    limits = [
        "Research use only, not for diagnosis.",
        "Trained and measured on simulated angiograms only; on real runs its answers are unproven.",
    ]
    for key, value in figures["auc_pairwise"].items():
        if value < 0.9:
            title = labels.titles[labels.index(key)].lower()
            limits.append(
                f"Often misses {title}: AUC {value:.2f} against {labels.titles[0].lower()} on simulated "
                "patients it never saw; a negative answer means little."
            )
    pointing = figures.get("pointing_game")
    if pointing and pointing["hits"] < 0.5 * pointing["n"]:
        limits.append(
            f"Its class activation maps are no map of the lesion: the hottest cell of Grad-CAM lay on it in "
            f"{pointing['hits']} of {pointing['n']} simulated studies."
        )
    return limits


def sentence_limit(network: ClipDSA) -> str:
    """How far apart the frozen text tower holds the sentences."""
    cosines = network.text_features @ network.text_features.T
    between = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    return (
        f"The frozen text tower was drawn at random, not pre-trained: sentences of different classes have "
        f"cosines of {between.min():.2f} to {between.max():.2f} and carry no medical knowledge, so a new "
        "sentence or class needs training."
    )
