"""Bolus maps: closed forms against known curves, and against the truth of a simulated study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bolus_truth import fine_truth, peak_errors
from scipy.stats import gamma
from small_studies import make_study, make_view

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.inference import opacity as opacity_module
from napari_clipmed.inference.bolus import BolusMaps, bolus_maps, follow_curves, study_maps
from napari_clipmed.inference.opacity import ground_of, opacity_of
from napari_clipmed.io import open_study
from napari_clipmed.phantoms.dsa import sample_study
from napari_clipmed.phantoms.dsa.truth import load_truth
from napari_clipmed.progress import Progress
from napari_clipmed.study import FrameTiming, MaskItem, Projection, Subtraction, View

EVEN = np.arange(0, 12, 0.25)
UNEVEN = np.concatenate([np.arange(0, 4, 0.25), np.arange(4, 6, 0.5), np.arange(6, 13, 1.0)])
ALPHA, BETA = 3.0, 0.5


def gamma_variate(times: np.ndarray, arrival: float, alpha: float = ALPHA, beta: float = BETA) -> np.ndarray:
    """Peak at arrival + alpha·beta, first moment alpha·beta + beta after arrival."""
    curve = gamma.pdf(times - arrival, alpha + 1, scale=beta)
    return (curve / gamma.pdf(alpha * beta, alpha + 1, scale=beta)).astype(np.float32)


def flowing_run(times: np.ndarray = EVEN, first: float = 1.0) -> View:
    """Vertical vessels on a grey ground, reached one after the other from left to right; float32 greys."""
    rng = np.random.default_rng(0)
    frames = 200 + rng.normal(0, 1, (len(times), 48, 64))
    for column, arrival in zip(range(4, 64, 8), np.linspace(first, 5.0, 8), strict=True):
        frames[:, :, column : column + 3] -= 80 * gamma_variate(times, arrival)[:, None, None]
    view = make_view(frames.astype(np.float32))
    return replace(view, timing=FrameTiming(times * 1000, "Frame Time Vector", known=True))


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_peaks_are_found_to_a_part_of_a_frame(times: np.ndarray) -> None:
    arrivals = np.linspace(0.5, 4, 50)
    curves = np.stack([gamma_variate(times, arrival) for arrival in arrivals], axis=1)
    found, cut_off = follow_curves(curves, times, 0.1)
    error = found[1] - (arrivals + ALPHA * BETA)
    step = np.gradient(times)[np.abs(times[:, None] - (arrivals + ALPHA * BETA)).argmin(axis=0)]
    assert (np.abs(error) <= step / 2).all()
    assert np.median(np.abs(error / step)) < 0.2
    assert not cut_off.any()
    np.testing.assert_allclose(found[2], 1.0, atol=0.06)


def test_moments_and_arrival_are_those_of_the_gamma_variate() -> None:
    times = np.arange(0, 12, 0.05)
    found, _ = follow_curves(gamma_variate(times, 2.0)[:, None], times, 0.1)
    arrival, peak_time, peak, area, transit = found[:, 0]
    curve = gamma_variate(times, 2.0)
    tenth = times[(curve > 0.1).argmax()]
    assert arrival == pytest.approx(tenth, abs=0.06)
    assert peak_time == pytest.approx(2.0 + ALPHA * BETA, abs=0.02)
    assert area == pytest.approx(np.trapezoid(curve, times), rel=0.02)
    assert arrival + transit == pytest.approx(2.0 + (ALPHA + 1) * BETA, abs=0.05)


def test_what_was_not_seen_is_not_invented() -> None:
    times = np.arange(0, 4, 0.25)
    curves = np.stack([gamma_variate(times, arrival) for arrival in (0.2, 2.0, 3.2)], axis=1)
    found, cut_off = follow_curves(curves, times, 0.01)
    assert cut_off.tolist() == [False, False, True]
    assert np.isfinite(found[4]).tolist() == [True, False, False]
    assert np.isfinite(found[1]).all()


def test_contrast_that_was_there_from_the_start_has_no_arrival() -> None:
    times = np.arange(0, 3, 0.25)
    found, _ = follow_curves(np.exp(-times).astype(np.float32)[:, None], times, 0.1)
    assert np.isnan(found[0, 0]) and found[1, 0] == 0.0


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_a_run_is_followed_and_its_ground_stays_empty(times: np.ndarray) -> None:
    maps = bolus_maps(flowing_run(times))
    vessels = np.zeros((48, 64), bool)
    for column, arrival in zip(range(4, 64, 8), np.linspace(1, 5, 8), strict=True):
        here = maps.time_to_peak[:, column + 1]
        assert np.abs(here - arrival - ALPHA * BETA).max() < 0.3 if times is EVEN else 0.6
        vessels[:, column - 2 : column + 5] = True
    assert np.isfinite(maps.time_to_peak[:, 5::8]).all()
    for found in (maps.time_to_peak, maps.arrival, maps.peak, maps.area, maps.transit):
        assert np.isnan(found[~vessels]).all() and found.dtype == np.float32
    assert maps.time_unit == "s"


def test_noise_alone_gives_no_map() -> None:
    frames = np.random.default_rng(1).normal(100, 3, (12, 40, 40)).astype(np.float32)
    assert np.isfinite(bolus_maps(make_view(frames)).peak).mean() < 0.001


def test_gain_that_drifts_is_no_contrast() -> None:
    still = flowing_run()
    drift = 30 * np.sin(EVEN)[:, None, None]
    moved = replace(still, pixels=(still.pixels + drift).astype(np.float32))
    off = bolus_maps(moved).time_to_peak - bolus_maps(still).time_to_peak
    assert np.isfinite(off[:, 5::8]).all() and np.nanpercentile(np.abs(off), 99) < 0.05


def test_the_ground_is_the_commonest_grey_although_blush_covers_most() -> None:
    rng = np.random.default_rng(2)
    frame = np.where(np.arange(10_000) < 4000, 200 + rng.normal(0, 1, 10_000), rng.uniform(80, 190, 10_000))
    assert ground_of(frame.astype(np.float32), 80, 210) == pytest.approx(200, abs=0.5)


def test_bright_vessels_of_another_console_are_followed_too() -> None:
    dark = flowing_run()
    bright = replace(dark, pixels=(400 - dark.pixels).astype(np.float32))
    np.testing.assert_allclose(bolus_maps(bright).peak, bolus_maps(dark).peak, rtol=0.02, equal_nan=True)


@pytest.mark.parametrize(
    ("step", "source", "known"),
    [(1.0, "frame index", False), (100.0, "Recommended Display Frame Rate", True)],
)
def test_times_that_are_none_of_the_acquisition_are_frame_numbers(step, source, known) -> None:
    view = flowing_run()
    view = replace(view, timing=FrameTiming(np.arange(len(EVEN)) * step, source, known))
    maps = bolus_maps(view)
    assert maps.time_unit == "frames"
    assert maps.time_to_peak[10, 5] == pytest.approx(1 + (1.0 + ALPHA * BETA) / 0.25, abs=0.5)


def test_frames_in_which_the_patient_moved_are_left_out() -> None:
    view = flowing_run()
    frames = view.pixels.copy()
    frames[30:36, 10:14] += 60  # an edge: bright here, dark beside it
    frames[30:36, 14:18] -= 60
    maps = bolus_maps(replace(view, pixels=frames))
    assert maps.notes == ("Frames 31, 32, 33, 34, 35, 36 left out: the patient had moved.",)
    np.testing.assert_allclose(maps.time_to_peak[:, 5], bolus_maps(view).time_to_peak[:, 5], atol=0.01)


def test_shadows_from_before_the_bolus_are_no_contrast() -> None:
    view = flowing_run(first=3.0)
    frames = view.pixels.copy()
    frames[4:, :, :1] -= 40  # a bone that moved a second after the mask
    maps = bolus_maps(replace(view, pixels=frames))
    assert np.isnan(maps.peak[:, 0]).mean() > 0.9
    assert np.isfinite(maps.peak[:, 5]).all()


def test_a_large_run_is_thinned_and_its_maps_keep_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    view = flowing_run()
    monkeypatch.setattr(opacity_module, "LARGEST_BYTES", 4 * len(EVEN) * 24 * 32)
    assert opacity_of(view).step == 2
    maps = bolus_maps(view)
    assert maps.peak.shape == (48, 64) and np.isfinite(maps.peak[:, 5]).all()


def refused(view: View) -> ClipmedError:
    with pytest.raises(ClipmedError) as caught:
        bolus_maps(view)
    assert caught.value.hint
    return caught.value


def test_what_is_no_bolus_series_is_refused_with_a_reason() -> None:
    view = flowing_run()
    assert "not subtracted" in refused(replace(view, subtracted=False)).message
    short = make_view(view.pixels[:3])
    assert "3 subtracted frames" in refused(short).message
    assert "rotational" in refused(replace(view, motion="rotational")).message
    item = MaskItem(mask_frames=(1,))
    assert "landmarks" in refused(replace(view, subtraction=Subtraction((item,), landmark=0.3))).message


def test_frames_in_no_mask_item_are_left_out() -> None:
    item = MaskItem(mask_frames=(1,), ranges=((3, 40),))
    view = replace(flowing_run(), subtraction=Subtraction((item,)))
    run = opacity_of(view)
    assert run.indices.tolist() == list(range(2, 40))
    assert run.times[0] == EVEN[2]


def test_one_view_may_be_refused_while_the_other_is_mapped() -> None:
    first, second = flowing_run(), replace(flowing_run(), projection=Projection.LA, subtracted=False)
    maps, refusal = study_maps(make_study(first, second))
    assert isinstance(maps, BolusMaps) and isinstance(refusal, ClipmedError)


def test_it_tells_where_it_is_and_can_be_stopped() -> None:
    steps = []
    bolus_maps(flowing_run(), Progress(steps.append))
    assert {step.what for step in steps} == {"Read the AP run", "Clean the frames", "Follow the bolus"}
    progress = Progress(lambda step: progress.cancel() if step.what == "Clean the frames" else None)
    with pytest.raises(Cancelled):
        study_maps(make_study(flowing_run()), progress)


@pytest.mark.parametrize("label", ["Control", "AM"])
def test_times_to_peak_of_a_phantom_are_true_to_half_a_frame(label: str, tmp_path: Path) -> None:
    """Written as DICOM, read, subtracted, mapped; against the simulator's blood between the frames.

    A time is given where noise leaves it certain; 95 % of those in vessels are right to half an interval.
    """
    size = 256
    folder = sample_study(label, tmp_path, size)
    study, truth, fine = open_study(folder), load_truth(folder), fine_truth(label, size)
    found = []
    for view, maps in zip(study.views, study_maps(study), strict=True):
        name = view.projection.value
        vessels = truth.views[name].artery | truth.views[name].vein
        assert np.isfinite(maps.peak[vessels]).mean() > 0.95
        found.append(peak_errors(view, maps, truth.views[name], fine[name]))
    off = np.concatenate([view.frames_off for view in found])
    assert (off <= 0.5).mean() >= 0.95
    assert np.median(off) <= 0.25
    assert min(view.given for view in found) > 0.5
    assert min(view.thick_given for view in found) > 0.65
