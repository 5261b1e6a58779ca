"""The outline of a hot spot, on maps made by hand."""

from __future__ import annotations

import numpy as np

from napari_clipmed.inference.hot_region import hot_region
from napari_clipmed.inference.results import Saliency


def _saliency(box=None) -> Saliency:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[1, 1, 2] = 1.0
    return Saliency("IA", "gradcam", {"AP": maps}, {"AP": np.array([0, 8])}, {"AP": box} if box else {})


def test_outline_lies_around_the_hot_cell() -> None:
    mask = hot_region(_saliency(), "AP", 8, (40, 40))
    rows, columns = np.nonzero(mask)
    assert (round(rows.mean()), round(columns.mean())) == (14, 24)
    assert 40 < mask.sum() < 160


def test_frames_between_take_the_nearest_sample() -> None:
    assert hot_region(_saliency(), "AP", 5, (40, 40)).any()
    assert not hot_region(_saliency(), "AP", 3, (40, 40)).any()


def test_padding_is_cut_away() -> None:
    mask = hot_region(_saliency((0.0, -20.0, 40.0, 60.0)), "AP", 8, (40, 40))
    assert mask.shape == (40, 40)
    assert abs(np.nonzero(mask)[1].mean() - 29.5) < 1


def test_higher_threshold_gives_a_smaller_mask() -> None:
    wide = hot_region(_saliency(), "AP", 8, (40, 40), threshold=0.2)
    assert hot_region(_saliency(), "AP", 8, (40, 40), threshold=0.8).sum() < wide.sum()
