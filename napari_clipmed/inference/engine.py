"""One engine answers everything: what is it, why, and where; each expensive step is computed once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from threading import RLock
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

import numpy as np
import torch

from napari_clipmed.errors import ClipmedError, ModelError
from napari_clipmed.inference import classify, explain, outofdistribution, segment
from napari_clipmed.inference.cache import FeatureCache
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.preprocess import (
    ModelInput,
    Preprocessing,
    normalise,
    prepare_film,
    prepare_run,
    vessels_are_bright,
)
from napari_clipmed.inference.results import Diagnosis, MaskProposal, Saliency
from napari_clipmed.models import prompts
from napari_clipmed.models.card import STATISTICS_PREFIX, ModelCard, ModelEntry
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.loading import load_network, load_tensors
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study, View

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
    from napari_clipmed.models.clip_dsa import ClipDSA

_log = logging.getLogger(__name__)

FRAMES_AT_ONCE = 8
"""Frames a trunk call, so that a long run can be cancelled and memory stays small."""


class Loaded:
    """A model in memory: its card, its network where it computes, its labels, its training statistics."""

    def __init__(self, entry: ModelEntry, compute: Compute) -> None:
        self.card = entry.card
        self.network = compute.place(load_network(entry))
        self.preprocessing = Preprocessing.from_card(entry.card.preprocessing)
        self._labels = LabelSet.from_content(entry.card.label_set) if entry.card.task == "diagnosis" else None
        self.statistics = {k: v for k, v in load_tensors(entry).items() if k.startswith(STATISTICS_PREFIX)}

    @property
    def labels(self) -> LabelSet:
        """The classes of a diagnosis model."""
        if self._labels is None:
            raise ModelError(f"{self.card.id!r} names no classes.")
        return self._labels


class Engine:
    """Answers about studies with one diagnosis and one segmentation model; safe from any thread.

    Parameters
    ----------
    diagnosis, segmentation : ModelEntry or None
        Loaded when first needed.
    device, precision : str
        See `inference.device.choose_compute`.
    cache : FeatureCache, optional
        May be shared between engines: keys carry the model's hash.
    threads : int, optional
        CPU threads; a window passes `inference.device.spare_threads()`.
    """

    def __init__(
        self,
        diagnosis: ModelEntry | None = None,
        segmentation: ModelEntry | None = None,
        device: str = "auto",
        precision: str = "auto",
        cache: FeatureCache | None = None,
        threads: int | None = None,
    ) -> None:
        self.diagnosis, self.segmentation = diagnosis, segmentation
        self.compute = choose_compute(device, precision, threads)
        self.cache = cache if cache is not None else FeatureCache()
        self._loaded: dict[str, Loaded] = {}
        self._studies: WeakValueDictionary[str, Study] = WeakValueDictionary()
        self._lock = RLock()

    def classify(self, study: Study, progress: Progress | None = None) -> Diagnosis:
        """Probabilities of every class, per view and combined, with the temporal attention.

        Studies of any kind and number of frames are answered; what is unlike the training data is said in
        the notes and flagged.

        Raises
        ------
        ModelError
            Without a usable diagnosis model.
        Cancelled
        """
        progress = progress or Progress()
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress)
            index, notes = classify.assign_views(study)
            hashes = {name: study.views[position].pixel_hash for name, position in index.items()}
            prepared, maps = self._features(model, hashes, study, progress)
            with torch.no_grad():
                placed = {name: maps[name][prepared[name].repeats] for name in index}
                network = cast("ClipDSA", model.network)
                answers, attention = classify.answer(network, placed, model.card.calibration)
            strange = self._strange(model, study, prepared, maps)
            notes += _frame_notes(prepared) + strange
            if study.synthetic:
                notes.append("Simulated study.")
            key = _answer_key(hashes, model.card)
            self._studies[key] = study
            labels = model.labels
        return Diagnosis(
            labels=labels.keys,
            titles=labels.titles,
            probabilities={n: dict(zip(labels.keys, map(float, p), strict=True)) for n, p in answers.items()},
            attention={n: classify.view_attention(w, prepared[n]) for n, w in attention.items()},
            view_index=index,
            model_id=model.card.id,
            image_hash=study.image_hash,
            notes=tuple(notes),
            unlike_training=bool(strange),
            key=key,
            model_version=model.card.sha256,
        )

    def explain(
        self,
        diagnosis: Diagnosis,
        label: str,
        method: str = explain.DEFAULT_METHOD,
        progress: Progress | None = None,
    ) -> Saliency:
        """Why: class activation maps of one label on all sampled frames of all views.

        Parameters
        ----------
        diagnosis : Diagnosis
            An answer of this engine; its features are in the cache, or made again while its study is open.
        label : str
            Key of any label, predicted or not.
        method : str
            A key of `explain.METHODS`.

        Raises
        ------
        ClipmedError
            Unknown label or method; features forgotten and the study closed; another model since.
        Cancelled
        """
        progress = progress or Progress()
        if label not in diagnosis.labels:
            raise ClipmedError(f"There is no label {label!r}.", f"Labels: {', '.join(diagnosis.labels)}.")
        explain.raw_method(method)
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress)
            hashes, model_hash = _read_key(diagnosis.key)
            if model_hash != model.card.sha256:
                raise ClipmedError("This answer is of another model.", "Classify the study again.")
            cam_key = (diagnosis.key, label, method, "saliency")
            known = self.cache.get(cam_key)
            if known is not None:
                return cast("Saliency", known)
            prepared, maps = self._features(model, hashes, self._studies.get(diagnosis.key), progress)
            progress.step("Explaining")
            answer = self._saliency(model, diagnosis, label, method, prepared, maps)
            self.cache.put(cam_key, answer)
        return answer

    def segment(
        self,
        view: View,
        frame: int,
        prompt: str,
        convention: str = "picture",
        progress: Progress | None = None,
    ) -> MaskProposal:
        """Where: a mask for a sentence on one frame. A second sentence on the same frame only decodes.

        Parameters
        ----------
        view : View
        frame : int
            Index into ``view.pixels``.
        prompt : str
            Free text; see `models.prompts` for how it is read.
        convention : str
            "picture": left is the left of the picture; "patient": left is the patient's left.

        Raises
        ------
        ClipmedError
            For an empty prompt, an unknown convention, a frame that does not exist, no usable model.
        Cancelled
        """
        progress = progress or Progress()
        if not 0 <= frame < view.n_frames:
            raise ClipmedError(f"There is no frame {frame}; this view has {view.n_frames}.")
        question = prompts.normalise(prompt, cast("prompts.Convention", convention))
        with self._lock:
            model = self._model(self.segmentation, "segmentation", progress)
            progress.step("Reading the image")
            key = (
                view.pixel_hash,
                frame,
                model.preprocessing,
                model.card.sha256,
                self.compute.precision,
                "X",
            )
            features = self.cache.get_or_make(key, lambda: self._encode_image(model, view.pixels[frame]))
            progress.step("Reading the sentence")
            network = cast("CausalCLIPSeg", model.network)
            with torch.no_grad():
                tokens = network.tokenize([question.sentence]).to(self.compute.device)
                logits = network.decode(features, network.encode_text(tokens))[0, 0].float().cpu()
            return segment.propose(logits, view, model.card, model.preprocessing, question)

    def describe(self, study: Study, progress: Progress | None = None) -> dict[str, Tensor]:
        """What `outofdistribution` compares: a vector for each view, from the same features as the answer."""
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress or Progress())
            index, _ = classify.assign_views(study)
            hashes = {name: study.views[position].pixel_hash for name, position in index.items()}
            prepared, maps = self._features(model, hashes, study, progress or Progress())
            return {name: outofdistribution.describe(maps[name], prepared[name].frames) for name in index}

    def _model(self, entry: ModelEntry | None, task: str, progress: Progress) -> Loaded:
        if entry is None:
            raise ModelError(
                f"No {task} model is chosen.", "Choose one, or see `napari-clipmed models list`."
            )
        if entry.card.task != task:
            raise ModelError(f"{entry.id!r} is a {entry.card.task} model, not a {task} model.")
        if entry.card.sha256 not in self._loaded:
            progress.step(f"Loading {entry.card.title}")
            self._loaded[entry.card.sha256] = Loaded(entry, self.compute)
            _log.info("model %s on %s in %s", entry.id, self.compute.device, self.compute.precision)
        return self._loaded[entry.card.sha256]

    def _features(
        self, model: Loaded, hashes: Mapping[str, str], study: Study | None, progress: Progress
    ) -> tuple[dict[str, ModelInput], dict[str, Tensor]]:
        """Prepared frames and trunk maps (u, C, h, w) of each view, from the cache where they are known."""
        views = {view.pixel_hash: view for view in study.views} if study is not None else {}
        prepared, maps = {}, {}
        for name, pixel_hash in hashes.items():
            key = (pixel_hash, model.preprocessing, model.card.sha256, self.compute.precision, "trunk")
            known = self.cache.get(key)
            if known is None:
                if pixel_hash not in views:
                    raise ClipmedError("The study of this answer is no longer open.", "Classify it again.")
                known = self._read_view(model, views[pixel_hash], name, progress)
                self.cache.put(key, known)
            prepared[name], maps[name] = known
        return prepared, maps

    def _read_view(
        self, model: Loaded, view: View, name: str, progress: Progress
    ) -> tuple[ModelInput, Tensor]:
        progress.step(f"Preparing {name}")
        invert = view.subtracted and vessels_are_bright(view.pixels)
        prepared = prepare_run(view.pixels, model.preprocessing, invert=invert)
        return prepared, self._trunk(model, prepared, name, progress)

    def _trunk(self, model: Loaded, prepared: ModelInput, name: str, progress: Progress) -> Tensor:
        images = normalise(prepared.frames, model.preprocessing)
        parts = []
        for start in range(0, len(images), FRAMES_AT_ONCE):
            progress.step(f"Reading {name}", start, len(images))
            some = self.compute.send(images[start : start + FRAMES_AT_ONCE])
            with self.compute.running():
                parts.append(cast("ClipDSA", model.network).trunk(some))
        return torch.cat(parts).float().contiguous()

    def _encode_image(self, model: Loaded, pixels: np.ndarray) -> Tensor:
        image = normalise(prepare_film(pixels, model.preprocessing), model.preprocessing)
        with self.compute.running():
            return cast("CausalCLIPSeg", model.network).encode_image(self.compute.send(image[None])).float()

    def _saliency(
        self,
        model: Loaded,
        diagnosis: Diagnosis,
        label: str,
        method: str,
        prepared: dict[str, ModelInput],
        maps: dict[str, Tensor],
    ) -> Saliency:
        placed = {name: maps[name][prepared[name].repeats] for name in maps}
        target = diagnosis.labels.index(label)
        with torch.enable_grad():
            cams = explain.raw_cams(cast("ClipDSA", model.network), placed, target, method)
        # A repeated frame stands at several places with the same map; show it once.
        cams = {n: cam[np.unique(prepared[n].repeats, return_index=True)[1]] for n, cam in cams.items()}
        return Saliency(
            label=label,
            method=method,
            maps=explain.normalise_jointly(cams),
            frames={name: prepared[name].index for name in cams},
            boxes={name: prepared[name].field for name in cams},
        )

    def _strange(
        self, model: Loaded, study: Study, prepared: dict[str, ModelInput], maps: dict[str, Tensor]
    ) -> list[str]:
        """Sentences for everything that lies outside what the model was trained on."""
        found = outofdistribution.plain_rules(study, Kind(model.labels.kind), model.card.simulated_only)
        for name, part in maps.items():
            descriptor = outofdistribution.describe(part, prepared[name].frames)
            score = outofdistribution.strangeness(model.statistics, model.card.calibration, descriptor)
            if score is not None and score > 1:
                found.append(
                    f"The {name} view is unlike the training data ({score:.1f} times the limit); "
                    "do not rely on the probabilities."
                )
        return found


def _answer_key(hashes: Mapping[str, str], card: ModelCard) -> str:
    """What an answer was computed from: the pixels read as each view, and the model."""
    return ",".join(f"{name}={value}" for name, value in hashes.items()) + f":{card.sha256}"


def _read_key(key: str) -> tuple[dict[str, str], str]:
    """The parts of `_answer_key`."""
    views, _, model_hash = key.rpartition(":")
    pairs = (part.partition("=") for part in views.split(","))
    return {name: value for name, _, value in pairs}, model_hash


def _frame_notes(prepared: Mapping[str, ModelInput]) -> list[str]:
    """What happened to the frames of each view on their way to the model."""
    notes = []
    for name, ready in prepared.items():
        if len(ready.index) == 1:
            notes.append(f"{name} is a single frame; there is no course of contrast to judge.")
        if ready.inverted:
            notes.append(f"{name} shows bright vessels; its greys were inverted for the model.")
    return notes
