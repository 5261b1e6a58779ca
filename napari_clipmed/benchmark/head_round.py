"""A round of the heads on forty studies, against the loop that reads every picture in every epoch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from napari_clipmed.benchmark.measure import time_job
from napari_clipmed.benchmark.rows import Row, Timing
from napari_clipmed.benchmark.subjects import Models, noise_study
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.training.finetune import FinetunePlan, finetune, plan
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_data import StudyItem, collate_studies, read_study
from napari_clipmed.training.finetune_modules import DiagnosisTuner
from napari_clipmed.training.snapshots import save_diagnosis_inputs

STUDIES = 40
_MEASURED = 2
"""Studies of the baseline that are measured; the others cost the same."""


def head_round(models: Models, device: str, progress: Progress) -> Row:
    """The row ``head_finetune``: forty accepted biplane studies of 16 frames, of forty patients."""
    with (
        TemporaryDirectory(prefix="clipmed-benchmark-") as folder,
        Store.open(Path(folder) / "workspace") as store,
    ):
        _fill(store, models.diagnosis)
        what = plan(store, "diagnosis", models.diagnosis)
        tuned: list[ModelEntry] = []

        def work() -> None:
            tuned.append(finetune(store, models.diagnosis, what, "head", progress, device=device))

        ours = time_job(work, 1, warm_up=0)
        epochs = int(tuned[0].card.metrics["finetune"]["epochs"])
        progress.step("head_finetune: the baseline")
        study = _uncached_study(store, models, what, device)
    return Row(
        "head_finetune",
        f"finetune --strategy head on {STUDIES} biplane studies: reading, features, {epochs} epochs, "
        "judging before and after, registering",
        f"a loop without cached features, fp32, eager: image tower, head and step for every study in each of "
        f"{epochs} epochs; measured on {_MEASURED} studies, times {STUDIES} studies, times {epochs} epochs",
        ours,
        study.times(STUDIES / _MEASURED * epochs),
    )


def _fill(store: Store, base: ModelEntry) -> None:
    keys = [str(row["key"]) for row in (base.card.label_set or {})["labels"]]
    for number in range(STUDIES):
        study = noise_study(1000 + number)
        case = store.case_for(study)
        save_diagnosis_inputs(store, case, study)
        store.add_label(case, keys[number % len(keys)], "accepted", base.id)


def _uncached_study(store: Store, models: Models, what: FinetunePlan, device: str) -> Timing:
    """A step of the plain loop over a few studies: all is computed anew, without gradients in the tower."""
    network = models.plain_diagnosis(device)
    tuner = DiagnosisTuner(network, FinetuneConfig.default("diagnosis", "head")).to(device)
    optimiser = tuner.configure_optimizers()
    preprocessing = Preprocessing.from_card(models.diagnosis.card.preprocessing)
    keys = [str(row["key"]) for row in (models.diagnosis.card.label_set or {})["labels"]]
    items = [read_study(store, example, keys, preprocessing) for example in what.training[:_MEASURED]]

    def step() -> None:
        read = [_read(network, item, device) for item in items]
        loss, _ = tuner.loss(collate_studies(read))
        optimiser.zero_grad()
        (loss + tuner.pull_back()).backward()
        optimiser.step()

    return time_job(step, 2, warm_up=1)


@torch.no_grad()
def _read(network: ClipDSA, item: StudyItem, device: str) -> StudyItem:
    features: dict[str, Tensor] = {
        name: network.visual(images.to(device)) for name, images in item.views.items()
    }
    return StudyItem(features, item.label)
