"""A simulated study as two legal X-Ray Angiographic files, the truth beside them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.io.dicom_write import Uids, write_xa
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, SimulatedView
from napari_clipmed.phantoms.dsa.truth import truth_arrays, truth_words
from napari_clipmed.study import Intensity, MaskItem, PatientIdentity

OPEN_FIELD = 3900
"""Stored value where nothing stands between source and detector; 12 bits are stored."""

ACQUIRED = datetime(2000, 1, 1, 12)
"""One date for all phantoms: the same arguments give the same bytes."""


def raw_frames(view: SimulatedView) -> NDArray[np.uint16]:
    """What the detector counted, (T, H, W): linear, 12 bits, bright where many X-rays arrive."""
    counts = OPEN_FIELD * np.exp(-(view.body + view.log))
    return np.clip(np.rint(counts), 0, 4095).astype(np.uint16)


def write_dicom(study: SimulatedStudy, folder: Path, name: str, seed: int) -> Path:
    """Write ``<name>/AP.dcm``, ``<name>/LA.dcm``, ``truth.json`` and ``truth.npz``; gives the folder.

    Frames are stored unsubtracted (Pixel Intensity Relationship LIN) with a Mask Subtraction Sequence that
    averages the frames before contrast (PS3.3 C.7.6.10); the planes refer to each other (C.8.7.1.1.2).
    """
    case = folder / name
    case.mkdir(parents=True, exist_ok=True)
    uids = {key: Uids.seeded(seed, name, key) for key in study.views}
    times_ms = study.acquisition.times_s * 1000
    steps = np.diff(times_ms)
    even = bool(np.ptp(steps) < 1e-3)
    mask = MaskItem(mask_frames=tuple(range(1, study.mask_frames + 1)), ranges=((1, len(times_ms)),))
    for number, (key, other, plane) in enumerate((("AP", "LA", "A"), ("LA", "AP", "B")), start=1):
        view = study.views[key]
        pixel = view.camera.detector_pixel_mm
        write_xa(
            case / f"{key}.dcm",
            raw_frames(view),
            timing_ms=round(float(steps[0]), 3) if even else [round(float(t), 3) for t in times_ms],
            angles=tuple(round(angle, 2) for angle in view.camera.angles),  # type: ignore[arg-type]
            uids=uids[key],
            patient=PatientIdentity(name=f"PHANTOM^{name}", patient_id=name),
            mask=mask,
            intensity=Intensity.LINEAR,
            bits_stored=12,
            imager_spacing_mm=(round(pixel, 5), round(pixel, 5)),
            distances_mm=(view.camera.sid_mm, view.camera.sod_mm),
            plane="BIPLANE A" if plane == "A" else "BIPLANE B",
            partner_sop=uids[other].sop,
            acquired=ACQUIRED,
            synthetic=True,
            instance_number=number,
            description=f"SIMULATED carotid run {key}",
        )
    write_truth(study, case)
    return case


def write_truth(study: SimulatedStudy, case: Path) -> None:
    """Write ``truth.json`` and ``truth.npz``, which `load_truth` reads."""
    arrays = truth_arrays({name: view.truth for name, view in study.views.items()})
    np.savez_compressed(case / "truth.npz", **arrays)  # type: ignore[arg-type]
    words = truth_words(study.label, study.side, study.circulation) | {"synthetic": True}
    (case / "truth.json").write_text(json.dumps(words, indent=2), encoding="utf-8")
