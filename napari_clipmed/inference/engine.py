"""One engine answers everything: what is it, why, and where; each expensive step is computed once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError, ModelError
from napari_clipmed.inference import classify, outofdistribution, segment
from napari_clipmed.inference.both_ways import asked, decode_films
from napari_clipmed.inference.cache import FeatureCache
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.explain import DEFAULT_METHOD, normalise_jointly, raw_cams, raw_method
from napari_clipmed.inference.features import EncodedFilm, EncodedView, name_picture
from napari_clipmed.inference.loaded import Loaded
from napari_clipmed.inference.precision import settle
from napari_clipmed.inference.prediction_sets import prediction_set
from napari_clipmed.inference.results import BOTH, Diagnosis, MaskProposal, PromptEnsemble, Saliency
from napari_clipmed.models import prompts
from napari_clipmed.models.card import ModelCard, ModelEntry, Task
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study, View

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)


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

    def precision(self, task: Task, progress: Progress | None = None) -> str:
        """The number format that pictures are read in by the model of a task, which is loaded if need be."""
        entry = self.diagnosis if task == "diagnosis" else self.segmentation
        with self._lock:
            return self._model(entry, task, progress or Progress()).compute.precision

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
            pictures = {name: name_picture(study.views[position]) for name, position in index.items()}
            encoded = self._encoded(model, pictures, study, progress)
            progress.step("Answering")
            with torch.inference_mode():
                placed = {name: encoded[name].placed() for name in index}
                answers, attention, features = classify.answer(model.clip_dsa, placed, model.card.calibration)
            strange = self._strange(model, study, encoded)
            notes += _frame_notes(encoded) + strange
            if study.synthetic:
                notes.append("Simulated study.")
            key = _answer_key(pictures, model.card)
            self._studies[key] = study
            labels = model.labels
        probabilities = {n: dict(zip(labels.keys, map(float, p), strict=True)) for n, p in answers.items()}
        head = BOTH if BOTH in probabilities else next(iter(probabilities))
        return Diagnosis(
            labels=labels.keys,
            titles=labels.titles,
            probabilities=probabilities,
            attention={n: classify.view_attention(w, encoded[n].prepared) for n, w in attention.items()},
            view_index=index,
            model_id=model.card.id,
            image_hash=study.image_hash,
            notes=tuple(notes),
            unlike_training=bool(strange),
            key=key,
            model_version=model.card.sha256,
            embedding=features,
            possible=prediction_set(probabilities[head], model.card.calibration, head),
        )

    def explain(
        self,
        diagnosis: Diagnosis,
        label: str,
        method: str = DEFAULT_METHOD,
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
        return self._explain(diagnosis, (label,), method, progress or Progress())[label]

    def explain_all(
        self, diagnosis: Diagnosis, method: str = DEFAULT_METHOD, progress: Progress | None = None
    ) -> dict[str, Saliency]:
        """`explain` for every label, after one forward pass of the head."""
        return self._explain(diagnosis, diagnosis.labels, method, progress or Progress())

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
        return self.segment_many(view, frame, (prompt,), convention, progress)[0]

    def segment_many(
        self,
        view: View,
        frame: int,
        sentences: Sequence[str],
        convention: str = "picture",
        progress: Progress | None = None,
    ) -> list[MaskProposal]:
        """`segment` for several sentences at once, in their order: one reading, one product for all."""
        questions = [prompts.normalise(text, cast("prompts.Convention", convention)) for text in sentences]
        if not questions:
            return []
        with self._lock:
            model = self._model(self.segmentation, "segmentation", progress or Progress())
            wordings = [question.sentence for question in questions]
            logits = self._decode(model, view, frame, wordings, progress or Progress())
            pairs = zip(logits, questions, strict=True)
            return [segment.propose(one, view, model.card, model.preprocessing, q) for one, q in pairs]

    def segment_ensemble(
        self,
        view: View,
        frame: int,
        prompt: str,
        convention: str = "picture",
        progress: Progress | None = None,
    ) -> PromptEnsemble:
        """How much a mask hangs on the wording: the same question in several, their mean and their spread.

        Parameters and errors are those of `segment`; the frame is not read again.
        """
        question = prompts.normalise(prompt, cast("prompts.Convention", convention))
        with self._lock:
            model = self._model(self.segmentation, "segmentation", progress or Progress())
            wordings = question.wordings
            logits = self._decode(model, view, frame, wordings, progress or Progress())
            return segment.agree(logits, view, model.card, model.preprocessing, question)

    def embed_sentences(
        self, sentences: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Unit vectors (n, d) of sentences by the text tower, in the space of `Diagnosis.embedding`."""
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress or Progress())
            return model.clip_dsa.read_sentences(list(sentences)).cpu().numpy()

    def read_ahead(self, study: Study, progress: Progress | None = None) -> None:
        """Read what the next questions about a study will need, into the cache.

        Of an angiogram that is all of it, for the diagnosis model; of a film its picture, for sentences.
        Without a model for it nothing is read.
        """
        progress = progress or Progress()
        with self._lock:
            if study.kind is Kind.CHEST and self.segmentation is not None:
                model, view = self._model(self.segmentation, "segmentation", progress), study.views[0]
                self._film(model, view, 0, progress)
            elif study.kind is not Kind.CHEST and self.diagnosis is not None:
                self._views_of(self._model(self.diagnosis, "diagnosis", progress), study, progress)

    def describe(self, study: Study, progress: Progress | None = None) -> dict[str, Tensor]:
        """What `outofdistribution` compares: a vector for each view, from the same features as the answer."""
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress or Progress())
            _, encoded = self._views_of(model, study, progress or Progress())
            return {name: _describe(part) for name, part in encoded.items()}

    def _model(self, entry: ModelEntry | None, task: str, progress: Progress) -> Loaded:
        if entry is None:
            raise ModelError(
                f"No {task} model is chosen.", "Choose one, or see `napari-clipmed models list`."
            )
        if entry.card.task != task:
            raise ModelError(f"{entry.id!r} is a {entry.card.task} model, not a {task} model.")
        if entry.card.sha256 not in self._loaded:
            progress.step(f"Loading {entry.card.title}")
            compute = settle(entry, self.compute, progress) if task == "diagnosis" else self.compute
            self._loaded[entry.card.sha256] = Loaded(entry, compute)
            _log.info("model %s on %s in %s", entry.id, compute.device, compute.precision)
        return self._loaded[entry.card.sha256]

    def _views_of(
        self, model: Loaded, study: Study, progress: Progress
    ) -> tuple[dict[str, int], dict[str, EncodedView]]:
        """Which views are read, and what the network has read of them."""
        index, _ = classify.assign_views(study)
        pictures = {name: name_picture(study.views[position]) for name, position in index.items()}
        return index, self._encoded(model, pictures, study, progress)

    def _film(self, model: Loaded, view: View, frame: int, progress: Progress) -> EncodedFilm:
        """What a segmentation network has read of one frame, from the cache where it is known."""
        progress.step("Reading the image")
        key = model.key("film", name_picture(view), frame)
        return self.cache.get_or_make(key, lambda: model.read_film(view, frame))

    def _encoded(
        self, model: Loaded, pictures: Mapping[str, str], study: Study | None, progress: Progress
    ) -> dict[str, EncodedView]:
        """What the network has read of each view, from the cache where it is known."""
        views = {name_picture(view): view for view in study.views} if study is not None else {}
        encoded = {}
        for name, picture in pictures.items():
            key = model.key("view", picture)
            known = self.cache.get(key)
            if known is None:
                if picture not in views:
                    raise ClipmedError("The study of this answer is no longer open.", "Classify it again.")
                known = model.read_view(views[picture], name, progress)
                self.cache.put(key, known)
            encoded[name] = known
        return encoded

    def _explain(
        self, diagnosis: Diagnosis, labels: Sequence[str], method: str, progress: Progress
    ) -> dict[str, Saliency]:
        for label in labels:
            if label not in diagnosis.labels:
                raise ClipmedError(f"There is no label {label!r}.", f"Labels: {', '.join(diagnosis.labels)}.")
        raw_method(method)
        with self._lock:
            model = self._model(self.diagnosis, "diagnosis", progress)
            pictures, model_hash = _read_key(diagnosis.key)
            if model_hash != model.card.sha256:
                raise ClipmedError("This answer is of another model.", "Classify the study again.")
            keys = {label: (diagnosis.key, label, method, "saliency") for label in labels}
            found = {label: known for label in labels if (known := self.cache.get(keys[label])) is not None}
            missing = [label for label in labels if label not in found]
            if missing:
                encoded = self._encoded(model, pictures, self._studies.get(diagnosis.key), progress)
                progress.step("Explaining")
                targets = [diagnosis.labels.index(label) for label in missing]
                placed = {name: part.placed() for name, part in encoded.items()}
                cams = raw_cams(model.clip_dsa, placed, targets, method)
                for row, label in enumerate(missing):
                    own = {name: cams[name][row] for name in cams}
                    found[label] = _saliency(label, method, own, encoded)
                    self.cache.put(keys[label], found[label])
        return {label: found[label] for label in labels}

    def _decode(
        self, model: Loaded, view: View, frame: int, sentences: Sequence[str], progress: Progress
    ) -> Tensor:
        """Logits (n, h, w) of sentences on one frame, float32 on the CPU; what is known is not read."""
        if not 0 <= frame < view.n_frames:
            raise ClipmedError(f"There is no frame {frame + 1}; this view has {view.n_frames}.")
        film = self._film(model, view, frame, progress)
        progress.step("Reading the sentence")
        network = model.causal_clipseg
        wanted = asked(sentences, model.preprocessing)
        vectors = {text: self.cache.get((model.card.sha256, text, "sentence")) for text in wanted}
        unknown = [text for text, vector in vectors.items() if vector is None]
        with torch.inference_mode():
            if unknown:
                tokens = network.tokenize(unknown).to(self.compute.device)
                for text, vector in zip(unknown, network.encode_text(tokens), strict=True):
                    vectors[text] = vector
                    self.cache.put((model.card.sha256, text, "sentence"), vector)
            tau = torch.stack([cast("Tensor", vectors[text]) for text in wanted])
            return decode_films(network, film.features, tau, model.preprocessing)[:, 0].float().cpu()

    def _strange(self, model: Loaded, study: Study, encoded: Mapping[str, EncodedView]) -> list[str]:
        """Sentences for everything that lies outside what the model was trained on."""
        found = outofdistribution.plain_rules(study, Kind(model.labels.kind), model.card.simulated_only)
        for name, part in encoded.items():
            descriptor = _describe(part)
            score = outofdistribution.strangeness(model.statistics, model.card.calibration, descriptor)
            if score is not None and score > 1:
                found.append(
                    f"The {name} view is unlike the training data ({score:.1f} times the limit); "
                    "do not rely on the probabilities."
                )
        return found


def _describe(encoded: EncodedView) -> Tensor:
    return outofdistribution.describe(encoded.maps, encoded.prepared.frames)


def _saliency(
    label: str, method: str, cams: Mapping[str, NDArray[np.float32]], encoded: Mapping[str, EncodedView]
) -> Saliency:
    """Maps of the places as maps of frames: a repeated frame has the same map at each place, shown once."""
    prepared = {name: encoded[name].prepared for name in cams}
    shown = {n: cam[np.unique(prepared[n].repeats, return_index=True)[1]] for n, cam in cams.items()}
    return Saliency(
        label=label,
        method=method,
        maps=normalise_jointly(shown),
        frames={name: part.index for name, part in prepared.items()},
        boxes={name: part.field for name, part in prepared.items()},
    )


def _answer_key(pictures: Mapping[str, str], card: ModelCard) -> str:
    """What an answer was computed from: the picture read as each view, and the model."""
    return ",".join(f"{name}={value}" for name, value in pictures.items()) + f":{card.sha256}"


def _read_key(key: str) -> tuple[dict[str, str], str]:
    """The parts of `_answer_key`."""
    views, _, model_hash = key.rpartition(":")
    pairs = (part.partition("=") for part in views.split(","))
    return {name: value for name, _, value in pairs}, model_hash


def _frame_notes(encoded: Mapping[str, EncodedView]) -> list[str]:
    """What happened to the frames of each view on their way to the model."""
    notes = []
    for name, part in encoded.items():
        ready = part.prepared
        if len(ready.index) == 1:
            notes.append(f"{name} is a single frame; there is no course of contrast to judge.")
        if ready.inverted:
            notes.append(f"{name} shows bright vessels; its greys were inverted for the model.")
    return notes
