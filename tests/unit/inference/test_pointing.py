"""The pointing game on maps made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.inference.pointing import energy_in_lesion, pointing_game
from napari_clipmed.inference.results import Saliency


def _saliency(cell: tuple[int, int, int], box=None) -> Saliency:
    maps = np.zeros((3, 4, 4), np.float32)
    maps[cell] = 1.0
    boxes = {"AP": box} if box else {}
    return Saliency("MMD", "gradcam", {"AP": maps}, {"AP": np.array([0, 5, 9])}, boxes)


def _lesion(rows: slice, columns: slice) -> dict[str, np.ndarray]:
    mask = np.zeros((40, 40), bool)
    mask[rows, columns] = True
    return {"AP": mask}


def test_peak_on_the_lesion_is_a_hit_in_the_original_frame() -> None:
    pointing = pointing_game(_saliency((1, 0, 3)), _lesion(slice(2, 6), slice(32, 36)))
    assert pointing.hit
    assert (pointing.frame, pointing.row, pointing.column) == (5, 5.0, 35.0)


def test_peak_elsewhere_is_a_miss() -> None:
    assert not pointing_game(_saliency((1, 3, 0)), _lesion(slice(2, 6), slice(32, 36))).hit


def test_lesion_within_the_peak_cell_is_a_hit_and_beyond_it_a_miss() -> None:
    assert pointing_game(_saliency((0, 0, 0)), _lesion(slice(9, 10), slice(9, 10))).hit
    assert not pointing_game(_saliency((0, 0, 0)), _lesion(slice(14, 15), slice(14, 15))).hit


def test_padding_of_the_preprocessing_moves_the_cell() -> None:
    # The map covers a square of 80 around a 40-wide picture: its first column lies outside, at -20…0.
    pointing = pointing_game(
        _saliency((0, 0, 1), (0.0, -20.0, 40.0, 60.0)), _lesion(slice(3, 8), slice(8, 12))
    )
    assert (pointing.row, pointing.column) == (5.0, 10.0)
    assert pointing.hit


def test_empty_lesion_is_never_hit_and_unknown_views_are_an_error() -> None:
    assert not pointing_game(_saliency((0, 0, 0)), _lesion(slice(0, 0), slice(0, 0))).hit
    with pytest.raises(ValueError, match="true mask"):
        pointing_game(_saliency((0, 0, 0)), {"LA": np.ones((4, 4), bool)})


def test_energy_is_the_share_of_the_map_in_cells_that_the_lesion_reaches() -> None:
    # Cells of 10 pixels; the lesion fills the second cell of the first row and reaches no other centre.
    lesion = _lesion(slice(3, 7), slice(13, 17))
    saliency = _saliency((0, 0, 1))
    assert energy_in_lesion(saliency, lesion).inside == pytest.approx(1.0)
    saliency.maps["AP"][1, 3, 3] = 0.5
    saliency.maps["AP"][2, 0, 1] = 0.5
    energy = energy_in_lesion(saliency, lesion)
    assert energy.inside == pytest.approx(1.5 / 2.0)
    assert energy.even == pytest.approx(1 / 16)


def test_energy_counts_both_views_and_an_even_map_scores_the_even_share() -> None:
    even = np.full((3, 4, 4), 0.3, np.float32)
    frames = {"AP": np.arange(3), "LA": np.arange(3)}
    saliency = Saliency("MMD", "gradcam", {"AP": even, "LA": even}, frames)
    lesions = _lesion(slice(3, 7), slice(13, 17)) | {"LA": np.zeros((40, 40), bool)}
    energy = energy_in_lesion(saliency, lesions)
    assert energy.inside == pytest.approx(energy.even) == pytest.approx(1 / 32)
    blank = Saliency("MMD", "gradcam", {"AP": 0 * even}, {"AP": np.arange(3)})
    assert energy_in_lesion(blank, lesions).inside == 0.0
    with pytest.raises(ValueError, match="true mask"):
        energy_in_lesion(blank, {})
