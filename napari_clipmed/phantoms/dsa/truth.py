"""What a study knows about itself: lesion, vessels, arrival, time to peak, motion, report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.phantoms.dsa.circulation import Circulation
from napari_clipmed.phantoms.dsa.elements import Elements
from napari_clipmed.phantoms.dsa.projection import Camera, splat

Mask = NDArray[np.bool_]

VISIBLE_CONCENTRATION = 0.12
"""Mean concentration from which a lesion counts as visible in a frame."""

SHOWN_MM = 0.15
"""Thickness of contrast from which a pixel belongs to the vessel masks."""

LESION_KINDS = ("aneurysm", "nidus", "net")


@dataclass(frozen=True, eq=False)
class ViewTruth:
    """The truth of one view.

    Parameters
    ----------
    lesion : (H, W) bool array
        Shadow of the lesion; empty for Control.
    visible : (T,) bool array
        In which frames the lesion shows.
    artery, vein : (H, W) bool arrays or None
        Shadows of the vessels; early draining veins are veins.
    arrival_s, peak_s : (H, W) float32 arrays or None
        First arrival of contrast, and time to peak, in seconds from the first frame; NaN where none comes.
    motion_px : (T, 2) float array or None
        Displacement of the head against the mask, to the right and down.
    """

    lesion: Mask
    visible: Mask
    artery: Mask | None = None
    vein: Mask | None = None
    arrival_s: NDArray[np.float32] | None = None
    peak_s: NDArray[np.float32] | None = None
    motion_px: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of a study: its class, where, how bad, the report's sentence, and each view's maps."""

    label: str
    side: str
    site: str
    severity: dict[str, Any]
    report: str
    views: dict[str, ViewTruth] = field(default_factory=dict)


def lesion_truth(camera: Camera, circulation: Circulation, elements: Elements) -> tuple[Mask, Mask]:
    """Union mask of the lesion (H, W), and in which frames it shows (T,)."""
    size, n_frames = camera.size, elements.concentration.shape[1]
    points = circulation.lesion_points
    if not len(points):
        return np.zeros((size, size), bool), np.zeros(n_frames, bool)
    column_row, scale = camera.project(points)
    shadow = discs(column_row, circulation.lesion_radius * scale, size)
    inside = np.isin(elements.kind, LESION_KINDS)
    if not inside.any():
        some = points[:: max(1, len(points) // 8)]
        gap = np.linalg.norm(elements.points[:, None] - some[None], axis=2).min(1)
        inside = (gap < 4) & (elements.kind == "artery")
    return shadow, elements.concentration[inside].mean(0) > VISIBLE_CONCENTRATION


def discs(column_row: NDArray[np.float64], radius_px: NDArray[np.float64], size: int) -> Mask:
    """Union of discs, (N, 2) centres and (N,) radii in pixels, as a (size, size) mask.

    Radii are alike within a lesion; rounded to half pixels, each size needs one distance map only.
    """
    mask = np.zeros((size, size), bool)
    centre = np.round(column_row).astype(int)
    inside = ((centre >= 0) & (centre < size)).all(1)
    rounded = np.maximum(np.round(2 * radius_px) / 2, 0.8)
    for radius in np.unique(rounded[inside]):
        empty = np.ones((size, size), bool)
        chosen = centre[inside & (rounded == radius)]
        empty[chosen[:, 1], chosen[:, 0]] = False
        mask |= distance_transform_edt(empty) <= radius
    return mask


def vessel_maps(
    camera: Camera, elements: Elements, thickness: NDArray[np.float32], times_s: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Masks of arteries and veins, maps of arrival and time to peak; `thickness` (T, H, W) without motion."""
    size = camera.size
    maps: dict[str, NDArray[Any]] = {}
    venous = np.isin(elements.kind, ["vein", "early vein"])
    for name, chosen in (("artery", ~venous), ("vein", venous)):
        peak = elements.concentration[chosen].max(1)
        matrix = splat(camera, *(array[chosen] for array in elements.shapes))
        maps[name] = (matrix @ peak).reshape(size, size) > SHOWN_MM
    comes = thickness.max(0) > SHOWN_MM
    reached = thickness > 0.1 * thickness.max(0)
    maps["arrival_s"] = np.where(comes, times_s[reached.argmax(0)], np.nan).astype(np.float32)
    maps["peak_s"] = np.where(comes, times_s[thickness.argmax(0)], np.nan).astype(np.float32)
    return maps


def load_truth(folder: str | Path) -> Truth:
    """Read the truth beside a simulated DICOM study.

    Parameters
    ----------
    folder : str or Path
        The study's folder, holding ``truth.json`` and ``truth.npz``.

    Raises
    ------
    UnreadableFileError
        When there is no truth there.
    """
    folder = Path(folder)
    try:
        words = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        with np.load(folder / "truth.npz", allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"{folder} holds no truth of a simulated study ({error}).",
            "Only studies written by `napari-clipmed phantom dsa --format dicom` carry one.",
        ) from error
    views: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in arrays.items():
        entry, _, view = key.rpartition("_")
        views.setdefault(view, {})[entry] = value
    found = {view: ViewTruth(**maps) for view, maps in views.items()}
    return Truth(words["label"], words["side"], words["site"], words["severity"], words["report"], found)


def truth_arrays(views: dict[str, ViewTruth]) -> dict[str, NDArray[Any]]:
    """The truth's maps, each under ``<field>_<view>``, for an npz archive."""
    return {
        f"{entry.name}_{view}": value
        for view, truth in views.items()
        for entry in fields(truth)
        if (value := getattr(truth, entry.name)) is not None
    }


def truth_words(label: str, side: str, circulation: Circulation) -> dict[str, Any]:
    """The part of the truth that is words and numbers, for ``truth.json`` and ``studies.jsonl``."""
    return {
        "label": label,
        "side": side,
        "site": circulation.site,
        "severity": circulation.severity,
        "report": circulation.sentence,
    }
