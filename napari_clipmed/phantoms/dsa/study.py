"""One simulated biplane study: the same tree, blood and unrest seen by two cameras."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.phantoms.dsa.acquisition import (
    Acquisition,
    Motion,
    draw_acquisition,
    draw_motion,
    misregistration,
    moved,
    quantum_noise,
    slow_drift,
)
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.circulation import Circulation, side_name
from napari_clipmed.phantoms.dsa.config import Ambient
from napari_clipmed.phantoms.dsa.diseases import circulate
from napari_clipmed.phantoms.dsa.elements import Elements, Tissue, gather_elements, gather_tissue
from napari_clipmed.phantoms.dsa.extras import Extras, breathing, draw_extras
from napari_clipmed.phantoms.dsa.haemodynamics import Bolus, draw_bolus
from napari_clipmed.phantoms.dsa.moyamoya import SIXTH
from napari_clipmed.phantoms.dsa.projection import IODINE_PER_MM, Camera, render, render_blush, splat
from napari_clipmed.phantoms.dsa.skull import Solid, attenuation, draw_head
from napari_clipmed.phantoms.dsa.truth import ViewTruth, lesion_truth, vessel_maps
from napari_clipmed.phantoms.dsa.variety import Variety, draw_variety

Frames = NDArray[np.float32]


@dataclass
class SimulatedView:
    """One plane of a study.

    Parameters
    ----------
    camera : Camera
        Its geometry.
    log : (T, H, W) float32 array
        Natural logarithm of the attenuation beyond the still head's: contrast, motion, drift and noise.
    body : (H, W) float32 array
        Natural logarithm of the attenuation by the still head.
    truth : ViewTruth
        What there is to be seen.
    """

    camera: Camera
    log: Frames
    body: NDArray[np.float32]
    truth: ViewTruth


@dataclass
class SimulatedStudy:
    """A study with its truth."""

    label: str
    side: str
    circulation: Circulation
    acquisition: Acquisition
    bolus: Bolus
    elements: Elements
    extras: Extras = field(default_factory=Extras)
    variety: Variety = field(default_factory=Variety)
    views: dict[str, SimulatedView] = field(default_factory=dict)

    @property
    def mask_frames(self) -> int:
        """Leading frames, free of contrast, whose mean is the mask."""
        times = self.acquisition.times_s
        return int(np.clip(np.searchsorted(times, self.bolus.onset_s), 1, 3))

    def subtracted(self, name: str, landmark: float = 0.0) -> Frames:
        """The run as the console shows it, minus its mask: grey 0…1, vessels dark. (T, H, W).

        `landmark` is the share of the still head that is left behind the vessels.
        """
        view = self.views[name]
        behind = view.log[: self.mask_frames].mean(0) - landmark * (view.body - np.median(view.body))
        shown = self.acquisition.grey_per_log * (view.log - behind)
        return np.clip(self.acquisition.background - shown, 0, 1)


def simulate_study(
    anatomy: Anatomy,
    label: str,
    seed: int,
    ambient: Ambient,
    size: int = 224,
    severity: float | None = None,
    site: str | None = None,
    full_truth: bool = False,
) -> SimulatedStudy:
    """One study of a patient.

    The acquisition, the flow and the unrest come from one stream of random numbers, the disease from another:
    the same patient and seed with another label is the same study but for the disease: its twin.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    label : str
        Disease: Control, MMD, IA, AM or AS.
    seed : int
        Of acquisition and disease; the same arguments give the same study.
    ambient : Ambient
        Ranges of the acquisition.
    size : int
        Detector pixels along each side.
    severity : float, optional
        0 mild to 1 severe; drawn if not given. `moyamoya.SIXTH` asks for Suzuki's sixth stage.
    site : str, optional
        Where the disease sits; drawn if not given.
    full_truth : bool
        Also make vessel masks, arrival and time-to-peak maps.
    """
    rng, ill = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    acquisition, quiet_s = draw_acquisition(rng, ambient, anatomy.side, size)
    bolus = draw_bolus(rng, ambient, quiet_s)
    head = draw_head(rng, anatomy.scale)
    motion = draw_motion(rng, acquisition.times_s, acquisition.heavy_motion, ambient.motion_scale)
    variety = draw_variety(seed, ambient)
    motion = breathing(variety.moved(motion), seed, ambient, acquisition.times_s)
    if label == "MMD" and severity is None and ambient.late_moyamoya_share:
        late = np.random.default_rng([seed, 8]).random() < ambient.late_moyamoya_share
        severity = SIXTH if late else None
    circulation = circulate(label, anatomy, bolus, ill, severity, site, variety.collaterals, variety.net)
    circulation = variety.refluxed(circulation, anatomy.arteries)
    elements = gather_elements(anatomy, circulation, bolus, acquisition.times_s, rng)
    tissue = gather_tissue(anatomy, circulation, bolus, acquisition.times_s, rng)
    extras = draw_extras(seed, ambient, anatomy, acquisition.times_s, bolus.onset_s)
    study = SimulatedStudy(
        label, side_name(anatomy), circulation, acquisition, bolus, elements, extras, variety
    )
    for camera in acquisition.cameras:
        study.views[camera.name] = _expose(camera, study, tissue, head, motion, rng, full_truth)
    return study


def _expose(
    camera: Camera,
    study: SimulatedStudy,
    tissue: Tissue,
    head: list[Solid],
    motion: Motion,
    rng: np.random.Generator,
    full_truth: bool,
) -> SimulatedView:
    """One plane: contrast and anatomy on the detector, with everything that goes wrong there."""
    elements, acquisition = study.elements, study.acquisition
    still, jaw = attenuation(camera, head, rng, study.variety.bone_texture)
    matrix = splat(camera, *elements.shapes)
    thickness = render(matrix, elements.concentration, camera.size)
    volume = tissue.volume * study.variety.blush
    blush = render_blush(camera, tissue.points, volume, tissue.concentration, spread_mm=5.0)
    thickness += study.variety.structured(blush, rng)
    lesion, visible = lesion_truth(camera, study.circulation, elements)
    maps = vessel_maps(camera, elements, thickness, acquisition.times_s) if full_truth else {}
    shift = motion.head @ camera.axes[:2].T / camera.pixel_mm
    for t, (right, down) in enumerate(shift):
        if abs(right) + abs(down) > 0.25:
            thickness[t] = moved(thickness[t], right, down)
    log = IODINE_PER_MM * thickness
    log += misregistration(still, jaw, motion, camera.axes, camera.pixel_mm)
    log += slow_drift(rng, len(log), camera.size, acquisition.drift)
    log, body = study.extras.add(camera, log, still + jaw)
    noise = quantum_noise(rng, log.shape, body, acquisition.photons)
    if study.extras.shutter:  # the console blanks what lies behind it
        seen = study.extras.opening(camera.size)
        lesion, noise = lesion & (seen > 0.5), noise * seen
    log += noise
    return SimulatedView(camera, log, body, ViewTruth(lesion, visible, motion_px=shift, **maps))
