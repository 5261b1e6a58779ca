"""Studies and tiny models for the inference tests."""

from __future__ import annotations

import json

import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.inference.preprocess import Preprocessing
from napari_clipmed.models.card import ModelCard
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.models.registry import ModelEntry, Registry
from napari_clipmed.shipped import resource
from napari_clipmed.study import (
    Projection,
    Study,
)

SIZE = 64


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def biplane() -> Study:
    return make_study(make_view(bolus(seed=1)), make_view(bolus(seed=2), Projection.LA))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with a tiny diagnosis model of random weights."""
    registry = Registry([tmp_path_factory.mktemp("models")])
    torch.manual_seed(3)
    labels = LabelSet.named("dsa")
    network = ClipDSA("clipmed-tiny", n_labels=len(labels.labels)).eval()
    network.set_label_set(labels)
    registry.register(
        ModelCard(
            id="tiny-dsa",
            title="Tiny CLIP-DSA",
            task="diagnosis",
            architecture="clip-dsa",
            config=network.config,
            label_set=labels.model_dump(mode="json"),
            preprocessing=Preprocessing(size=SIZE).to_card(),
            calibration={"temperature": 2.0},
        ),
        network.state_dict(),
    )
    return registry


@pytest.fixture
def diagnosis_model(registry: Registry) -> ModelEntry:
    return registry.get("tiny-dsa")


@pytest.fixture(scope="session")
def segmentation_model(registry: Registry) -> ModelEntry:
    """A tiny CausalCLIPSeg of random weights."""
    torch.manual_seed(5)
    backbone = json.loads(resource("backbones", "clipmed-tiny.json").read_text()) | {"embed_dim": 64}
    network = CausalCLIPSeg(backbone, upsampling=(2, 2), masker_channels=8).eval()
    card = ModelCard(
        id="tiny-seg",
        title="Tiny CausalCLIPSeg",
        task="segmentation",
        architecture="causal-clipseg",
        config=network.config,
        preprocessing=Preprocessing(size=SIZE).to_card(),
        calibration={"threshold": 0.4},
    )
    return registry.register(card, network.state_dict())
