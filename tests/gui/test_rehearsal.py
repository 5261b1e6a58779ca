"""First-time work is done on an empty canvas before a person waits for it, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_clipmed.gui.rehearsal import LETTERS, rehearse
from napari_clipmed.gui.turns import Turns


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any]) -> Any:
    return make_napari_viewer_proxy(show=True)


def test_every_kind_of_layer_comes_and_goes(viewer: Any) -> None:
    seen: list[str] = []
    for _ in rehearse(viewer):
        layer = viewer.layers[-1]
        seen.append(layer.as_layer_data_tuple()[2])
        assert layer.opacity == 0.0
    assert seen[:5] == ["image", "image", "labels", "shapes", "points"]
    assert set(seen[5:]) == {"points"}, "the letters come last, a few in each turn"
    assert len(seen) > 5 + len(LETTERS) // 4
    assert len(viewer.layers) == 0


def test_a_canvas_in_use_is_left_alone(viewer: Any) -> None:
    mine = viewer.add_image(np.zeros((4, 4)))
    assert not list(rehearse(viewer))
    assert list(viewer.layers) == [mine]


def test_a_layer_that_comes_meanwhile_ends_it_and_stays(viewer: Any) -> None:
    steps = rehearse(viewer)
    next(steps)
    mine = viewer.add_image(np.zeros((4, 4)))
    assert not list(steps)
    assert list(viewer.layers) == [mine]


def test_a_hidden_window_draws_nothing_and_rehearses_nothing(
    make_napari_viewer_proxy: Callable[..., Any],
) -> None:
    assert not list(rehearse(make_napari_viewer_proxy(show=False)))


def test_turns_that_are_dropped_are_tidied_up(viewer: Any, qtbot: Any) -> None:
    turns = Turns()
    turns.run(rehearse(viewer))
    qtbot.waitUntil(lambda: len(viewer.layers) >= 1)
    turns.drop()
    assert len(viewer.layers) == 0
    assert not turns.busy
