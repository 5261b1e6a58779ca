"""Evaluation of a CLIP-DSA model on labelled studies it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.classify import HEADS, temperature
from napari_clipmed.inference.explain import DEFAULT_METHOD, normalise_jointly, raw_cams
from napari_clipmed.inference.frame_reader import FrameReader
from napari_clipmed.inference.outofdistribution import describe, strangeness
from napari_clipmed.inference.pointing import Energy, energy_in_lesion, pointing_game
from napari_clipmed.inference.precision import Images
from napari_clipmed.inference.preprocess import ModelInput, Preprocessing, normalise, prepare_run
from napari_clipmed.inference.results import BOTH, Saliency
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.progress import Progress
from napari_clipmed.training.dsa_data import VIEWS, StudyRow, load_study
from napari_clipmed.training.metrics_classification import (
    classification_report,
    pairwise_auc,
    patient_bootstrap,
)

SEVERITY_STEPS = {
    "diameter_mm": (4.0, 7.0),
    "stenosis_percent": (70.0, 85.0),
    "nidus_mm": (20.0, 30.0),
    "stage": (2.0, 3.0, 4.0, 5.0),
}
"""Lower ends of the groups above the smallest one, by the name of the measure."""

TREATED_FROM = {"diameter_mm": 5.0, "stenosis_percent": 70.0}
"""From where on treatment is usually considered: all such cases are a group of their own, too."""

CHUNK = 8
"""Images at a time."""


@dataclass(frozen=True)
class Located:
    """One map against the truth: whether its hottest cell is on the lesion, and how much of it is."""

    patient: str
    hit: bool
    energy: Energy


@dataclass
class Answers:
    """What a network says about studies, before calibration.

    Parameters
    ----------
    rows : list of StudyRow
    truth : (n,) int64 array
    logits : dict of str to (n, K) float64 array
        For "AP", "LA" and "both".
    descriptors : (2 n, D) Tensor or None
        `inference.outofdistribution.describe` of every view.
    located : dict of str to list of Located
        Where the map of the true class lies, by CAM method, for the studies that played.
    """

    rows: list[StudyRow]
    truth: NDArray[np.int64]
    logits: dict[str, NDArray[np.float64]]
    descriptors: Tensor | None = None
    located: dict[str, list[Located]] = field(default_factory=dict)

    def chosen(self, places: NDArray[np.int64]) -> Answers:
        """Those at some places, without descriptors and maps."""
        logits = {name: values[places] for name, values in self.logits.items()}
        return Answers([self.rows[place] for place in places], self.truth[places], logits)

    def strange(self, statistics: Mapping[str, Tensor], calibration: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which studies (n,) have a view unlike the training data; none where nothing was described."""
        if self.descriptors is None:
            return np.zeros(len(self.rows), bool)
        scores = [strangeness(statistics, calibration, one) or 0.0 for one in self.descriptors]
        return np.asarray((np.array(scores) > 1).reshape(len(self.rows), -1).any(axis=1))

    def probabilities(self, name: str, calibration: Mapping[str, Any]) -> NDArray[np.float64]:
        """Calibrated probabilities (n, K) of one head."""
        scaled = self.logits[name] / temperature(calibration, name)
        raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)


def network_images(row: StudyRow, preprocessing: Preprocessing) -> Images:
    """The frames of a stored study as a network reads them."""
    runs = {name: prepare_run(view.frames, preprocessing) for name, view in load_study(row).items()}
    return {name: normalise(given.frames, preprocessing) for name, given in runs.items()}


def answer_studies(
    reader: FrameReader,
    rows: Sequence[StudyRow],
    labels: LabelSet,
    preprocessing: Preprocessing,
    *,
    pointing: int = 0,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    describing: bool = False,
    progress: Progress | None = None,
) -> Answers:
    """Run a network over studies, one by one, exactly as the engine does.

    Parameters
    ----------
    reader : FrameReader
        Its network answers.
    pointing : int
        Hold the maps of so many diseased studies against the truth.
    methods : sequence of str
        CAM methods that are held against it, keys of `inference.explain.METHODS`.
    describing : bool
        Keep the descriptors for out-of-distribution statistics.

    Raises
    ------
    ClipmedError
        When there are no studies.
    """
    if not rows:
        raise ClipmedError("There are no studies to evaluate.", "Choose another split or folder.")
    progress = progress or Progress()
    network = reader.network

    def read_run(given: ModelInput) -> Tensor:
        return reader.read_run(normalise(given.frames, preprocessing), CHUNK)[0].float()

    logits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*VIEWS, BOTH)}
    described: list[Tensor] = []
    located: dict[str, list[Located]] = {method: [] for method in methods} if pointing else {}
    played = 0
    for number, row in enumerate(rows):
        progress.step("evaluating", number, len(rows))
        stored = load_study(row)
        inputs = {name: prepare_run(view.frames, preprocessing) for name, view in stored.items()}
        with torch.no_grad():
            unique = {name: read_run(given) for name, given in inputs.items()}
            maps = {name: unique[name][torch.from_numpy(given.repeats)] for name, given in inputs.items()}
            output = network.forward_maps(maps["AP"][None], maps["LA"][None])
            for name in logits:
                vector = getattr(output, f"v_{HEADS[name]}")
                logits[name].append(network.logits(vector, HEADS[name])[0].double().cpu().numpy())
        if describing:
            described += [describe(unique[name], given.frames) for name, given in inputs.items()]
        if played < pointing and any(view.lesion.any() for view in stored.values()):
            played += 1
            lesions = {name: view.lesion > 0 for name, view in stored.items()}
            for method, found in located.items():
                saliency = _saliency(network, maps, inputs, labels.index(row.label), method)
                hit = pointing_game(saliency, lesions).hit
                found.append(Located(row.patient, hit, energy_in_lesion(saliency, lesions)))
    return Answers(
        list(rows),
        np.array([labels.index(row.label) for row in rows]),
        {name: np.stack(parts) for name, parts in logits.items()},
        torch.stack(described) if described else None,
        located,
    )


def report(
    answers: Answers, labels: LabelSet, calibration: Mapping[str, Any], rounds: int = 1000
) -> dict[str, Any]:
    """All figures of a set of answers, plain data: of both views in full, of single views in short.

    Returns
    -------
    dict
        `classification_report` of both views; ``views`` with the figures of each single view;
        ``by_severity`` and ``by_site``, see there; ``pointing_game`` (default method) and ``localisation``
        (every method that played, see `localisation`) where maps were held against the truth.
    """
    patients = [row.patient for row in answers.rows]
    scores = answers.probabilities(BOTH, calibration)
    result = classification_report(scores, answers.truth, patients, labels.keys, rounds)
    single = ("accuracy", "macro_f1", "auc_ovr", "auc_hard", "auc_pairwise")
    result["views"] = {}
    for name in VIEWS:
        figures = classification_report(
            answers.probabilities(name, calibration), answers.truth, patients, labels.keys, 0
        )
        result["views"][name] = {key: figures[key] for key in single}
    result["by_severity"] = by_severity(answers, scores, labels)
    result["by_site"] = by_site(answers, scores, labels)
    if any(answers.located.values()):
        result["localisation"] = localisation(answers.located, rounds)
        if DEFAULT_METHOD in answers.located:
            own = result["localisation"][DEFAULT_METHOD]
            result["pointing_game"] = {"hits": own["hits"], "n": own["n"]}
    return result


def localisation(located: Mapping[str, Sequence[Located]], rounds: int = 1000) -> dict[str, Any]:
    """Of each CAM method: ``hits`` of ``n``, mean ``energy`` on the lesion, and that of an ``even`` map.

    ``ci95`` holds the intervals of ``hit_rate`` and ``energy``, by bootstrap over patients.
    """
    result: dict[str, Any] = {}
    for method, found in located.items():
        hits, inside, even = (
            np.array(values, float)
            for values in zip(*((one.hit, one.energy.inside, one.energy.even) for one in found), strict=True)
        )
        result[method] = {
            "hits": int(hits.sum()),
            "n": len(found),
            "hit_rate": round(float(hits.mean()), 4),
            "energy": round(float(inside.mean()), 4),
            "even": round(float(even.mean()), 4),
        }
        if rounds:
            table, nobody = np.column_stack([hits, inside]), np.zeros(len(found), int)
            metrics: dict[str, Any] = {
                "hit_rate": lambda t, _: float(t[:, 0].mean()),
                "energy": lambda t, _: float(t[:, 1].mean()),
            }
            patients = [one.patient for one in found]
            result[method]["ci95"] = patient_bootstrap(metrics, table, nobody, patients, rounds)
    return result


def by_severity(answers: Answers, scores: NDArray[np.float64], labels: LabelSet) -> dict[str, Any]:
    """For each class and size, stage or degree: n, sensitivity, and AUC against all normal studies.

    Groups follow `SEVERITY_STEPS` and `TREATED_FROM`; a class without a known measure is left out.
    """
    result: dict[str, Any] = {}
    for k, key in enumerate(labels.keys):
        members = np.flatnonzero(answers.truth == k)
        measures = [m for m in SEVERITY_STEPS if any(m in answers.rows[i].severity for i in members)]
        for measure in measures[:1]:
            edges = (-np.inf, *SEVERITY_STEPS[measure], np.inf)
            bounds = {_group_name(*ends): ends for ends in zip(edges[:-1], edges[1:], strict=True)}
            if measure in TREATED_FROM:
                bounds[f"{TREATED_FROM[measure]:g} or more, all"] = (TREATED_FROM[measure], np.inf)
            values = np.array([float(answers.rows[i].severity.get(measure, np.nan)) for i in members])
            groups = {}
            for name, (low, high) in bounds.items():
                chosen = members[(values >= low) & (values < high)]
                if len(chosen):
                    groups[name] = _group(answers, scores, k, chosen)
            result[key] = {"measure": measure, "groups": groups}
    return result


def by_site(answers: Answers, scores: NDArray[np.float64], labels: LabelSet) -> dict[str, Any]:
    """For each class and place of its lesion: the same figures, also of those that one would treat."""
    result: dict[str, Any] = {}
    for k, key in enumerate(labels.keys):
        members = [int(i) for i in np.flatnonzero(answers.truth == k) if answers.rows[i].site]
        sites: dict[str, Any] = {}
        for site in sorted({str(answers.rows[i].site) for i in members}):
            here = [i for i in members if answers.rows[i].site == site]
            sites[site] = _group(answers, scores, k, here)
            if treated := [i for i in here if _is_treated(answers.rows[i])]:
                sites[site]["treated"] = _group(answers, scores, k, treated)
        if sites:
            result[key] = sites
    return result


def _is_treated(row: StudyRow) -> bool:
    return any(float(row.severity.get(measure, -np.inf)) >= least for measure, least in TREATED_FROM.items())


def _group(
    answers: Answers, scores: NDArray[np.float64], k: int, chosen: Sequence[int] | NDArray[np.int64]
) -> dict[str, Any]:
    """How many they are, how many of them are found, and AUC against all normal studies."""
    subset = answers.truth == 0
    subset[chosen] = True
    return {
        "n": len(chosen),
        "sensitivity": round(float((scores[chosen].argmax(axis=1) == k).mean()), 4),
        "auc_vs_normal": round(pairwise_auc(scores[subset], answers.truth[subset], k), 4),
    }


def _group_name(low: float, high: float) -> str:
    if np.isinf(low):
        return f"below {high:g}"
    return f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"


def _saliency(
    network: ClipDSA,
    maps: Mapping[str, Tensor],
    inputs: Mapping[str, ModelInput],
    target: int,
    method: str,
) -> Saliency:
    """The map of a class over all frames of both views, as the engine makes it."""
    cams = {name: cam[0] for name, cam in raw_cams(network, maps, [target], method).items()}
    return Saliency(
        str(target),
        method,
        normalise_jointly(cams),
        {name: given.index[given.repeats] for name, given in inputs.items()},
        {name: given.field for name, given in inputs.items()},
    )
