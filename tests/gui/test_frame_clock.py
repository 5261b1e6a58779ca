"""When each frame is due: acquisition times, orders of playing, and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import biplane, chest, make_view

from napari_clipmed.gui.frame_clock import FrameClock, Order, rate_words
from napari_clipmed.gui.study_words import time_line
from napari_clipmed.gui.time_base import even_interval_ms, slider_note, time_in_ms
from napari_clipmed.study import Projection

TWO_RATES = [0, 250, 500, 750, 1000, 2000, 3000, 4000]
"""Four frames a second in the arterial phase, then one a second: usual for cerebral DSA."""


def alone(**changes):
    return biplane(views=(make_view(Projection.AP, **changes),))


def played(clock, order, times):
    turn = clock.round(order)
    return [turn.step(turn.count_at(t)) for t in times]


def test_a_frame_time_vector_is_honoured_round_after_round():
    clock = FrameClock.of(alone(n_frames=4, times_ms=[0, 100, 600, 700]))
    assert played(clock, Order.LOOP, (0, 99, 100, 599, 600, 699, 700, 799)) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert clock.round(Order.LOOP).duration_ms == 800
    assert played(clock, Order.LOOP, (800, 1000 * 800 + 650)) == [0, 2]


def test_a_sweep_goes_to_and_fro_and_every_frame_keeps_its_own_time():
    clock = FrameClock.of(alone(n_frames=4, times_ms=[0, 100, 600, 700]))
    # 0 for 100 ms, 1 for 500, 2 and 3 for 100 each; back: 2 for 100, 1 for 500; then from the start.
    assert played(clock, Order.SWEEP, (0, 100, 600, 700, 800, 900, 1399, 1400)) == [0, 1, 2, 3, 2, 1, 1, 0]
    two = FrameClock.of(alone(n_frames=2))
    assert played(two, Order.SWEEP, (0, 250, 500, 750)) == [0, 1, 0, 1]


def test_once_ends_with_the_last_frame():
    turn = FrameClock.of(alone(n_frames=4)).round(Order.ONCE)
    assert turn.step(turn.count_at(99_999)) == 3
    assert not turn.over(999)
    assert turn.over(1000)
    assert turn.due_ms(4) == float("inf")


@given(
    st.lists(st.floats(5, 2000), min_size=1, max_size=30), st.sampled_from(list(Order)), st.integers(0, 5000)
)
def test_what_is_due_is_what_was_counted(steps, order, count):
    times = np.append(0.0, np.cumsum(steps))
    turn = FrameClock.of(alone(n_frames=len(times), times_ms=times)).round(order)
    if np.isfinite(due := turn.due_ms(count)):
        assert turn.count_at(due + 0.01) == count
        assert turn.count_at(due + 4.9) == count


def test_every_frame_of_every_view_gets_its_step():
    clock = FrameClock.of(biplane())  # AP every 250 ms, LA every 200 ms
    assert clock.positions.tolist() == [0, 200, 250, 400, 500, 600, 750, 800, 1000, 1250, 1500, 1750]
    np.testing.assert_allclose(clock.starts_ms, clock.positions)


def test_a_biplane_run_with_one_clock_has_no_doubled_steps():
    views = tuple(
        make_view(kind, n_frames=31, interval_ms=100 / 3) for kind in (Projection.AP, Projection.LA)
    )
    assert len(FrameClock.of(biplane(views=views)).positions) == 31


def test_two_rates_play_at_their_times_while_the_slider_counts_frames():
    study = alone(times_ms=TWO_RATES)
    clock = FrameClock.of(study)
    assert not time_in_ms(study)
    assert clock.positions.tolist() == list(range(8))
    assert clock.starts_ms.tolist() == TWO_RATES
    assert slider_note(study).startswith("Uneven frame times: the slider counts frames")
    assert "one time" not in slider_note(study)
    late = make_view(Projection.LA, times_ms=[t + 90 * (t > 0) for t in TWO_RATES])
    assert "not taken at one time" in slider_note(biplane(views=(*study.views, late)))
    assert time_line(study.views[0]) == "8 frames in 4.00 s, 4.0 then 1.0 fps (Frame Time)"


def test_whole_milliseconds_of_thirty_frames_a_second_are_even():
    times = np.cumsum([0, *([33, 34, 33] * 30)])
    view = make_view(Projection.AP, n_frames=91, times_ms=times)
    assert even_interval_ms(view) == pytest.approx(100 / 3, abs=0.01)
    clock = FrameClock.of(biplane(views=(view,)))
    np.testing.assert_allclose(clock.positions, times, atol=1)  # the slider tells the true time everywhere
    assert rate_words(view.timing) == "30.0 fps"


def test_unknown_times_are_said_to_be_assumed():
    study = alone(known=False)
    clock = FrameClock.of(study)
    assert not clock.known
    assert clock.starts_ms[1] == 250
    assert rate_words(study.views[0].timing) == "4.0 fps assumed"
    assert slider_note(study).startswith("No frame times")
    assert "unknown" in time_line(study.views[0])


def test_a_film_has_no_clock():
    assert FrameClock.of(chest()) is None
    assert slider_note(chest()) == ""
    assert rate_words(chest().views[0].timing) == ""
