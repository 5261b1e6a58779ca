"""A model with the material to train and judge it on, for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from napari_clipmed.errors import ModelError
from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.registry import load_network
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.training.finetune_data import (
    MaskItem,
    ReadOnDemand,
    StudyItem,
    balanced,
    collate_masks,
    collate_studies,
    mask_features,
    read_mask,
    read_study,
    study_features,
)
from napari_clipmed.training.finetune_figures import diagnosis_figures, segmentation_figures
from napari_clipmed.training.finetune_fit import Material
from napari_clipmed.training.finetune_modules import (
    DiagnosisTuner,
    FinetuneConfig,
    SegmentationTuner,
    Tuner,
)
from napari_clipmed.training.finetune_plan import Example, FinetunePlan


class Bench(ABC):
    """One base model, one plan: loads the network; for "head", computes its features once.

    Parameters
    ----------
    store : Store
        Where the pictures are.
    base : ModelEntry
        The model.
    plan : FinetunePlan
        What to read.
    config : FinetuneConfig
        "head" keeps features in memory, "full" reads pictures whenever they are needed.
    compute : Compute
        Where.
    progress : Progress
        Told of every example.
    only_judged : bool
        Leave out what `figures` does not need.

    Attributes
    ----------
    tuner : Tuner
        The network as a Lightning module.
    material : Material
        What to train and validate on.
    """

    tuner: Tuner

    def __init__(
        self,
        store: Store,
        base: ModelEntry,
        plan: FinetunePlan,
        config: FinetuneConfig,
        compute: Compute,
        progress: Progress,
        *,
        only_judged: bool = False,
    ) -> None:
        progress.step(f"Loading {base.card.title}")
        self.store, self.config, self.compute, self.progress = store, config, compute, progress
        self.preprocessing = Preprocessing.from_card(base.card.preprocessing)
        self.judged_on = "validation" if plan.validation else "training"
        training = () if only_judged and plan.validation else plan.training
        self._set_up(base)
        # What reads pictures once is another copy, as fast as it gets; it goes when all features are there.
        reader = compute.freeze(load_network(base)) if config.strategy == "head" else None
        self.material = self._material(training, plan.validation, reader)

    def figures(self) -> dict[str, Any]:
        """How good the model is now, on the validation or else the training cases."""
        judged = self.material.validation if self.judged_on == "validation" else self.material.training
        self.tuner.to(self.compute.device)
        return self._figures(judged)

    @abstractmethod
    def _set_up(self, base: ModelEntry) -> None: ...

    @abstractmethod
    def _material(
        self, training: Sequence[Example], validation: Sequence[Example], reader: Any
    ) -> Material: ...

    @abstractmethod
    def _figures(self, items: Any) -> dict[str, Any]: ...


class DiagnosisBench(Bench):
    """CLIP-DSA and studies."""

    tuner: DiagnosisTuner

    def _set_up(self, base: ModelEntry) -> None:
        rows = (base.card.label_set or {}).get("labels", [])
        if not rows:
            raise ModelError(f"The card of {base.id!r} names no classes.")
        self.keys = [str(row["key"]) for row in rows]
        self.network = cast("ClipDSA", self.compute.place(load_network(base)))
        self.tuner = DiagnosisTuner(self.network, self.config)

    def _read(self, example: Example) -> StudyItem:
        return read_study(self.store, example, self.keys, self.preprocessing)

    def _material(self, training: Sequence[Example], validation: Sequence[Example], reader: Any) -> Material:
        def gather(examples: Sequence[Example]) -> Any:
            if self.config.strategy == "full":
                return ReadOnDemand(examples, self._read)
            items = []
            for n, example in enumerate(examples):
                self.progress.step("Reading studies", n, len(examples))
                items.append(study_features(reader, self._read(example), self.compute, self.progress))
            return items

        order = balanced([self.keys.index(example.label) for example in training])
        return Material(gather(training), gather(validation), collate_studies, order)

    def _figures(self, items: Any) -> dict[str, Any]:
        return diagnosis_figures(self.tuner, items, self.keys, self.progress)


class SegmentationBench(Bench):
    """CausalCLIPSeg and masks."""

    tuner: SegmentationTuner

    def _set_up(self, base: ModelEntry) -> None:
        self.network = cast("CausalCLIPSeg", self.compute.place(load_network(base)))
        self.tuner = SegmentationTuner(self.network, self.config)

    def _read(self, example: Example) -> MaskItem:
        return read_mask(self.store, example, self.network, self.preprocessing)

    def _material(self, training: Sequence[Example], validation: Sequence[Example], reader: Any) -> Material:
        def gather(examples: Sequence[Example]) -> Any:
            if self.config.strategy == "full":
                return ReadOnDemand(examples, self._read)
            items = []
            for n, example in enumerate(examples):
                self.progress.step("Reading masks", n, len(examples))
                items.append(mask_features(reader, self._read(example), self.compute))
            return items

        return Material(gather(training), gather(validation), collate_masks, range(len(training)))

    def _figures(self, items: Any) -> dict[str, Any]:
        return segmentation_figures(self.tuner, items, self.progress)


def bench_for(task: str) -> type[Bench]:
    """The bench of a task."""
    return DiagnosisBench if task == "diagnosis" else SegmentationBench
