"""A CLIP that was trained elsewhere, in memory: pictures and sentences in one space, zero-shot answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from threading import RLock
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.cache import FeatureCache
from napari_clipmed.inference.chunks import run_in_chunks
from napari_clipmed.inference.device import Compute, choose_compute
from napari_clipmed.inference.explain import normalise_jointly
from napari_clipmed.inference.features import name_picture
from napari_clipmed.inference.preprocess import (
    ModelInput,
    Preprocessing,
    normalise,
    prepare_run,
    vessels_are_bright,
)
from napari_clipmed.inference.results import Saliency
from napari_clipmed.inference.zero_shot import (
    MISFIT,
    PATCH_TEXT,
    UNCALIBRATED,
    Vector,
    ZeroShotAnswer,
    answer,
    prototypes,
    together,
    warn_alike,
)
from napari_clipmed.models.backbone_list import check_usable, image_side
from napari_clipmed.models.backbone_source import find_source
from napari_clipmed.models.backbones import create_from, tokenizer_of
from napari_clipmed.models.dense import dense_features
from napari_clipmed.models.zero_shot_sets import ZeroShotSet
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study, View, view_names

FRAMES = 16
"""Frames of a run that are read, as in CLIP-DSA."""
CHUNK = 4
"""Pictures at once; small, so that a job can be stopped."""
SENTENCES = 32
"""Sentences at once."""

_KINDS = {Kind.ANGIOGRAM: "cerebral angiogram", Kind.CHEST: "chest film", Kind.OTHER: "study of another kind"}


class Towers:
    """A backbone with its weights, where it computes; safe from any thread.

    Parameters
    ----------
    spec : str
        See `models.backbones`; it must name weights.
    compute : Compute, optional
        Where; default: as `choose_compute` decides.
    cache : FeatureCache, optional
        May be shared: keys carry the fingerprint of the weights.
    progress : Progress, optional
        Told of downloads.

    Raises
    ------
    ModelError
        Unknown, unreadable, or without weights.
    """

    def __init__(
        self,
        spec: str,
        compute: Compute | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> None:
        progress = progress or Progress()
        check_usable(spec)
        progress.step("Looking up the backbone")
        source = find_source(spec, progress=progress)
        self.spec, self.title, self.notes = spec, source.title, source.notes
        progress.step(f"Loading {source.title}")
        model = create_from(source)
        self.tokenize = tokenizer_of(source.local_config)
        self.fingerprint = fingerprint(model)
        self.compute = compute or choose_compute()
        self.model = self.compute.place(model)
        self.temperature = 1.0 / float(cast("Any", model).logit_scale.detach().exp())
        self.preprocessing = Preprocessing(
            size=image_side(cast("Any", self.model).visual),
            n_frames=FRAMES,
            mean=tuple(source.preprocess["mean"]),
            std=tuple(source.preprocess["std"]),
        )
        self.cache = cache if cache is not None else FeatureCache()
        self._lock = RLock()

    def ask(
        self,
        study: Study,
        questions: ZeroShotSet,
        progress: Progress | None = None,
        temperature: float | None = None,
    ) -> ZeroShotAnswer:
        """All findings of a set about a study, in the three ways of `inference.zero_shot`.

        Parameters
        ----------
        temperature : float, optional
            What cosines are divided by; default: the backbone's own. Xplainer's code takes 0.5.
        """
        progress = progress or Progress()
        with self._lock:
            sentences = self.read_sentences(questions.every_sentence(), progress)
            views = {name: self.read_view(view, name, progress) for name, view in _views(study).items()}
        progress.step("Answering")
        pictures = together({name: frames.mean(axis=0) for name, frames in views.items()})
        bank = prototypes(questions, sentences)
        similarity = bank @ bank.T
        notes = [UNCALIBRATED, *self.notes]
        if questions.kind != study.kind:
            asked = (
                _KINDS.get(Kind(questions.kind), questions.kind)
                if questions.kind in set(Kind)
                else questions.kind
            )
            notes.append(MISFIT.format(asked=asked, found=_KINDS[study.kind]))
        if warning := warn_alike(similarity, questions.keys):
            notes.append(warning)
        if study.synthetic:
            notes.append("Simulated study.")
        temperature = temperature or self.temperature
        return ZeroShotAnswer(
            questions=questions,
            findings=answer(questions, pictures, sentences, temperature),
            backbone=self.title,
            fingerprint=self.fingerprint,
            image_hash=study.image_hash,
            similarity=similarity,
            temperature=temperature,
            notes=tuple(notes),
        )

    def compare_sentences(
        self, questions: ZeroShotSet, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Cosines (K, K) of the findings' sentences with each other; no picture is needed."""
        with self._lock:
            bank = prototypes(
                questions, self.read_sentences(questions.every_sentence(), progress or Progress())
            )
        return bank @ bank.T

    def read_sentences(self, texts: Sequence[str], progress: Progress | None = None) -> dict[str, Vector]:
        """Unit vector (d,) of each sentence; those read before are remembered."""
        progress = progress or Progress()
        keys = {text: (self.fingerprint, "sentence", text) for text in texts}
        found = {text: known for text, key in keys.items() if (known := self.cache.get(key)) is not None}
        unknown = [text for text in keys if text not in found]
        model = cast("Any", self.model)
        for start in range(0, len(unknown), SENTENCES):
            progress.step("Reading sentences", start, len(unknown))
            some = unknown[start : start + SENTENCES]
            with self._lock, torch.inference_mode():  # in float32: sentences are few, and lie near each other
                tokens = self.tokenize(some).to(self.compute.device)
                vectors = model.encode_text(tokens, normalize=True).float().cpu().numpy()
            for text, vector in zip(some, vectors, strict=True):
                found[text] = vector
                self.cache.put(keys[text], vector)
        return found

    def read_view(self, view: View, name: str, progress: Progress | None = None) -> NDArray[np.float32]:
        """Unit vectors (t, d) of the sampled frames of a view."""
        with self._lock:
            return self.cache.get_or_make(
                self._key("frames", view), lambda: self.read_run(self._prepare(view), name, progress)
            )

    def read_run(self, ready: ModelInput, name: str, progress: Progress | None = None) -> NDArray[np.float32]:
        """Unit vectors (t, d) of prepared frames."""
        model = cast("Any", self.model)
        with self._lock:
            vectors = self._run(
                lambda images: functional.normalize(model.encode_image(images).float(), dim=-1),
                ready,
                name,
                progress or Progress(),
            )
        return vectors.cpu().numpy()

    def heat(self, study: Study, sentence: str, neutral: str, progress: Progress | None = None) -> Saliency:
        """Where a sentence is nearer to the picture than a neutral one is.

        Parameters
        ----------
        sentence : str
            Any.
        neutral : str
            What is true of every such picture; what is near to both is taken away.

        Returns
        -------
        Saliency
            Relative: the hottest place of all views and frames is 1, whether or not anything is there.

        Raises
        ------
        ClipmedError
            For an empty sentence, or a backbone whose tower does not allow it.
        """
        progress = progress or Progress()
        sentence = sentence.strip()
        if not sentence:
            raise ClipmedError("There is no sentence to look for.", "Type one.")
        with self._lock:
            vectors = self.read_sentences([sentence, neutral], progress)
            wanted = torch.from_numpy(vectors[sentence] - vectors[neutral])
            prepared, maps = {}, {}
            for name, view in _views(study).items():
                ready, places = self._dense(view, name, progress)
                prepared[name], maps[name] = ready, (places @ wanted).numpy()
        middle = np.float32(np.mean([values.mean() for values in maps.values()]))
        return Saliency(
            label=sentence,
            method=PATCH_TEXT,
            maps=normalise_jointly({name: np.maximum(values - middle, 0.0) for name, values in maps.items()}),
            frames={name: ready.index for name, ready in prepared.items()},
            boxes={name: ready.field for name, ready in prepared.items()},
        )

    def _dense(self, view: View, name: str, progress: Progress) -> tuple[ModelInput, Tensor]:
        """The frames that are read, and the unit vectors (t, h, w, d) of their places, remembered."""

        def read() -> tuple[ModelInput, Tensor]:
            ready, visual = self._prepare(view), cast("Any", self.model).visual

            def look(images: Tensor) -> Tensor:
                return functional.normalize(dense_features(visual, images).float(), dim=-1)

            return ready, self._run(look, ready, name, progress).cpu()

        return self.cache.get_or_make(self._key("places", view), read)

    def _key(self, what: str, view: View) -> tuple[str, ...]:
        return (self.fingerprint, what, name_picture(view), self.compute.device, self.compute.precision)

    def _prepare(self, view: View) -> ModelInput:
        invert = view.subtracted and vessels_are_bright(view.pixels)
        return prepare_run(view.pixels, self.preprocessing, invert=invert)

    def _run(self, read: Any, ready: ModelInput, name: str, progress: Progress) -> Tensor:
        """Run a part of the image tower over the frames of a view, a few at a time."""
        images = normalise(ready.frames, self.preprocessing)

        def some(part: Tensor) -> Tensor:
            with self.compute.running():
                return read(part.to(self.compute.device))

        answers, _ = run_in_chunks(
            some, images, CHUNK, lambda done: progress.step(f"Reading {name}", done, len(images))
        )
        return answers


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of all weights of a model, hexadecimal."""
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _views(study: Study) -> Mapping[str, View]:
    return dict(zip(view_names(study), study.views, strict=True))
