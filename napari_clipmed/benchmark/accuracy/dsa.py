"""CLIP-DSA's Tables 1 and 2: all rows on the same patients with the same budget; finished ones are kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.benchmark.accuracy.dsa_rows import DsaRow
from napari_clipmed.benchmark.accuracy.dsa_training import Contest, Outcome, train_and_judge
from napari_clipmed.benchmark.accuracy.ledger import Ledger, named, plain_settings
from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.progress import Progress
from napari_clipmed.training.dsa_data import VIEWS, StudyRow, read_rows
from napari_clipmed.training.metrics_classification import (
    accuracy,
    hard_auc,
    macro_auc,
    macro_f1,
    patient_bootstrap,
)

SPLITS = ("train", "val", "test")
FIGURES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "auc_ovr": macro_auc,
    "auc_hard": hard_auc,
}
"""Figures of a set of answers, (n, K) scores and (n,) truth; see `training.metrics_classification`."""


def read_splits(data: Path, labels: LabelSet) -> dict[str, list[StudyRow]]:
    """Studies of the three splits.

    Raises
    ------
    ClipmedError
        When a split is missing or a patient is in two of them.
    """
    rows = read_rows(data)
    splits = {name: [row for row in rows if row.split == name] for name in SPLITS}
    for name, members in splits.items():
        if not members:
            raise ClipmedError(f"{data} has no {name} studies.", "Make data with `phantom dsa --n 1500`.")
        for row in members:
            labels.index(row.label)
    owners = Counter(p for members in splits.values() for p in {row.patient for row in members})
    shared = [patient for patient, n in owners.items() if n > 1]
    if shared:
        raise ClipmedError(f"Patient {shared[0]} is in two splits.", "Split the studies by patient.")
    return splits


def describe(data: Path, splits: Mapping[str, Sequence[StudyRow]]) -> dict[str, Any]:
    """How many studies and patients there are, a fingerprint of which, and their origin."""
    text = "\n".join(f"{n} {row.id} {row.patient} {row.label}" for n, rows in splits.items() for row in rows)
    return {
        "studies": {name: len(rows) for name, rows in splits.items()},
        "patients": {name: len({row.patient for row in rows}) for name, rows in splits.items()},
        "origin": _origin(data, sum(map(len, splits.values()))),
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def _origin(data: Path, n: int) -> str:
    """The command that simulated the studies, and how far it came; empty for others."""
    try:
        made = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
        command = f"`phantom dsa --n {made['n']} --seed {made['seed']} --size {made['size']}`"
        return command if n >= made["n"] else f"the first {n} of {command}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def measure_dsa(
    data: Path,
    out: Path,
    rows: Sequence[DsaRow],
    seeds: Sequence[int],
    contest: Contest,
    *,
    separate: bool = False,
    progress: Progress | None = None,
    on_result: Callable[[str, dict[str, Any]], None] = lambda key, result: None,
) -> dict[str, Any]:
    """Train and judge what is not finished yet.

    Parameters
    ----------
    data : Path
        Folder of labelled angiograms, see `training.dsa_data`.
    out : Path
        Keeps ``results.jsonl``, the scores of each row, and the unfinished row.
    rows, seeds
        Each row with each seed.
    contest : Contest
    separate : bool
        Train a network of its own for each single view, as the paper's AP and LA columns are; otherwise they
        are the two other heads of the network that sees both.
    on_result : callable
        Told the key and the figures of each row as it ends.

    Returns
    -------
    dict
        ``data``, ``contest`` (plain), and ``rows``: of every finished row of these settings, also of earlier
        calls, the list of results of its seeds.
    """
    labels = LabelSet.named("dsa")
    splits = read_splits(data, labels)
    told = {"data": describe(data, splits), "contest": plain_settings(contest), "separate": separate}
    ledger, told_by = Ledger(out, told), progress or Progress()
    for key, row, seed in ledger.waiting(rows, seeds):
        result = _measure(row, seed, contest, splits, labels, ledger, separate, named(told_by, key))
        ledger.add(key, result)
        on_result(key, result)
    return told | {"rows": ledger.by_row()}


def _measure(
    row: DsaRow,
    seed: int,
    contest: Contest,
    splits: Mapping[str, Sequence[StudyRow]],
    labels: LabelSet,
    ledger: Ledger,
    separate: bool,
    progress: Progress,
) -> dict[str, Any]:
    """One row with one seed; single views by networks of their own where that is asked for."""
    scores: dict[str, NDArray[np.float64]] = {}
    outcomes: dict[str, Outcome] = {}
    for name, views in _trainings(row, separate):
        scratch = ledger.scratch(f"{row.key}-{seed}-{name}")
        outcomes[name] = train_and_judge(
            row, contest, splits, labels, seed, scratch, views=views, progress=progress
        )
        wanted = (name,) if separate else tuple(outcomes[name].scores)
        scores |= {head: outcomes[name].scores[head] for head in wanted}
    np.savez_compressed(ledger.folder / f"{ledger.fingerprint}-{row.key}-{seed}.npz", **scores)  # type: ignore[arg-type]
    truth = np.array([labels.index(study.label) for study in splits["test"]])
    whole = outcomes["both"]
    return {
        "row": row.key,
        "seed": seed,
        "parameters": whole.parameters,
        "studies_seen": whole.studies_seen,
        "epochs": whole.epochs,
        "seconds": round(whole.seconds, 1),
        "figures": {
            head: {name: round(metric(values, truth), 4) for name, metric in FIGURES.items()}
            for head, values in scores.items()
        },
    }


def _trainings(row: DsaRow, separate: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is trained for a row; a loss between views has no single-view network."""
    yield "both", VIEWS
    if separate and not row.views_agree:
        for view in VIEWS:
            yield view, (view,)


def intervals(
    out: Path, measured: Mapping[str, Any], data: Path, rounds: int = 1000
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """95 % intervals of each row, head and figure: patients are drawn, seeds averaged.

    Also under ``difference`` the paired difference of the heads of both views to the row ``clip-dsa``.
    """
    labels = LabelSet.named("dsa")
    test = read_splits(data, labels)["test"]
    truth, patients = np.array([labels.index(r.label) for r in test]), [r.patient for r in test]
    settings = {key: measured[key] for key in ("data", "contest", "separate")}
    mark = Ledger(out, settings).fingerprint
    stored: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    for key, results in measured["rows"].items():
        for result in results:
            with np.load(out / f"{mark}-{key}-{result['seed']}.npz", allow_pickle=False) as archive:
                stored.setdefault(key, []).append({head: archive[head] for head in archive.files})
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, seeds in stored.items():
        found[key] = {}
        for head in seeds[0]:
            table = np.concatenate([one[head] for one in seeds], axis=1)
            found[key][head] = patient_bootstrap(_averaged(len(seeds)), table, truth, patients, rounds)
        if "clip-dsa" in stored and key != "clip-dsa":
            ours = [one["both"] for one in stored["clip-dsa"]]
            table = np.concatenate([*(one["both"] for one in seeds), *ours], axis=1)
            metrics = _differences(len(seeds), len(ours))
            found[key]["difference"] = patient_bootstrap(metrics, table, truth, patients, rounds)
    return found


def _averaged(seeds: int) -> dict[str, Callable[[Any, Any], float]]:
    """Each figure as the mean over seeds whose scores stand side by side."""

    def mean_of(metric: Callable[[Any, Any], float]) -> Callable[[Any, Any], float]:
        return lambda table, truth: float(
            np.mean([metric(part, truth) for part in np.split(table, seeds, axis=1)])
        )

    return {name: mean_of(metric) for name, metric in FIGURES.items()}


def _differences(theirs: int, ours: int) -> dict[str, Callable[[Any, Any], float]]:
    """CLIP-DSA's figure less the other row's, on the same patients."""

    def less(name: str) -> Callable[[Any, Any], float]:
        a, b = _averaged(theirs)[name], _averaged(ours)[name]

        def difference(table: Any, truth: Any) -> float:
            width = table.shape[1] * theirs // (theirs + ours)
            return b(table[:, width:], truth) - a(table[:, :width], truth)

        return difference

    return {name: less(name) for name in ("accuracy", "auc_ovr")}
