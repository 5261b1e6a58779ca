"""A study, an engine and a registry that answer at once, so that docks can be driven without networks."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.results import Diagnosis, MaskProposal, PromptEnsemble, Saliency, ViewAttention
from napari_clipmed.models.card import CARD_FILE, WEIGHTS_FILE, ModelCard
from napari_clipmed.models.registry import Registry
from napari_clipmed.progress import Progress
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)

LABELS = ("Control", "MMD", "IA", "AM", "AS")
TITLES = (
    "Control",
    "Moyamoya disease",
    "Intracranial aneurysm",
    "Arteriovenous malformation",
    "Arterial stenosis",
)
PROBABILITIES = {
    "AP": (0.05, 0.81, 0.04, 0.02, 0.08),
    "LA": (0.03, 0.88, 0.02, 0.01, 0.06),
    "both": (0.02, 0.86, 0.03, 0.01, 0.08),
}


def run(projection: Projection, frames: int = 20, size: int = 64, interval_ms: float = 250.0) -> View:
    """A bright field in which a dark wave passes."""
    y, x = np.mgrid[0:size, 0:size] / size
    pixels = np.empty((frames, size, size), dtype=np.uint8)
    for t in range(frames):
        wave = np.exp(-(((t / frames) - y) ** 2) / 0.02) * (np.abs(np.sin(9 * x + 4 * y)) > 0.9)
        pixels[t] = 220 - 170 * wave
    pixels[0, 0, 0] = 3 if projection is Projection.AP else 7
    times = np.arange(frames) * interval_ms
    return View(
        projection,
        pixels,
        FrameTiming(times, "Frame Time", True),
        PixelSpacing(),
        DisplayWindow(0, 255),
        Source("phantom.dcm"),
        subtracted=True,
    )


def biplane(title: str = "Phantom 0042, left ICA", **changes) -> Study:
    views = (run(Projection.AP), run(Projection.LA, frames=16, interval_ms=300.0))
    return Study(views, Kind.ANGIOGRAM, title=title, synthetic=True, **changes)


def film(size: int = 96) -> Study:
    y, x = np.mgrid[0:size, 0:size] / size
    lungs = np.exp(-((x - 0.3) ** 2 + (y - 0.5) ** 2) / 0.03) + np.exp(
        -((x - 0.7) ** 2 + (y - 0.5) ** 2) / 0.03
    )
    pixels = (200 - 120 * np.clip(lungs, 0, 1)).astype(np.uint8)[None]
    view = View(
        Projection.PA,
        pixels,
        FrameTiming(np.zeros(1), "single frame", True),
        PixelSpacing(),
        DisplayWindow(0, 255),
        Source("film.dcm"),
    )
    return Study((view,), Kind.CHEST, title="Chest phantom 7", synthetic=True)


class FakeEngine:
    """Answers by rule, remembers what it was asked and on which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.threads: set[threading.Thread] = set()
        self.fail_with: Exception | None = None
        self.slow = 0.0

    def _enter(self, name: str, what: object, progress: Progress) -> None:
        self.calls.append((name, what))
        self.threads.add(threading.current_thread())
        for i in range(8):
            progress.step(f"{name} {what}", i + 1, 8)
            time.sleep(self.slow / 8)
        if self.fail_with is not None:
            raise self.fail_with

    def asked(self, name: str) -> list[object]:
        return [what for called, what in self.calls if called == name]

    def classify(self, study: Study, progress: Progress) -> Diagnosis:
        self._enter("classify", study.title, progress)
        names = [v.projection.value for v in study.views]
        keys = [*names, "both"] if len(names) > 1 else names
        return Diagnosis(
            LABELS,
            TITLES,
            {
                key: dict(zip(LABELS, PROBABILITIES.get(key, PROBABILITIES["AP"]), strict=True))
                for key in keys
            },
            {name: _attention(study.views[i].n_frames, i) for i, name in enumerate(names)},
            {name: i for i, name in enumerate(names)},
            "clip-dsa-compact",
            study.image_hash,
            notes=() if len(names) > 1 else ("Only the AP view is there; the answer is that of AP alone.",),
            key=study.image_hash[:8],
        )

    def explain(self, diagnosis: Diagnosis, label: str, method: str, progress: Progress) -> Saliency:
        self._enter("explain", (label, method), progress)
        frames = {name: a.frames for name, a in diagnosis.attention.items()}
        maps = {name: _blobs(len(f), LABELS.index(label)) for name, f in frames.items()}
        return Saliency(label, method, maps, frames)

    def segment(
        self,
        view: View,
        frame: int,
        prompt: str,
        convention: str = "picture",
        progress: Progress | None = None,
    ) -> MaskProposal:
        self._enter("segment", (prompt, frame, convention), progress or Progress())
        words = prompt.split()
        if not words:
            raise ClipmedError("The prompt is empty.", "Type a sentence, for example a preset.")
        if len(words) > 200:
            raise ClipmedError(f"The prompt has {len(words)} words.", "The model reads up to 77 word pieces.")
        h, w = view.pixels.shape[1:]
        y, x = np.mgrid[0:h, 0:w] / (h, w)[0]
        right = ("right" in prompt) != (convention == "patient")
        probability = np.exp(-((x - (0.7 if right else 0.3)) ** 2 + (y - 0.5) ** 2) / 0.02)
        sentence = prompt
        if convention == "patient":
            sentence = prompt.replace("left", "~").replace("right", "left").replace("~", "right")
        return MaskProposal(
            probability.astype(np.float32),
            prompt,
            sentence,
            convention,
            "causal-clipseg-compact",
            view.pixel_hash,
            score=0.83,
        )

    def segment_ensemble(
        self, view: View, frame: int, prompt: str, convention: str, progress: Progress
    ) -> PromptEnsemble:
        self._enter("ensemble", (prompt, frame, convention), progress)
        proposal = self.segment(view, frame, prompt, convention, progress)
        wordings = (prompt, f"infection, {prompt}", f"lung, {prompt}")
        return PromptEnsemble(proposal, 0.2 * proposal.probability, wordings)


def _attention(frames: int, shift: int) -> ViewAttention:
    index = np.round(np.linspace(0, frames - 1, 16)).astype(np.int64)
    weights = 0.02 + np.exp(-((np.arange(16) - 6 - shift) ** 2) / 6)
    return ViewAttention((weights / weights.sum()).astype(np.float32), index)


def _blobs(n: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[0:7, 0:7]
    strength = 0.1 + 0.9 * np.exp(-((np.arange(n) - 7) ** 2) / 8)
    blob = np.exp(-((x - 2 - seed % 3) ** 2 + (y - 3) ** 2) / 2)
    return (strength[:, None, None] * blob).astype(np.float32)


def registry_with(root: Path, **models: str) -> Registry:
    """A registry of cards without networks: ``registry_with(path, **{"id": "diagnosis"})``."""
    for model_id, task in models.items():
        folder = root / model_id
        folder.mkdir(parents=True, exist_ok=True)
        card = ModelCard(
            id=model_id,
            title=model_id.replace("-", " ").capitalize(),
            task=task,
            architecture="clip-dsa" if task == "diagnosis" else "causal-clipseg",
            config={},
            data="simulated studies",
            metrics={"auc": 0.93},
        )
        (folder / CARD_FILE).write_text(card.model_dump_json())
        (folder / WEIGHTS_FILE).write_bytes(b"")
    return Registry([root])
