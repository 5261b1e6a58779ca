"""What the Diagnosis dock says, as plain functions of an answer and its study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.widgets.attention_plot import FrameCurve
from napari_clipmed.inference.results import BOTH, Diagnosis, Saliency
from napari_clipmed.study import Study, View

CAM_METHODS: Mapping[str, str] = {
    "layercam": "LayerCAM",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "eigencam": "Eigen-CAM (same for all classes)",
}
"""Name of a method for `Engine.explain`, and for people; the first one is the default."""

SIMULATED_NOTE = "Simulated study."
"""The dock has a banner of its own for this note of the engine."""


def title_of(diagnosis: Diagnosis, label: str) -> str:
    """Name of a class for people."""
    return dict(zip(diagnosis.labels, diagnosis.titles, strict=True)).get(label, label)


def agreement(diagnosis: Diagnosis) -> str:
    """Whether the views say the same, in one sentence; empty for a single view, which a note tells.

    Beneath an uncertain answer no view says a disease either: each leans to one.
    """
    views = {name: p for name, p in diagnosis.probabilities.items() if name != BOTH}
    best = {name: max(p, key=lambda label: p[label]) for name, p in views.items()}
    if len(best) < 2:
        return ""
    titles = {name: title_of(diagnosis, label) for name, label in best.items()}
    reached = {name: f"{views[name][label]:.2f}" for name, label in best.items()}
    certain = diagnosis.certainty.certain
    if len(set(best.values())) == 1:
        names, (title, *_) = " and ".join(best), titles.values()
        if certain:
            return f"{names} agree: {title}."
        return f"{names} both lean to {title} ({' and '.join(reached.values())})."
    verb = "says" if certain else "leans to"
    said = ", ".join(f"{name} {verb} {title} ({reached[name]})" for name, title in titles.items())
    return f"The views disagree: {said}."


def cautions(diagnosis: Diagnosis) -> str:
    """What must be read before the numbers: why the answer is uncertain; empty when it is certain."""
    notes = _notes(diagnosis) if diagnosis.unlike_training else []
    return "\n".join([*diagnosis.certainty.reasons, *notes])


def remarks(diagnosis: Diagnosis) -> str:
    """Notes that explain the numbers without casting doubt on them; empty when `cautions` tells them."""
    return "" if diagnosis.unlike_training else "\n".join(_notes(diagnosis))


def _notes(diagnosis: Diagnosis) -> list[str]:
    return [note for note in diagnosis.notes if note != SIMULATED_NOTE]


def decisive_frames(diagnosis: Diagnosis, saliency: Saliency | None) -> dict[str, int]:
    """Frame that decided, per view: the highest CAM peak, or the most attended frame before there is one."""
    if saliency is not None:
        return {name: saliency.decisive_frame(name) for name in saliency.maps}
    return {name: int(a.frames[int(np.argmax(a.weights))]) for name, a in diagnosis.attention.items()}


def times_are_known(study: Study, diagnosis: Diagnosis) -> bool:
    """Whether all answered views have a time base, so that curves may be drawn over seconds."""
    return all(study.views[index].timing.known for index in diagnosis.view_index.values())


def frame_time(view: View, frame: int, in_seconds: bool) -> float:
    """Place of a frame on the time axis of the curves: seconds, or its number, which people count from 1."""
    return float(view.timing.times_ms[frame]) / 1000.0 if in_seconds else frame + 1.0


def name_frame(view: View, name: str, frame: int) -> str:
    """A frame as it is spoken, counted from 1: "AP 8 (1.75 s)"."""
    if view.n_frames == 1:
        return name
    time = f" ({view.timing.times_ms[frame] / 1000.0:.2f} s)" if view.timing.known else ""
    return f"{name} {frame + 1}{time}"


def attention_curves(study: Study, diagnosis: Diagnosis) -> list[FrameCurve]:
    """Temporal attention of each view over its own frames."""
    return [
        _curve(study, diagnosis, name, attention.frames, attention.weights, np.add)
        for name, attention in diagnosis.attention.items()
        if len(attention.frames)
    ]


def peak_curves(study: Study, diagnosis: Diagnosis, saliency: Saliency) -> list[FrameCurve]:
    """Peak of the activation map of each sampled frame."""
    return [
        _curve(study, diagnosis, name, saliency.frames[name], saliency.peaks(name), np.maximum)
        for name in saliency.maps
        if name in diagnosis.view_index
    ]


def _curve(
    study: Study,
    diagnosis: Diagnosis,
    name: str,
    frames: NDArray[np.int64],
    values: NDArray[np.float32],
    combine: np.ufunc,
) -> FrameCurve:
    """A curve with each frame once: short runs repeat frames when they are sampled."""
    view = study.views[diagnosis.view_index[name]]
    in_seconds = times_are_known(study, diagnosis)
    unique, place = np.unique(np.asarray(frames), return_inverse=True)
    combined = np.zeros(len(unique), dtype=np.float32)
    combine.at(combined, place, values)
    times = np.array([frame_time(view, int(frame), in_seconds) for frame in unique])
    return FrameCurve(name, unique, times, combined)
