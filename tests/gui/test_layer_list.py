"""Layers come and go without being chosen or drawn in between, and their thumbnails wait for a rest."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from studies import biplane, chest

from napari_clipmed.gui.layer_list import inserting, remove_in_steps
from napari_clipmed.gui.resting_thumbnails import REST_MS
from napari_clipmed.gui.session import session_for


@pytest.fixture
def viewer(make_napari_viewer_proxy):
    return make_napari_viewer_proxy()


def canvas_of(viewer):
    return viewer.window._qt_viewer.canvas.native


def test_what_is_inserted_is_not_chosen_and_drawn_a_turn_later(viewer, qtbot):
    session = session_for(viewer)
    session.show_study(chest())
    viewer = session.viewer  # not through napari's proxy, which is another object each time
    chosen = viewer.layers.selection.active
    with inserting(viewer) as layers:
        layers.append(Image(np.eye(2)))
        assert not canvas_of(viewer).updatesEnabled()
    assert viewer.layers.selection.active is chosen and not canvas_of(viewer).updatesEnabled()
    qtbot.waitUntil(canvas_of(viewer).updatesEnabled)
    viewer.add_image(np.eye(2))  # elsewhere napari chooses as ever
    assert viewer.layers.selection.active is viewer.layers[-1]


def test_layers_leave_one_by_one_last_first(viewer, qtbot):
    images = [viewer.add_image(n * np.eye(2)) for n in range(2)]
    steps = remove_in_steps(session_for(viewer).viewer, images)
    next(steps)
    assert list(viewer.layers) == [images[0]]
    assert images[1].data.size == 1, "napari keeps the layer for good, but not what was in it"
    next(steps)
    assert not viewer.layers
    assert next(steps, "end") == "end"
    qtbot.waitUntil(canvas_of(viewer).updatesEnabled)


def test_a_closing_that_is_interrupted_is_finished_by_the_next(viewer, qtbot):
    session = session_for(viewer)
    session.show_study(biplane())
    steps = session._closing()
    next(steps)
    next(steps)
    assert session.study is None and viewer.layers
    session.turns.run(steps)
    session.close_study()  # drops the steps
    assert not viewer.layers and not session.turns.busy


def test_thumbnails_follow_when_the_slider_rests(viewer, qtbot):
    session = session_for(viewer)
    session.show_study(biplane())
    qtbot.wait(2 * REST_MS)
    image, made = session.image_layer(0), []
    before = image.thumbnail
    image.events.thumbnail.connect(lambda event: made.append(session.frame_of(0)))
    for frame in (2, 5, 7):
        session.go_to_frame(0, frame)
    assert not made and image.thumbnail is before
    qtbot.waitUntil(lambda: bool(made))
    assert made == [7] and image.thumbnail is not before


def test_the_list_hears_of_a_layer_that_comes_with_a_frame(viewer):
    """Frames are not painted in it, but what another follower of the slider adds must be in it."""
    session = session_for(viewer)
    session.show_study(biplane())
    viewer, rows = session.viewer, session.viewer.window._qt_viewer.layers.model()
    viewer.dims.events.point.connect(lambda event: viewer.add_image(np.eye(2)) and None)
    before = rows.rowCount()
    session.go_to_frame(0, 5)
    assert len(viewer.layers) > before
    assert rows.rowCount() == len(viewer.layers)
