"""Letters are there before the words that need them, and are drawn once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_clipmed.gui import lettering
from napari_clipmed.gui.lettering import draw_letters


@pytest.fixture
def font(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What napari's fonts draw from now on."""
    from napari._vispy.utils.qt_font import QtTextureFont

    drawn: list[str] = []
    load = QtTextureFont._load_char
    monkeypatch.setattr(
        QtTextureFont, "_load_char", lambda self, letter: (drawn.append(letter), load(self, letter))[1]
    )
    return drawn


def test_a_study_draws_its_letters_before_its_words(
    make_napari_viewer_proxy: Callable[..., Any], font: list[str], qtbot: Any
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.canvas.overlays.text.text = "Simulated"
    list(draw_letters(viewer, ["Simul", "ated"]))
    assert sorted(font) == sorted(set("Simulated"))
    viewer.canvas.overlays.text.visible = True
    viewer.window._qt_viewer.canvas.native.grabFramebuffer()
    assert len(font) == len(set(font)), "the canvas draws the letters of others only"
    assert not list(draw_letters(viewer, ["mul"]))


def test_a_turn_ends_after_some_letters(
    make_napari_viewer_proxy: Callable[..., Any], font: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lettering, "A_TURN_S", 0.0)
    steps = draw_letters(make_napari_viewer_proxy(show=True), ["xyz"])
    next(steps)
    assert font == ["x"]
    assert len(list(steps)) == 2


def test_a_hidden_window_needs_none(make_napari_viewer_proxy: Callable[..., Any], font: list[str]) -> None:
    assert not list(draw_letters(make_napari_viewer_proxy(show=False), ["abc"]))
    assert font == []
