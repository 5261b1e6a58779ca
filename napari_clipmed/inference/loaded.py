"""A model in memory, ready to answer, and how it reads pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from napari_clipmed.errors import ModelError
from napari_clipmed.inference.both_ways import encode_films
from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.features import EncodedFilm, EncodedView, FeatureKey
from napari_clipmed.inference.frame_reader import FrameReader
from napari_clipmed.inference.preprocess import (
    Preprocessing,
    normalise,
    prepare_film,
    prepare_run,
    vessels_are_bright,
)
from napari_clipmed.inference.tuning import Pace, pace_for
from napari_clipmed.models.card import STATISTICS_PREFIX, ModelEntry
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.loading import load_network, load_tensors
from napari_clipmed.progress import Progress
from napari_clipmed.study import View

if TYPE_CHECKING:
    from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
    from napari_clipmed.models.clip_dsa import ClipDSA


class Loaded:
    """A model in memory: its card, its network where it computes, its labels, its training statistics.

    Parameters
    ----------
    entry : ModelEntry
    compute : Compute
    """

    def __init__(self, entry: ModelEntry, compute: Compute) -> None:
        self.card = entry.card
        self.compute = compute
        diagnosis = entry.card.task == "diagnosis"
        self._reader = FrameReader.of(entry, compute) if diagnosis else None
        self.network = self._reader.network if self._reader else compute.freeze(load_network(entry))
        self.preprocessing = Preprocessing.from_card(entry.card.preprocessing)
        self._labels = LabelSet.from_content(entry.card.label_set) if diagnosis else None
        self.statistics = {k: v for k, v in load_tensors(entry).items() if k.startswith(STATISTICS_PREFIX)}
        self._pace: Pace | None = None

    @property
    def labels(self) -> LabelSet:
        """The classes of a diagnosis model."""
        if self._labels is None:
            raise ModelError(f"{self.card.id!r} names no classes.")
        return self._labels

    @property
    def reader(self) -> FrameReader:
        """What reads the frames of runs, of a diagnosis model."""
        if self._reader is None:
            raise ModelError(f"{self.card.id!r} reads no runs.")
        return self._reader

    @property
    def clip_dsa(self) -> ClipDSA:
        """The network of a diagnosis model."""
        return cast("ClipDSA", self.network)

    @property
    def causal_clipseg(self) -> CausalCLIPSeg:
        """The network of a segmentation model."""
        return cast("CausalCLIPSeg", self.network)

    def key(self, what: str, picture: str, frame: int = -1) -> FeatureKey:
        """The name of a feature of a view (see `name_picture`) or of one of its frames."""
        return FeatureKey(
            what=what,
            picture=picture,
            frame=frame,
            preprocessing=self.preprocessing,
            model=self.card.sha256,
            device=self.compute.device,
            precision=self.compute.precision,
        )

    def read_view(self, view: View, name: str, progress: Progress) -> EncodedView:
        """Run the trunk over the sampled frames of a view."""
        progress.step(f"Preparing {name}")
        invert = view.subtracted and vessels_are_bright(view.pixels)
        prepared = prepare_run(view.pixels, self.preprocessing, invert=invert)
        images = normalise(prepared.frames, self.preprocessing)
        reader = self.reader
        pace = self._own_pace(progress)

        def tell(done: int) -> None:
            progress.step(f"Reading {name}", done, len(images))

        with torch.inference_mode():
            maps, chunk = reader.read_run(images, pace.chunk, tell)
        self._pace = Pace(min(chunk, pace.chunk), pace.threads)
        return EncodedView(prepared, maps.contiguous())

    def read_film(self, view: View, frame: int) -> EncodedFilm:
        """Run everything of a segmentation network that knows no sentence over one frame."""
        greys = prepare_film(view.pixels[frame], self.preprocessing)
        with torch.inference_mode():
            image = self.compute.send(normalise(greys, self.preprocessing)[None])
            return EncodedFilm(encode_films(self.causal_clipseg, image, self.preprocessing))

    def _own_pace(self, progress: Progress) -> Pace:
        if self._pace is None:
            progress.step("Measuring this computer, once for each model")
            read = self.reader.read_any
            self._pace = pace_for(read, self.preprocessing.size, self.compute, self.card.sha256)
            if self._pace.threads != torch.get_num_threads():
                torch.set_num_threads(self._pace.threads)
        return self._pace
