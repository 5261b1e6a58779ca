"""A model with the material to train and judge it on, for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch.utils.data import ConcatDataset

from napari_clipmed.errors import ModelError
from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.registry import load_network
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_data import (
    MaskItem,
    ReadOnDemand,
    StudyItem,
    balanced,
    change_mask,
    change_study,
    collate_masks,
    collate_studies,
    mask_features,
    read_mask,
    read_study,
    study_features,
)
from napari_clipmed.training.finetune_figures import Judgement, judge_diagnoses, judge_masks
from napari_clipmed.training.finetune_fit import Material
from napari_clipmed.training.finetune_modules import (
    DiagnosisTuner,
    SegmentationTuner,
    Tuner,
)
from napari_clipmed.training.finetune_plan import Example, FinetunePlan
from napari_clipmed.training.replay import Replay, ReplayCase, read_replay_mask, read_replay_study


class Bench(ABC):
    """One base model, one plan: loads the network; unless all of it learns, computes features once.

    Parameters
    ----------
    store : Store
        Where the pictures are.
    base : ModelEntry
        The model.
    plan : FinetunePlan
        What to read.
    config : FinetuneConfig
        "head" and "adapter" keep features in memory, "full" reads pictures whenever they are needed.
    compute : Compute
        Where.
    progress : Progress
        Told of every example.
    replay : Replay
        Cases of the base model's kind, to train on beside the corrections.
    only_judged : bool
        Leave out what `judge` does not need.

    Attributes
    ----------
    tuner : Tuner
        The network as a Lightning module.
    material : Material
        What to train and validate on.
    apart : items
        Replay that is never trained on; empty without replay.
    """

    tuner: Tuner
    _collate: Callable[[Sequence[Any]], Any]
    _change: Callable[[Any, torch.Generator], Any]

    def __init__(
        self,
        store: Store,
        base: ModelEntry,
        plan: FinetunePlan,
        config: FinetuneConfig,
        compute: Compute,
        progress: Progress,
        *,
        replay: Replay | None = None,
        only_judged: bool = False,
    ) -> None:
        progress.step(f"Loading {base.card.title}")
        self.store, self.config, self.compute, self.progress = store, config, compute, progress
        self.preprocessing = Preprocessing.from_card(base.card.preprocessing)
        self.judged_on = "validation" if plan.validation else "training"
        self._set_up(base)
        # What reads pictures once is another copy, as fast as it gets; it goes when all features are there.
        self._reader = compute.freeze(load_network(base)) if config.strategy != "full" else None
        self.replay = replay if replay and config.replay > 0 else Replay()
        self.judged = plan.validation or plan.training
        training = () if only_judged and plan.validation else plan.training
        own = self._gather(training, self._read, "Reading the cases", learn=True)
        validation = self._gather(plan.validation, self._read, "Reading the frozen cases")
        lessons = () if only_judged else self.replay.training
        old = self._gather(lessons, self._read_replay, "Reading the replay", learn=True)
        self.apart = self._gather(self.replay.apart, self._read_replay, "Reading the replay")
        self._reader = None
        order = self._order(training)
        order += _spread(len(old), _replayed(len(order), config.replay), len(own))
        joined = ConcatDataset([own, old]) if len(old) else own
        self.material = Material(joined, validation, self._collate, order, self.apart)

    def judge(self) -> Judgement:
        """How good the model is now, on the validation or else the training cases."""
        items = self.material.validation if self.judged_on == "validation" else self.material.training
        who = [(example.case_id, example.patient_key) for example in self.judged]
        return self._judge(Only(items, len(who)), [example.label for example in self.judged], who)

    def judge_replay(self) -> Judgement | None:
        """How good it is on the base model's own kind of cases; None where there are none."""
        if not len(self.apart):
            return None
        cases = self.replay.apart
        who = [(f"replay-{n}", case.patient) for n, case in enumerate(cases)]
        return self._judge(self.apart, [case.label for case in cases], who)

    def _gather(
        self, sources: Sequence[Any], read: Callable[[Any], Any], what: str, learn: bool = False
    ) -> Any:
        if self.config.strategy == "full":
            change = self._change if learn and self.config.augment else None
            return ReadOnDemand(sources, read, change, self.config.seed)
        items = []
        for n, source in enumerate(sources):
            self.progress.step(what, n, len(sources))
            items.append(self._features(read(source)))
        return items

    def _order(self, training: Sequence[Example]) -> list[int]:
        return list(range(len(training)))

    @abstractmethod
    def _set_up(self, base: ModelEntry) -> None: ...

    @abstractmethod
    def _read(self, example: Example) -> Any: ...

    @abstractmethod
    def _read_replay(self, case: ReplayCase) -> Any: ...

    @abstractmethod
    def _features(self, item: Any) -> Any: ...

    @abstractmethod
    def _judge(self, items: Any, names: Sequence[str], who: Sequence[tuple[str, str]]) -> Judgement: ...


class DiagnosisBench(Bench):
    """CLIP-DSA and studies."""

    tuner: DiagnosisTuner
    _collate = staticmethod(collate_studies)
    _change = staticmethod(change_study)

    def _set_up(self, base: ModelEntry) -> None:
        rows = (base.card.label_set or {}).get("labels", [])
        if not rows:
            raise ModelError(f"The card of {base.id!r} names no classes.")
        self.keys = [str(row["key"]) for row in rows]
        self.network = cast("ClipDSA", self.compute.place(load_network(base)))
        self.tuner = DiagnosisTuner(self.network, self.config)

    def _read(self, example: Example) -> StudyItem:
        return read_study(self.store, example, self.keys, self.preprocessing)

    def _read_replay(self, case: ReplayCase) -> StudyItem:
        return read_replay_study(case, self.keys, self.preprocessing)

    def _features(self, item: StudyItem) -> StudyItem:
        reader = cast("ClipDSA", self._reader)
        maps = self.config.strategy == "adapter"
        return study_features(reader, item, self.compute, self.progress, maps=maps)

    def _order(self, training: Sequence[Example]) -> list[int]:
        if not self.config.balance:
            return super()._order(training)
        return balanced([self.keys.index(example.label) for example in training])

    def _judge(self, items: Any, names: Sequence[str], who: Sequence[tuple[str, str]]) -> Judgement:
        self.tuner.to(self.compute.device)
        return judge_diagnoses(self.tuner, items, self.keys, who, self.progress)


class SegmentationBench(Bench):
    """CausalCLIPSeg and masks."""

    tuner: SegmentationTuner
    _collate = staticmethod(collate_masks)
    _change = staticmethod(change_mask)

    def _set_up(self, base: ModelEntry) -> None:
        self.network = cast("CausalCLIPSeg", self.compute.place(load_network(base)))
        self.tuner = SegmentationTuner(self.network, self.config)

    def _read(self, example: Example) -> MaskItem:
        return read_mask(self.store, example, self.network, self.preprocessing)

    def _read_replay(self, case: ReplayCase) -> MaskItem:
        return read_replay_mask(case, self.network, self.preprocessing)

    def _features(self, item: MaskItem) -> MaskItem:
        reader = cast("CausalCLIPSeg", self._reader)
        self.progress.step("Reading pictures")
        return mask_features(reader, item, self.compute, stages=self.config.strategy == "adapter")

    def _judge(self, items: Any, names: Sequence[str], who: Sequence[tuple[str, str]]) -> Judgement:
        self.tuner.to(self.compute.device)
        return judge_masks(self.tuner, items, names, who, self.progress)


class Only(Sequence[Any]):
    """The first items of something, as they are, without the changes of training."""

    def __init__(self, items: Any, count: int) -> None:
        self._items, self._count = items, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        items = self._items
        if isinstance(items, ConcatDataset):
            items = items.datasets[0]
        return items.plain(index) if isinstance(items, ReadOnDemand) else items[index]


def _replayed(own: int, share: float) -> int:
    """How many replayed items stand beside `own` others when they are this share of all."""
    return round(own * share / (1 - share)) if share < 1 else own


def _spread(available: int, wanted: int, first: int) -> list[int]:
    """`wanted` indices from `first` on, each of the available items as often as the next."""
    return [first + n % available for n in range(wanted)] if available else []


def bench_for(task: str) -> type[Bench]:
    """The bench of a task."""
    return DiagnosisBench if task == "diagnosis" else SegmentationBench
