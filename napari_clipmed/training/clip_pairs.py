"""Pictures with their sentences: simulated angiograms with their reports, and QaTa films with theirs.

Pictures are never mirrored: reports name sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing, fit_frames, prepare_film, sample_frames
from napari_clipmed.models.prompts import parse
from napari_clipmed.models.zero_shot_sets import read_set
from napari_clipmed.training.augment import WHOLE, regrey, warp
from napari_clipmed.training.clip_dsa_recipe import Augmentation
from napari_clipmed.training.dsa_data import VIEWS, StudyRow, load_study, read_rows, stratified_frames
from napari_clipmed.training.qata_data import QaTaItem, load_split, without_patients
from napari_clipmed.training.segmentation_batches import read_grey

WORDS = 512
"""Places of the bag of words by which sentences are compared; words share one by their hash."""


@dataclass(frozen=True)
class Pair:
    """A picture and what is said of it.

    Parameters
    ----------
    source : StudyRow or QaTaItem
        Where the pixels are.
    label : str
        What it shows, in a word; the same for pictures of one disease or of the same sides.
    sentences : tuple of str
        Its own first, then those of its class.
    """

    source: StudyRow | QaTaItem
    label: str
    sentences: tuple[str, ...]


def read_pairs(angiograms: Path | None, films: Path | None, split: str, label_set: str = "dsa") -> list[Pair]:
    """All pairs of a split; no patient of a validation split is in the training split.

    Parameters
    ----------
    angiograms : Path or None
        Folder with ``studies.jsonl``, as ``phantom dsa`` writes it.
    films : Path or None
        QaTa-COV19 in one of its layouts.
    split : "train" or "val"
    label_set : str
        The `ZeroShotSet` whose sentences of a class are learned beside the reports.

    Raises
    ------
    ClipmedError
        Without any pair.
    """
    pairs: list[Pair] = []
    if angiograms is not None:
        questions = read_set(label_set)
        said = {finding.key: tuple(questions.class_sentences(finding)) for finding in questions.findings}
        for row in read_rows(angiograms, split):
            texts = (*([row.report] if row.report else []), *said.get(row.label, ()))
            if texts:
                pairs.append(Pair(row, row.label, texts))
    if films is not None:
        held_out = load_split(films, "Val")
        items = held_out if split == "val" else without_patients(load_split(films, "Train"), held_out)
        pairs += [Pair(item, sides_of(item.sentence), (item.sentence,)) for item in items]
    if len(pairs) < 2:
        raise ClipmedError(
            f"There are {len(pairs)} pictures with sentences for {split}; at least two are needed.",
            "Give --angiograms (from `napari-clipmed phantom dsa`), --films (QaTa-COV19), or both.",
        )
    return pairs


class PairDataset(Dataset[dict[str, Any]]):
    """Pairs as training or validation reads them.

    Parameters
    ----------
    pairs : sequence of Pair
    size, frames : int
        Side of the pictures, and how many frames of a view.
    amounts : Augmentation or None
        Random changes, random frames, a random view and a random sentence; None takes AP, evenly spaced
        frames and the first sentence.

    An item's ``frames`` are (t, S, S) for a run, (1, S, S) for a film; `collate` puts them together.
    """

    def __init__(self, pairs: Sequence[Pair], size: int, frames: int, amounts: Augmentation | None) -> None:
        self.pairs, self.size, self.frames, self.amounts = list(pairs), size, frames, amounts
        self.labels = sorted({pair.label for pair in self.pairs})

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,)))) if self.amounts else None
        read = self._run if isinstance(pair.source, StudyRow) else self._film
        frames = read(pair.source, generator)  # type: ignore[arg-type]
        if generator is not None and self.amounts is not None:
            frames = regrey(warp(frames, self.size, WHOLE, self.amounts, generator), self.amounts, generator)
        return {
            "frames": frames,
            "sentence": (text := _sentence_of(pair, generator)),
            "words": bag_of_words(text),
            "label": crc32(pair.label.encode()),
            "index": index,
        }

    def _run(self, row: StudyRow, generator: torch.Generator | None) -> Tensor:
        views = load_study(row)
        name = VIEWS[0] if generator is None else VIEWS[_draw(len(VIEWS), generator)]
        stored = views[name].frames
        chosen = (
            sample_frames(len(stored), self.frames + 2)[1:-1]  # contrast is in the middle
            if generator is None
            else stratified_frames(len(stored), self.frames, generator)
        )
        return fit_frames(torch.from_numpy(stored[chosen]).float() / 255.0, self.size)

    def _film(self, item: QaTaItem, generator: torch.Generator | None) -> Tensor:
        return prepare_film(read_grey(item.image), Preprocessing(size=self.size))[None]


def collate(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch: the frames of all pictures in one row, (n, S, S), and which of them each picture has.

    ``of`` is (b, t), t of the longest; a film, which has one frame, names it t times, so that it is looked at
    once and weighs as much as a run.
    """
    whole = default_collate(
        [{key: value for key, value in pair.items() if key != "frames"} for pair in pairs]
    )
    most, first, of = max(len(pair["frames"]) for pair in pairs), 0, []
    for pair in pairs:
        count = len(pair["frames"])
        of.append(first + torch.arange(most) % count)
        first += count
    return {**whole, "frames": torch.cat([pair["frames"] for pair in pairs]), "of": torch.stack(of)}


def _sentence_of(pair: Pair, generator: torch.Generator | None) -> str:
    """Its own sentence, which alone names sides and places, as often as those of its class together."""
    if generator is None or len(pair.sentences) == 1 or _draw(2, generator):
        return pair.sentences[0]
    return pair.sentences[1 + _draw(len(pair.sentences) - 1, generator)]


def bag_of_words(text: str) -> Tensor:
    """Which words a sentence has, (WORDS,) float32 of 0 and 1."""
    found = torch.zeros(WORDS)
    for word in re.findall(r"[a-z]+|\d+", text.lower()):
        found[crc32(word.encode()) % WORDS] = 1.0
    return found


def sides_of(sentence: str) -> str:
    """What a sentence of QaTa says in a word: which lungs."""
    return "infection " + " ".join(sorted({place.side for place in parse(sentence).places}))


def _draw(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (1,), generator=generator))
