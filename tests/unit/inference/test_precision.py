"""The shipped models answer the same in the number format that is chosen for them as in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_studies import bolus, make_study, make_view

from napari_clipmed.inference.engine import Engine
from napari_clipmed.models.registry import default_registry
from napari_clipmed.study import Projection


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    registry = default_registry()
    models = registry.default("diagnosis"), registry.default("segmentation")
    return {name: Engine(*models, device="cpu", precision=name) for name in ("fp32", "bf16", "auto")}


def film(seed: int) -> np.ndarray:
    """Two dark lungs on bright ground, one of them with a bright patch."""
    rows, columns = np.mgrid[:224, :224] / 224
    lungs = sum(np.exp(-(((columns - c) / 0.13) ** 4) - ((rows - 0.5) / 0.32) ** 4) for c in (0.3, 0.7))
    patch = np.exp(-(((columns - 0.3) / 0.09) ** 2) - ((rows - 0.65) / 0.1) ** 2)
    noise = np.random.default_rng(seed).normal(0, 4, (224, 224))
    return np.clip(190 - 140 * lungs + 90 * patch + noise, 0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize("seed", [1, 2])
def test_probabilities_agree_to_a_hundredth(engines: dict[str, Engine], seed: int) -> None:
    views = (
        make_view(bolus(size_of_run, 224, 224, seed + side), name)
        for size_of_run, side, name in ((16, 0, Projection.AP), (20, 10, Projection.LA))
    )
    study = make_study(*views)
    fine, fast = (engines[precision].classify(study) for precision in ("fp32", "auto"))
    for name, answer in fine.probabilities.items():
        assert list(fast.probabilities[name].values()) == pytest.approx(list(answer.values()), abs=0.01)


@pytest.mark.parametrize("prompt", ["lower left lung", "bilateral infection", "upper right lung"])
def test_masks_agree_in_all_but_half_a_percent_of_the_pixels(engines: dict[str, Engine], prompt: str) -> None:
    view = make_view(film(3), Projection.PA, subtracted=False, modality="DX")
    fine, fast = (engines[precision].segment(view, 0, prompt) for precision in ("fp32", "bf16"))
    assert (fine.mask() != fast.mask()).mean() <= 0.005
    assert np.abs(fine.probability - fast.probability).max() < 0.1
    assert fine.probability.std() > 0.01, "a picture that says nothing would agree with everything"


def test_what_is_kept_is_in_the_format_it_was_read_in(engines: dict[str, Engine]) -> None:
    study = make_study(make_view(bolus(4, 224, 224)))
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        engine = engines[precision]
        engine.classify(study)
        kept = [v for k, (v, _) in engine.cache._values.items() if getattr(k, "what", "") == "view"]
        assert {view.maps.dtype for view in kept} == {dtype}
