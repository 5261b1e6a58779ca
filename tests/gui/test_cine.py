"""The cine keeps time: measured on a real screen, and by a clock that the test turns."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from studies import biplane, canvas_of, make_view

from napari_clipmed.gui.cine import Playing
from napari_clipmed.gui.playback import HINT_MOVING, HINT_STILL, ensure_strip
from napari_clipmed.study import Projection


@pytest.fixture
def strip(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window._qt_window.resize(800, 480)
    strip = ensure_strip(viewer)
    qtbot.wait(20)
    return strip


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test lets pass."""
    now = [100.0]
    monkeypatch.setattr("napari_clipmed.gui.cine.time.monotonic", lambda: now[0])
    return now


def show(strip, **changes):
    strip.session.show_study(biplane(views=(make_view(Projection.AP, **changes),)))
    return strip.cine


def watch(strip, clock, moments):
    """Frames on screen at some seconds after the start."""
    shown, began = [], clock[0]
    for moment in moments:
        clock[0] = began + moment
        strip.cine._tick()
        shown.append(strip.session.frame_of(0))
    return shown


def test_it_runs_at_acquisition_time(strip, qtbot):
    show(strip, n_frames=60, interval_ms=100.0)
    qtbot.mouseClick(strip.play_button, Qt.MouseButton.LeftButton)
    began = time.monotonic()
    qtbot.wait(1200)
    elapsed = time.monotonic() - began
    qtbot.mouseClick(strip.play_button, Qt.MouseButton.LeftButton)
    assert not strip.cine.playing
    assert strip.session.frame_of(0) == pytest.approx(10 * elapsed, abs=4)


def test_a_frame_time_vector_is_followed_for_a_minute_without_drift(strip, clock):
    cine = show(strip, n_frames=4, times_ms=[0, 100, 600, 700])
    cine.play()
    assert watch(strip, clock, (0.05, 0.15, 0.55, 0.61, 0.71, 0.81, 0.91, 8.65)) == [0, 1, 1, 2, 3, 0, 1, 2]
    cine.stop()
    # A slow and jittery screen: the frame shown is always the one due at that moment.
    cine.play()
    moments = np.cumsum(np.random.default_rng(3).uniform(0.011, 0.3, 400))
    assert moments[-1] > 60
    start = [0.0, 0.1, 0.6, 0.7][strip.session.frame_of(0)]
    due = np.searchsorted([0.0, 0.1, 0.6, 0.7], (start + moments) % 0.8 + 1e-6, side="right") - 1
    assert watch(strip, clock, moments) == due.tolist()
    cine.stop()


def test_without_times_the_strip_counts_frames_from_1(strip):
    show(strip, n_frames=6, known=False)
    strip.session.go_to_frame(0, 4)
    assert strip.curve.now == 5 and strip.time_label.text() == "5/6"
    strip.curve.clicked.emit(1.9)
    assert strip.session.frame_of(0) == 1
    first, last = strip.curve.getPlotItem().vb.viewRange()[0]
    assert first == pytest.approx(1, abs=0.1) and last == pytest.approx(6, abs=0.1)


def test_sweep_and_once(strip, clock, qtbot):
    cine = show(strip, n_frames=4, interval_ms=100.0)
    strip.order_box.setCurrentText("⇄ sweep")
    cine.play()
    assert watch(strip, clock, np.arange(8) / 10 + 0.01) == [0, 1, 2, 3, 2, 1, 0, 1]
    cine.stop()
    strip.order_box.setCurrentText("→ once")
    strip.session.go_to_frame(0, 2)
    cine.play()
    assert watch(strip, clock, (0.05, 0.15, 0.19)) == [2, 3, 3]
    assert cine.playing
    clock[0] += 0.1
    with qtbot.waitSignal(cine.playing_changed) as stopped:
        cine._tick()
    assert stopped.args == [False]
    assert strip.session.frame_of(0) == 3
    cine.play()  # starts anew
    assert strip.session.frame_of(0) == 0


def test_speed_and_a_hand_on_the_slider(strip, clock):
    cine = show(strip, n_frames=8, interval_ms=100.0)
    strip.speed_box.setCurrentText("½×")
    cine.play()
    assert watch(strip, clock, (0.1, 0.3, 0.45)) == [0, 1, 2]
    strip.session.go_to_frame(0, 5)
    assert watch(strip, clock, (0.0, 0.1, 0.21)) == [5, 5, 6]


def test_the_box_tells_what_really_plays(strip, clock, qtbot):
    cine = show(strip, n_frames=30, interval_ms=50.0)
    assert strip.rate_label.text() == "20.0 fps"
    cine.play()
    watch(strip, clock, np.arange(60) * 0.05 + 0.01)
    assert strip.rate_label.text() == "20.0 fps shown"
    watch(strip, clock, np.arange(30) * 0.1 + 0.1)  # a screen that takes a tenth of a second a frame
    assert strip.rate_label.text() == "10.0 fps shown of 20.0"
    assert "50% of those due were dropped" in strip.rate_label.toolTip()
    cine.stop()
    assert strip.rate_label.text() == "20.0 fps"
    assert Playing(0.0, 0.0).dropped == 0.0


def test_uneven_times_are_told_truly(strip):
    show(strip, times_ms=[0, 250, 500, 750, 1000, 2000, 3000, 4000])
    assert "slider counts frames" in strip.slider_note.text()
    assert strip.rate_label.text() == "4.0 then 1.0 fps"
    strip.session.go_to_frame(0, 6)
    assert strip.time_label.text() == "3.00 s  7/8"
    assert strip.curve.now == pytest.approx(3.0)
    strip.session.show_study(biplane())
    assert not strip.slider_note.isVisible()
    assert strip.rate_label.text() == "AP 4.0 fps  LA 5.0 fps"


def test_frames_of_both_views_are_shown_and_steps_go_with_the_active_view(strip, clock, qtbot):
    session = strip.session
    session.show_study(biplane())
    strip.cine.play()
    began, shown = clock[0], []
    for ms in strip.cine.clock.starts_ms:
        clock[0] = began + ms / 1000 + 0.001
        strip.cine._tick()
        shown.append((session.frame_of(0), session.frame_of(1)))
    strip.cine.stop()
    assert {ap for ap, _ in shown} == set(range(8))
    assert {la for _, la in shown} == set(range(6))
    session.go_to_frame(0, 0)
    session.select_image(1)
    assert strip.time_label.text() == "LA  0.00 s  1/6"
    canvas = canvas_of(session.viewer)
    canvas.setFocus()
    qtbot.keyClick(canvas, ".")
    qtbot.keyClick(canvas, ".")
    assert session.frame_of(1) == 2
    assert strip.time_label.text() == "LA  0.40 s  3/6"


def test_the_hint_fits_into_the_strip_of_a_small_screen(strip):
    """At 1366 x 768 the curve is 350 pixels wide."""
    widths = [strip.curve_hint.fontMetrics().horizontalAdvance(hint) for hint in (HINT_MOVING, HINT_STILL)]
    assert max(widths) < 350
