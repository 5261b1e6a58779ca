"""From the examples of a plan to tensors: cached features for the heads, pictures for the whole network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.training.finetune_plan import Example
from napari_clipmed.training.snapshots import frame_name, read_frame, read_run, read_target, runs_of

FRAMES_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class StudyItem:
    """One study to learn from.

    Parameters
    ----------
    views : dict
        "AP" and/or "LA" to pictures (t, 3, S, S) or to frame features (t, d).
    label : int
        Index in the label set.
    """

    views: dict[str, Tensor]
    label: int


@dataclass(frozen=True, eq=False)
class StudyGroup:
    """Studies of a batch that have the same views: `ap`, `la` (b, t, …) or None, `labels` (b,)."""

    ap: Tensor | None
    la: Tensor | None
    labels: Tensor


@dataclass(frozen=True, eq=False)
class MaskItem:
    """One mask to learn: a picture (3, S, S) or its causal features (C, h, w), the sentence, the target.

    `sentence` is the tokens (n,) beside pictures, the sentence vector τ (d,) beside features.
    """

    image: Tensor
    sentence: Tensor
    target: Tensor


class ReadOnDemand(Dataset[Any]):
    """Examples read from the workspace whenever they are asked for; pictures would fill the memory."""

    def __init__(self, examples: Sequence[Example], read: Callable[[Example], Any]) -> None:
        self._examples, self._read = list(examples), read

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Any:
        return self._read(self._examples[index])


def read_study(
    store: Store, example: Example, keys: Sequence[str], preprocessing: Preprocessing
) -> StudyItem:
    """Pictures of an example's study, frames that stand at several places repeated."""
    stored = store.inputs(example.case_id)
    views = {}
    for name in runs_of(stored):
        images, repeats = read_run(stored[name], preprocessing)
        views[name] = images[torch.from_numpy(repeats)]
    return StudyItem(views, list(keys).index(example.label))


@torch.no_grad()
def study_features(network: ClipDSA, study: StudyItem, compute: Compute, progress: Progress) -> StudyItem:
    """Frame features (t, d) in place of the pictures, by a frozen network."""

    def features(images: Tensor) -> Tensor:
        parts = []
        for some in images.split(FRAMES_AT_ONCE):
            progress.step("Reading pictures")
            parts.append(network.pool_frames(network.trunk(compute.send(some)).float()).cpu())
        return torch.cat(parts)

    return StudyItem({name: features(images) for name, images in study.views.items()}, study.label)


def collate_studies(items: Sequence[StudyItem]) -> list[StudyGroup]:
    """Group the studies of a batch by the views they have."""
    by_views: dict[tuple[str, ...], list[StudyItem]] = defaultdict(list)
    for item in items:
        by_views[tuple(sorted(item.views))].append(item)

    def stacked(group: list[StudyItem], name: str) -> Tensor | None:
        return torch.stack([item.views[name] for item in group]) if name in group[0].views else None

    return [
        StudyGroup(stacked(group, "AP"), stacked(group, "LA"), torch.tensor([item.label for item in group]))
        for group in by_views.values()
    ]


def balanced(labels: Sequence[int], most: int = 10) -> list[int]:
    """Indices in which rare classes are repeated until every class weighs about the same.

    Parameters
    ----------
    labels : sequence of int
        Of the items.
    most : int
        A single item is repeated at most this often.
    """
    by_label: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    largest = max((len(indices) for indices in by_label.values()), default=0)
    return [i for indices in by_label.values() for i in indices * min(most, round(largest / len(indices)))]


def read_mask(
    store: Store, example: Example, network: CausalCLIPSeg, preprocessing: Preprocessing
) -> MaskItem:
    """Picture, tokens and target (1, S, S) of an example."""
    revision = example.revision
    stored = store.inputs(example.case_id)[frame_name(revision.view_index or 0, revision.frame or 0)]
    target = read_target(store.read_mask(revision), preprocessing)
    return MaskItem(read_frame(stored, preprocessing), network.tokenize([revision.model_prompt])[0], target)


@torch.no_grad()
def mask_features(network: CausalCLIPSeg, mask: MaskItem, compute: Compute) -> MaskItem:
    """Causal features and sentence vector in place of picture and tokens, by a frozen network."""
    causal = network.separate(compute.send(mask.image[None])).causal[0].float().cpu()
    tau = network.encode_text(mask.sentence[None].to(compute.device))[0].cpu()
    return MaskItem(causal, tau, mask.target)


def collate_masks(items: Sequence[MaskItem]) -> tuple[Tensor, Tensor, Tensor]:
    """Images or features, sentences and targets of a batch."""
    return (
        torch.stack([item.image for item in items]),
        torch.stack([item.sentence for item in items]),
        torch.stack([item.target for item in items]),
    )
