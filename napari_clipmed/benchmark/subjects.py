"""What is measured: models of the papers' size with random weights or the shipped ones, on noise.

Random weights take as long as trained ones; what they answer means nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelCard, ModelEntry
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.loading import load_network
from napari_clipmed.models.registry import Registry, default_registry
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Kind,
    PatientIdentity,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)

CHOICES = ("paper", "shipped")
"""Whose geometry the models have."""

FRAMES = 16


@dataclass(frozen=True)
class Models:
    """A diagnosis and a segmentation model, and what to call them in a table."""

    diagnosis: ModelEntry
    segmentation: ModelEntry
    title: str

    def plain_diagnosis(self, device: str) -> ClipDSA:
        """The network as it comes from its file: float32, eager, nothing folded."""
        return cast("ClipDSA", load_network(self.diagnosis)).to(device).requires_grad_(False)

    def plain_segmentation(self, device: str) -> CausalCLIPSeg:
        """The same for the segmentation model."""
        return cast("CausalCLIPSeg", load_network(self.segmentation)).to(device).requires_grad_(False)


@contextmanager
def subject_models(choice: str) -> Iterator[Models]:
    """The models of a choice; those of the papers' size live in a folder that vanishes afterwards.

    Parameters
    ----------
    choice : "paper" or "shipped"
        CLIP-DSA on RN50 and CausalCLIPSeg on RN101 with random weights, or the shipped compact models.
    """
    if choice == "shipped":
        registry = default_registry()
        diagnosis, segmentation = registry.default("diagnosis"), registry.default("segmentation")
        yield Models(diagnosis, segmentation, f"{diagnosis.id} and {segmentation.id}, as shipped")
        return
    with TemporaryDirectory(prefix="clipmed-benchmark-") as folder:
        registry = Registry([Path(folder)])
        yield Models(
            _paper_diagnosis(registry),
            _paper_segmentation(registry),
            "CLIP-DSA on RN50 and CausalCLIPSeg on RN101 at the papers' sizes, random weights",
        )


def noise_run(seed: int, frames: int = FRAMES, side: int = 224) -> NDArray[np.uint8]:
    """Smooth noise that changes over time, (frames, side, side)."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 200, (frames, -(-side // 8), -(-side // 8)), dtype=np.uint8)
    fine = rng.integers(0, 50, (side, side), dtype=np.uint8)
    return np.repeat(np.repeat(cells, 8, axis=1), 8, axis=2)[:, :side, :side] + fine


def make_view(pixels: NDArray[np.generic], projection: Projection, modality: str = "XA") -> View:
    """A view without a file."""
    return View(
        projection=projection,
        pixels=pixels,
        timing=FrameTiming(250.0 * np.arange(len(pixels), dtype=np.float64), "Frame Time", known=True),
        spacing=PixelSpacing(),
        window=DisplayWindow(0, 255),
        source=Source(path="", modality=modality),
        subtracted=modality == "XA",
    )


def noise_study(seed: int, frames: int = FRAMES, side: int = 224) -> Study:
    """A biplane study; another seed is another patient with other pixels."""
    views = tuple(
        make_view(noise_run(2 * seed + plane, frames, side), projection)
        for plane, projection in enumerate((Projection.AP, Projection.LA))
    )
    identity = PatientIdentity(patient_id=f"benchmark {seed}")
    return Study(views=views, kind=Kind.ANGIOGRAM, identity=identity, synthetic=True)


def _paper_diagnosis(registry: Registry) -> ModelEntry:
    torch.manual_seed(0)
    labels = LabelSet.named("dsa")
    with _quiet():
        network = ClipDSA("RN50-quickgelu", n_labels=len(labels.labels)).eval()
    _wake(network)
    network.set_label_set(labels)
    card = ModelCard(
        id="benchmark-clip-dsa",
        title="CLIP-DSA RN50, random weights",
        task="diagnosis",
        architecture="clip-dsa",
        config=network.config,
        label_set=labels.model_dump(mode="json"),
        preprocessing=Preprocessing().to_card(),
    )
    return registry.register(card, network.state_dict())


def _paper_segmentation(registry: Registry) -> ModelEntry:
    torch.manual_seed(0)
    with _quiet():
        network = CausalCLIPSeg("RN101-quickgelu").eval()
    _wake(network)
    card = ModelCard(
        id="benchmark-causal-clipseg",
        title="CausalCLIPSeg RN101, random weights",
        task="segmentation",
        architecture="causal-clipseg",
        config=network.config,
        preprocessing=Preprocessing(fit="squash").to_card(),
    )
    return registry.register(card, network.state_dict())


def _wake(network: nn.Module) -> None:
    """Weights for the residual branches, which CLIP starts at zero: zeros may be faster than numbers."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warning that the weights are random; here they should be."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
