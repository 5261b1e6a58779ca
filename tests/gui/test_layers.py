"""Placement, names, clocks and words: everything about views that needs no window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import biplane, chest, make_view

from napari_clipmed.gui.cam_overlay import cam_layer, heat_colormap, nearest_sample
from napari_clipmed.gui.grey_scale import window_presets
from napari_clipmed.gui.layers import (
    TAG,
    LayerTag,
    Role,
    contrast_limits,
    describe_angles,
    image_layer,
    labels_layer,
    place_views,
    reachable_frames,
)
from napari_clipmed.gui.study_words import identity_line, reading_line, size_line, time_line, warnings_of
from napari_clipmed.gui.time_base import time_in_ms
from napari_clipmed.study import DisplayWindow, PatientIdentity, Projection, Study, view_names


def test_a_view_hangs_on_the_side_of_its_projection_and_keeps_its_place_in_the_study():
    study = biplane()
    swapped = study.with_view(0, study.views[0].relabelled(Projection.LA))
    swapped = swapped.with_view(1, swapped.views[1].relabelled(Projection.AP))
    la, ap = place_views(swapped)
    assert ap.box[3] < la.box[1]
    assert (la.n_shown, ap.n_shown) == tuple(place.n_shown for place in place_views(study))


def test_views_lie_side_by_side_and_never_overlap():
    ap, la = place_views(biplane())
    assert ap.box[3] < la.box[1]
    assert (ap.box[0] + ap.box[2]) / 2 == pytest.approx((la.box[0] + la.box[2]) / 2)
    assert ap.units == la.units == ("ms", "mm", "mm")
    assert (ap.scale[0], la.scale[0]) == (250.0, 200.0)


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from([33.0, 100.0, 133.0, 200.0, 250.0])),
        min_size=1,
        max_size=3,
    )
)
def test_the_slider_reaches_every_frame_of_every_view(runs):
    n_frames, intervals = [n for n, _ in runs], [interval for _, interval in runs]
    shown = reachable_frames(n_frames, intervals)
    step, last = min(intervals), max((n - 1) * i for n, i in zip(shown, intervals, strict=True))
    ticks = np.arange(int(last / step + 1e-9) + 1) * step
    for n, interval, n_shown in zip(n_frames, intervals, shown, strict=True):
        assert n_shown >= n
        assert set(range(n)) <= set(np.round(ticks / interval).astype(int))


def test_blank_frames_are_added_only_where_needed():
    assert reachable_frames([8, 6], [250.0, 200.0]) == [8, 10]
    assert reachable_frames([16, 12], [250.0, 250.0]) == [16, 12]
    assert reachable_frames([16, 16], [250.0, 249.9]) == [16, 16]


def test_a_plane_that_begins_later_stands_later_on_the_slider():
    late = make_view(Projection.LA, times_ms=510 + 250.0 * np.arange(8))
    ap, la = place_views(biplane(views=(make_view(Projection.AP), late)))
    assert (ap.translate[0], la.translate[0]) == (0.0, 500.0)
    assert (ap.n_shown, la.n_shown) == (8, 8)
    assert reachable_frames([8, 6], [250.0, 200.0], [0.0, 400.0]) == [8, 8]


def test_different_matrices_are_physically_equal():
    views = (make_view(Projection.AP, size=64, mm=0.25), make_view(Projection.LA, size=32, mm=0.5))
    ap, la = place_views(biplane(views=views))
    assert ap.box[2] - ap.box[0] == pytest.approx(la.box[2] - la.box[0])


@pytest.mark.parametrize(
    ("changed", "units"),
    [
        ({"known": False}, ("pixel", "mm", "mm")),
        ({"times_ms": [0, 100, 250, 900, 1000, 1100, 1200, 1300]}, ("pixel", "mm", "mm")),
        ({"mm": 0}, ("ms", "pixel", "pixel")),
    ],
)
def test_units_are_claimed_only_when_every_view_knows_them(changed, units):
    study = biplane(views=(make_view(Projection.AP, **changed), make_view(Projection.LA)))
    assert {place.units for place in place_views(study)} == {units}
    assert time_in_ms(study) is (units[0] == "ms")


def test_names_are_unique_and_speak():
    kinds = (Projection.AP, Projection.LA, Projection.LA, Projection.UNKNOWN)
    study = Study(tuple(make_view(kind) for kind in kinds), biplane().kind)
    assert view_names(study) == ("AP", "LA", "LA 2", "View 4")
    assert describe_angles(study.views[0]) == "0° / CRA 15°"
    assert describe_angles(study.views[1]) == "LAO 90° / 0°"


def test_every_layer_carries_tag_units_labels_and_its_own_window():
    study = biplane()
    place = place_views(study)[1]
    image = image_layer(study.views[1], 1, "LA", place, study.image_hash)
    mask = labels_layer(image, "LA mask")
    assert image.metadata[TAG] == LayerTag(Role.IMAGE, 1, study.image_hash, Projection.LA)
    assert mask.metadata[TAG].role is Role.LABELS
    assert image.contrast_limits == [80.0, 220.0]
    assert image.axis_labels == mask.axis_labels == ("time", "y", "x")
    assert [str(unit) for unit in mask.units] == ["millisecond", "millimeter", "millimeter"]
    np.testing.assert_allclose(mask.translate, image.translate)
    assert contrast_limits(DisplayWindow(7, 7)) == (7.0, 8.0)


@given(st.integers(1, 60), st.lists(st.integers(0, 59), min_size=1, max_size=16))
def test_between_samples_the_nearest_map_is_shown(n_frames, frames):
    frames = np.minimum(frames, n_frames - 1)
    chosen = frames[nearest_sample(n_frames, frames)]
    for frame in range(n_frames):
        assert abs(chosen[frame] - frame) == np.abs(frames - frame).min()


def test_heat_is_transparent_at_zero_and_lies_where_the_model_looked():
    colours = heat_colormap().map(np.array([0.0, 0.05, 0.5, 1.0]))
    assert colours[0, 3] == colours[1, 3] == 0
    assert 0 < colours[2, 3] < colours[3, 3] < 1
    study = biplane()
    place = place_views(study)[1]
    maps = np.random.default_rng(1).random((2, 7, 7)).astype(np.float32)
    box = (0.0, -8.0, 32.0, 40.0)
    layer = cam_layer(maps, np.array([0, 5]), 6, place, box, LayerTag(Role.CAM, 1, "h"), "LA CAM")
    assert str(layer.blending) == "translucent_no_depth"
    low = layer.translate[1:] - np.array(layer.scale[1:]) / 2
    high = low + np.array(layer.data.shape[1:]) * layer.scale[1:]
    # Nothing is drawn beside the picture, into which the model's wider square does not fit.
    np.testing.assert_allclose([*low, *high], place.box, atol=layer.scale[2] / 2)
    finer = layer.data.shape[1] // 7
    columns = (low[1] - place.box[1] + 8 * 0.5) / layer.scale[2]
    assert columns == pytest.approx(round(columns)), "whole cells were left out"
    middles = np.arange(finer // 2, 7 * finer, finer) - round(columns)
    inside = (middles >= 0) & (middles < layer.data.shape[2])
    np.testing.assert_allclose(
        layer.data[0, finer // 2 :: finer][:, middles[inside]], maps[0][:, inside], atol=1e-6
    )
    assert 0 < inside.sum() < 7


def test_words_of_the_study():
    study = biplane()
    assert time_line(study.views[0]) == "8 frames in 1.75 s, 4.0 fps (Frame Time)"
    assert "0.5 mm (at the detector, uncalibrated)" in size_line(study.views[0])
    assert "lengths in pixels" in size_line(make_view(Projection.AP, mm=0))
    assert time_line(chest().views[0]) == "single frame"
    guesses = study.views[0].guesses
    assert reading_line(guesses, "projection", "Projection", "AP") == "Projection: AP (positioner angles)"
    assert reading_line(guesses, "kind", "Examination", "angiogram") == (
        "Examination: angiogram (as the file says)"
    )
    assert identity_line(PatientIdentity()) == ""
    assert identity_line(study.identity) == "DOE^JANE  ·  4711"
    assert warnings_of(biplane(warnings=("odd",)), ("AP", "LA")) == ["odd"]


def test_window_presets_begin_with_the_recommended_one():
    presets = window_presets(make_view(Projection.AP))
    assert (presets[0].low, presets[0].high) == (80, 220)
    narrow, wide = (next(p for p in presets if p.name == n) for n in ("more contrast", "less contrast"))
    assert wide.low < 80 < narrow.low < narrow.high < 220 < wide.high
