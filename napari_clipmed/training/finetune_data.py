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
from napari_clipmed.training.augment import WHOLE, warp
from napari_clipmed.training.clip_dsa_recipe import Augmentation
from napari_clipmed.training.finetune_plan import Example
from napari_clipmed.training.snapshots import frame_name, read_frame, read_run, read_target, runs_of

FRAMES_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class StudyItem:
    """One study to learn from.

    Parameters
    ----------
    views : dict
        "AP" and/or "LA" to pictures (t, 3, S, S), trunk maps (t, C, h, w) or frame features (t, d).
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
    """One mask to learn: picture, sentence and target (1, S, S).

    `image` is the picture (3, S, S), the three stages of the tower, or the causal features (C, h, w);
    `sentence` is the tokens (n,) beside pictures, the sentence vector τ (d,) beside what was computed.
    """

    image: Tensor | tuple[Tensor, ...]
    sentence: Tensor
    target: Tensor


class ReadOnDemand(Dataset[Any]):
    """Items read whenever they are asked for; pictures would fill the memory.

    Parameters
    ----------
    sources : sequence
        What `read` reads: examples of the workspace, or of the replay.
    read : callable
        Source to item.
    change : callable, optional
        Item and generator to a slightly changed item, for training.
    seed : int
        Of the changes; an item changes alike in the same epoch of any run.

    Attributes
    ----------
    epoch : int
        Set by whoever trains.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        read: Callable[[Any], Any],
        change: Callable[[Any, torch.Generator], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self._sources, self._read, self._change, self._seed = list(sources), read, change, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._sources)

    def plain(self, index: int) -> Any:
        """An item as it is."""
        return self._read(self._sources[index])

    def __getitem__(self, index: int) -> Any:
        item = self.plain(index)
        if self._change is None:
            return item
        draw = torch.Generator().manual_seed((self._seed * 10_007 + self.epoch) * 100_003 + index)
        return self._change(item, draw)


STUDY_CHANGES = Augmentation(flip_horizontal=0.5, rotation_degrees=6, shift=0.03, zoom=0.06)
MASK_CHANGES = Augmentation(rotation_degrees=5, shift=0.03, zoom=0.06)
"""Light, and without a flip: sentences name sides."""


def change_study(study: StudyItem, draw: torch.Generator) -> StudyItem:
    """The study a little turned, shifted and zoomed, each view by its own draw."""

    def changed(images: Tensor) -> Tensor:
        flat = images.flatten(0, 1)
        return warp(flat, flat.shape[-1], WHOLE, STUDY_CHANGES, draw).reshape(images.shape)

    return StudyItem({name: changed(images) for name, images in study.views.items()}, study.label)


def change_mask(mask: MaskItem, draw: torch.Generator) -> MaskItem:
    """Picture and target a little turned, shifted and zoomed together."""
    assert isinstance(mask.image, Tensor)
    both = warp(torch.cat([mask.image, mask.target]), mask.target.shape[-1], WHOLE, MASK_CHANGES, draw)
    return MaskItem(both[:-1], mask.sentence, (both[-1:] >= 0.5).float())


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
def study_features(
    network: ClipDSA, study: StudyItem, compute: Compute, progress: Progress, *, maps: bool = False
) -> StudyItem:
    """Frame features (t, d), or trunk maps in half precision, in place of pictures, by a frozen network."""

    def features(images: Tensor) -> Tensor:
        parts = []
        for some in images.split(FRAMES_AT_ONCE):
            progress.step("Reading pictures")
            found = network.trunk(compute.send(some))
            parts.append(found.half().cpu() if maps else network.pool_frames(found.float()).cpu())
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
def mask_features(
    network: CausalCLIPSeg, mask: MaskItem, compute: Compute, *, stages: bool = False
) -> MaskItem:
    """Causal features, or the tower's stages in half precision, and sentence vector, by a frozen network."""
    assert isinstance(mask.image, Tensor)
    image = compute.send(mask.image[None])
    tau = network.encode_text(mask.sentence[None].to(compute.device))[0].cpu()
    if stages:
        found = tuple(stage[0].half().cpu() for stage in network.stages(image))
        return MaskItem(found, tau, mask.target)
    return MaskItem(network.separate(image).causal[0].float().cpu(), tau, mask.target)


MaskBatch = tuple[Tensor | tuple[Tensor, ...], Tensor, Tensor]


def collate_masks(items: Sequence[MaskItem]) -> MaskBatch:
    """Images or what was computed from them, sentences and targets of a batch."""
    first = items[0].image
    images: Tensor | tuple[Tensor, ...]
    if isinstance(first, tuple):
        images = tuple(torch.stack(stage) for stage in zip(*(item.image for item in items), strict=True))
    else:
        images = torch.stack([item.image for item in items if isinstance(item.image, Tensor)])
    return images, torch.stack([i.sentence for i in items]), torch.stack([i.target for i in items])
