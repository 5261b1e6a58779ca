"""What was understood of a study, in the words of a radiologist. Text only, no widgets."""

from __future__ import annotations

from collections.abc import Iterable

from napari_clipmed.gui.frame_clock import rate_words
from napari_clipmed.study import Guess, PatientIdentity, Study, View


def identity_line(identity: PatientIdentity) -> str:
    """Who this is, for the screen only; empty when nobody is named."""
    born = f"born {identity.birth_date}" if identity.birth_date else ""
    taken = f"examined {identity.study_date}" if identity.study_date else ""
    parts = (identity.name, identity.patient_id, identity.sex, born, taken)
    return "  ·  ".join(part for part in parts if part)


def time_line(view: View) -> str:
    """Number of frames, rate and what told it."""
    if view.n_frames == 1:
        return "single frame"
    frames = f"{view.n_frames} frames"
    timing = view.timing
    if not timing.known:
        return f"{frames}, times unknown ({timing.source})"
    return f"{frames} in {timing.length_ms / 1000.0:.2f} s, {rate_words(timing)} ({timing.source})"


def size_line(view: View) -> str:
    """Matrix, pixel size and what a millimetre means."""
    _, height, width = view.pixels.shape
    matrix = f"{width} × {height}"
    if not view.spacing.known:
        return f"{matrix}, {view.spacing.calibration}: lengths in pixels"
    row, column = view.spacing.row_mm, view.spacing.column_mm
    pixel = f"{row:.3g} mm" if row == column else f"{row:.3g} × {column:.3g} mm"
    return f"{matrix}, pixel {pixel} ({view.spacing.calibration})"


def subtraction_line(view: View) -> str:
    """Whether the run is subtracted, and by whom."""
    if view.native is not None:
        return "subtracted here, unsubtracted frames kept"
    return "subtracted run" if view.subtracted else "not subtracted"


def guess_line(guess: Guess) -> str:
    """A conclusion and its reason."""
    return f"{guess.what}: {guess.value} ({guess.reason})"


def reading_line(
    guesses: Iterable[Guess], topic: str, title: str, value: str, otherwise: str = "as the file says"
) -> str:
    """What holds on one topic, and why: the reason of its guess, or what to say where nothing was guessed."""
    guess = next((guess for guess in guesses if guess.what == topic), None)
    return f"{title}: {value} ({guess.reason if guess else otherwise})"


def warnings_of(study: Study, names: tuple[str, ...]) -> list[str]:
    """Everything that was wrong with the files, named by view."""
    named = [
        f"{name}: {warning}"
        for name, view in zip(names, study.views, strict=True)
        for warning in view.warnings
    ]
    return [*study.warnings, *named]
