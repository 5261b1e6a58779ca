"""What a small CLIP has learned, on patients that it never saw: classes by sentences, other words, sides.

Nothing is fitted here. A class is named by the sentences it was learned with, and by others; a picture is
held against its own sentence and the one that says the other side; sentences alone are held against the
classes they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import prepare_run
from napari_clipmed.inference.towers import Towers
from napari_clipmed.inference.zero_shot import BOTH, Vector, prototypes, softmax, together, unit
from napari_clipmed.models.prompts import mirrored, parse
from napari_clipmed.models.zero_shot_sets import ZeroShotSet
from napari_clipmed.progress import Progress
from napari_clipmed.training.causal_clipseg_evaluate import patient_interval
from napari_clipmed.training.clip_pairs import sides_of
from napari_clipmed.training.dsa_data import StudyRow, load_study
from napari_clipmed.training.metrics_classification import (
    Scores,
    Truth,
    accuracy,
    macro_auc,
    patient_bootstrap,
)
from napari_clipmed.training.qata_data import QaTaItem
from napari_clipmed.training.segmentation_batches import read_grey

FIGURES: dict[str, Callable[[Scores, Truth], float]] = {"accuracy": accuracy, "auc_ovr": macro_auc}


def judge_angiograms(
    towers: Towers,
    rows: Sequence[StudyRow],
    learned: ZeroShotSet,
    reworded: ZeroShotSet,
    rounds: int = 1000,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Classes of labelled angiograms by sentences alone.

    Parameters
    ----------
    towers : Towers
    rows : sequence of StudyRow
        Of a split that chose nothing.
    learned, reworded : ZeroShotSet
        The same classes in the sentences of the training, and in others.
    rounds : int
        Bootstrap rounds over patients.

    Returns
    -------
    dict
        ``classes``: for either set accuracy and macro AUC, chance beside them; ``words``: see `words_alone`;
        ``side``: how often a picture is nearer to its own report than to the same one with the other side;
        ``similar``: how often the nearest study of another patient has the same class.

    Raises
    ------
    ClipmedError
        When the sets do not name the same classes, or a study has another one.
    """
    progress = progress or Progress()
    if set(learned.keys) != set(reworded.keys):
        raise ClipmedError("The two sets do not ask about the same classes.", "Give them the same keys.")
    if not rows:
        raise ClipmedError("There are no studies to judge by.", "Is there such a split?")
    if strange := {row.label for row in rows} - set(learned.keys):
        raise ClipmedError(f"The set of questions does not know {', '.join(sorted(strange))}.")
    pictures = np.stack(
        [_picture_of(towers, row, progress, done, len(rows)) for done, row in enumerate(rows)]
    )
    patients = [row.patient for row in rows]
    found: dict[str, Any] = {"studies": len(rows), "patients": len(set(patients)), "classes": {}}
    for name, questions in (("learned", learned), ("reworded", reworded)):
        bank = _bank(towers, questions, progress)
        truth = np.array([questions.keys.index(row.label) for row in rows])
        shares = np.array([softmax(row / towers.temperature) for row in pictures @ bank.T])
        found["classes"][name] = {
            **{key: round(metric(shares, truth), 4) for key, metric in FIGURES.items()},
            "chance": round(1 / len(questions.keys), 4),
            "ci95": patient_bootstrap(FIGURES, shares, truth, patients, rounds),
        }
    found["words"] = words_alone(towers, learned, reworded, progress)
    found["similar"] = _similar(pictures, [row.label for row in rows], np.array(patients), rounds)
    sided = [k for k, row in enumerate(rows) if mirrored(row.report) != row.report]
    if sided:
        reports = [rows[k].report for k in sided]
        people = np.array([patients[k] for k in sided])
        found["side"] = _prefers_own(towers, pictures[sided], reports, people, rounds, progress)
    return found


def words_alone(
    towers: Towers, learned: ZeroShotSet, reworded: ZeroShotSet, progress: Progress | None = None
) -> dict[str, Any]:
    """Which class each sentence of `reworded` is nearest to, among those of `learned`; no picture is needed.

    Returns
    -------
    dict
        ``right`` of ``n``, and ``sentences``: rows of sentence, the class it means, the nearest one.
    """
    bank = _bank(towers, learned, progress or Progress())
    meant = [(text, finding.key) for finding in reworded.findings for text in finding.sentences]
    vectors = towers.read_sentences([text for text, _ in meant])
    rows = [
        {"sentence": text, "means": key, "nearest": learned.keys[int((bank @ vectors[text]).argmax())]}
        for text, key in meant
    ]
    return {"right": sum(row["means"] == row["nearest"] for row in rows), "n": len(rows), "sentences": rows}


def judge_films(
    towers: Towers, items: Sequence[QaTaItem], rounds: int = 1000, progress: Progress | None = None
) -> dict[str, Any]:
    """Which lungs are infected, by sentences alone, on films of QaTa-COV19.

    Returns
    -------
    dict
        ``lungs``: accuracy among left, right and both, each named by all its sentences in the data; ``side``:
        of films with infection on one side, how many are nearer to their sentence than to the mirrored one.
    """
    progress = progress or Progress()
    if not items:
        raise ClipmedError("There are no films to judge by.")
    pictures = []
    for done, item in enumerate(items):
        progress.step("Reading films", done, len(items))
        ready = prepare_run(read_grey(item.image)[None], towers.preprocessing)
        pictures.append(towers.read_run(ready, "film").mean(axis=0))
    seen, people = np.stack([unit(one) for one in pictures]), np.array([item.patient for item in items])
    labels = [sides_of(item.sentence) for item in items]
    names = sorted(set(labels))
    texts = {
        name: sorted({i.sentence for i, own in zip(items, labels, strict=True) if own == name})
        for name in names
    }
    vectors = towers.read_sentences([text for some in texts.values() for text in some], progress)
    bank = np.stack([unit(np.mean([vectors[text] for text in texts[name]], axis=0)) for name in names])
    right = (seen @ bank.T).argmax(axis=1) == np.array([names.index(label) for label in labels])
    largest = max(labels.count(name) for name in names) / len(labels)
    one_sided = [k for k, item in enumerate(items) if len({p.side for p in parse(item.sentence).places}) == 1]
    sentences = [items[k].sentence for k in one_sided]
    return {
        "films": len(items),
        "patients": len(set(people)),
        "lungs": _share(right, people, rounds) | {"most_frequent": round(largest, 4), "of": names},
        "side": _prefers_own(towers, seen[one_sided], sentences, people[one_sided], rounds, progress),
    }


def _picture_of(towers: Towers, row: StudyRow, progress: Progress, done: int, n: int) -> Vector:
    """Unit vector of a study, both views together, as zero-shot reads it."""
    progress.step("Reading angiograms", done, n)
    views = {
        name: towers.read_run(prepare_run(view.frames, towers.preprocessing), name).mean(axis=0)
        for name, view in load_study(row).items()
    }
    return together(views)[BOTH]


def _bank(towers: Towers, questions: ZeroShotSet, progress: Progress) -> Vector:
    texts = [text for finding in questions.findings for text in questions.class_sentences(finding)]
    return prototypes(questions, towers.read_sentences(texts, progress))


def _similar(
    pictures: NDArray[np.float32], labels: Sequence[str], patients: NDArray[Any], rounds: int
) -> dict[str, Any]:
    """Whether the nearest study of another patient has its class; ``chance``: a random one of them."""
    apart = patients[:, None] != patients[None, :]
    cosines = np.where(apart, pictures @ pictures.T, -np.inf)
    same = np.array(labels)[:, None] == np.array(labels)[None, :]
    asked = apart.any(axis=1)
    right = same[np.arange(len(labels)), cosines.argmax(axis=1)][asked]
    chance = (same & apart).sum(axis=1)[asked] / apart.sum(axis=1)[asked]
    return _share(right, patients[asked], rounds) | {"chance": round(float(chance.mean()), 4)}


def _prefers_own(
    towers: Towers,
    pictures: NDArray[np.float32],
    sentences: Sequence[str],
    patients: NDArray[Any],
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    """How often a picture is nearer to its own sentence than to that of the other side; chance is a half."""
    exchanged = [mirrored(text) for text in sentences]
    vectors = towers.read_sentences([*sentences, *exchanged], progress)
    own, other = (np.stack([vectors[text] for text in texts]) for texts in (sentences, exchanged))
    return _share(((pictures * (own - other)).sum(axis=1) > 0), patients, rounds)


def _share(right: NDArray[np.bool_], patients: NDArray[Any], rounds: int) -> dict[str, Any]:
    bounds = patient_interval(right.astype(np.float64), patients, rounds)
    return {"n": len(right), "right": round(float(right.mean()), 4), "ci95": [round(b, 4) for b in bounds]}
