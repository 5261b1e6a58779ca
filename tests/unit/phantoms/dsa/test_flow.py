"""Blood runs through arteries, tissue and veins in order; each disease disturbs it in its own way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa import SimulatedStudy
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.elements import gather_tissue


def peak_s(study: SimulatedStudy, curves: NDArray[np.float32]) -> float:
    """When the mean of these concentrations is highest, in seconds."""
    return float(study.acquisition.times_s[curves.mean(0).argmax()])


def of_segment(study: SimulatedStudy, patient: Anatomy, *names: str) -> NDArray[np.float32]:
    """Concentrations of named arteries; the elements begin with the arterial tree."""
    return study.elements.concentration[patient.arteries.named(*names)]


def mean_delay_s(study: SimulatedStudy, curve: NDArray[np.float32]) -> float:
    """Centre of mass of a concentration curve in time."""
    return float(np.average(study.acquisition.times_s, weights=curve))


def test_contrast_reaches_carotid_then_middle_cerebral_then_tissue_then_veins(simulate, patient) -> None:
    study = simulate("Control")
    tissue = gather_tissue(
        patient, study.circulation, study.bolus, study.acquisition.times_s, np.random.default_rng(0)
    )
    peaks = [
        peak_s(study, of_segment(study, patient, "cavernous ICA")),
        peak_s(study, of_segment(study, patient, "M4")),
        peak_s(study, tissue.concentration),
        peak_s(study, study.elements.concentration[study.elements.kind == "vein"]),
    ]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[1] < peaks[2] < peaks[3]


def test_cerebral_circulation_time_is_normal(simulate, patient) -> None:
    """Siphon maximum to venous maximum, 4.2 ± 1.0 s in normal angiograms."""
    study = simulate("Control")
    siphon = peak_s(study, of_segment(study, patient, "cavernous ICA"))
    veins = peak_s(study, study.elements.concentration[study.elements.kind == "vein"])
    assert veins - siphon == pytest.approx(4.2, abs=2.0)


def test_malformation_fills_its_vein_before_any_capillary(simulate, patient) -> None:
    study = simulate("AM")
    centre = study.circulation.lesion_points.mean(0)
    near = np.linalg.norm(study.elements.points - centre, axis=1) < 25
    early = study.elements.concentration[near & (study.elements.kind == "early vein")]
    tissue = gather_tissue(
        patient, study.circulation, study.bolus, study.acquisition.times_s, np.random.default_rng(0)
    )
    arterial = peak_s(study, of_segment(study, patient, "M1"))
    assert peak_s(study, early) < peak_s(study, tissue.concentration)
    assert peak_s(study, early) - arterial < 1.0
    ordinary = study.elements.concentration[study.elements.kind == "vein"]
    assert peak_s(study, ordinary) - arterial > 2.0


def test_malformation_steals_from_its_neighbours(simulate, patient) -> None:
    healthy, ill = simulate("Control"), simulate("AM")
    stolen = of_segment(ill, patient, "M4").max(1) < 0.99 * of_segment(healthy, patient, "M4").max(1)
    assert stolen.mean() > 0.7


@pytest.mark.parametrize("site", ["PComA", "MCA bifurcation", "AComA"])
def test_aneurysm_empties_later_than_its_parent(simulate, patient, site) -> None:
    study = simulate("IA", 0.7, site)
    parent = {"PComA": "supraclinoid ICA", "MCA bifurcation": "M1", "AComA": "A1"}[site]
    dome = study.elements.concentration[study.elements.kind == "aneurysm"].mean(0)
    vessel = of_segment(study, patient, parent).mean(0)
    assert mean_delay_s(study, dome) > mean_delay_s(study, vessel) + 0.2
    late = slice(int(vessel.argmax()), None)
    half = {name: np.argmax(c[late] < 0.5 * c.max()) for name, c in (("dome", dome), ("vessel", vessel))}
    assert half["dome"] > half["vessel"]


@pytest.mark.parametrize("severity", [0.3, 0.6, 0.95])
def test_moyamoya_delays_the_middle_cerebral_artery_more_the_worse_it_is(simulate, patient, severity) -> None:
    healthy, ill = simulate("Control"), simulate("MMD", severity)
    delay = [mean_delay_s(study, of_segment(study, patient, "M4").mean(0)) for study in (healthy, ill)]
    assert delay[1] > delay[0] + {0.3: 0.2, 0.6: 0.5, 0.95: 1.0}[severity]


def test_moyamoya_net_lies_above_the_fork_and_has_no_early_vein(simulate, patient) -> None:
    study = simulate("MMD")
    fork = patient.arteries.position[patient.arteries.named("supraclinoid ICA")[-1]]
    net = study.elements.points[study.elements.kind == "net"]
    assert np.median(net[:, 2]) > fork[2] + 5
    assert not (study.elements.kind == "early vein").any()


def test_stenosis_delays_what_lies_beyond_and_nothing_else(simulate, patient) -> None:
    healthy, ill = simulate("Control"), simulate("AS", 0.9, "M1")
    cortex = [mean_delay_s(s, of_segment(s, patient, "M4").mean(0)) for s in (healthy, ill)]
    midline = [mean_delay_s(s, of_segment(s, patient, "A4").mean(0)) for s in (healthy, ill)]
    assert cortex[1] > cortex[0] + 0.3
    assert midline[1] == pytest.approx(midline[0], abs=0.02)


def test_twins_share_acquisition_flow_and_unrest(simulate) -> None:
    """A class must not be told by how its studies were acquired."""
    one, other = simulate("Control"), simulate("AM")
    assert one.bolus == other.bolus
    assert one.acquisition.grey_per_log == other.acquisition.grey_per_log
    assert one.acquisition.background == other.acquisition.background
    np.testing.assert_array_equal(one.acquisition.times_s, other.acquisition.times_s)
    np.testing.assert_array_equal(one.views["AP"].truth.motion_px, other.views["AP"].truth.motion_px)
