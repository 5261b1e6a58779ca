"""Putting right what the reader concluded: pure functions, and their record as plain data.

Every conclusion is a `Guess` on the `Study` or `View`, under a `Topic`. Here a person's word takes its place:
the value changes, and the guess then says that it was set. Subtraction settings (masks, shifts) are not here
but in `io.subtraction`; this module only knows whether a run is taken to be subtracted already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io.listing import StudyEntry
from napari_clipmed.io.study_reader import in_order, title_of
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.study import (
    Calibration,
    FrameTiming,
    Guess,
    Kind,
    PixelSpacing,
    Projection,
    Study,
    Topic,
    View,
)

BY_READER = "set by the reader"
APART = "apart"
"""Value of an overrule about PAIRING that takes a pair apart."""


@dataclass(frozen=True)
class Overrule:
    """One conclusion that a person has put right; plain data, without patient or path.

    Parameters
    ----------
    what : Topic
        What it is about.
    value : str or number or sequence of numbers
        KIND: "angiogram", "chest", "other". PROJECTION: "AP", "LA", "PA", "OBLIQUE", "UNKNOWN".
        TIME_BASE: milliseconds between frames, or one time a frame in ms. SUBTRACTION: "subtracted" or
        "native" (whether the stored run is subtracted already). CALIBRATION: millimetres a pixel, rows and
        columns. PAIRING: "apart", or the SOP Instance UID of the other plane.
    view : str
        `key_of` the view; empty for KIND and for a study of one view.
    reason : str
        What the guess then says; may name who set it and when. Not part of the plain data.
    """

    what: Topic
    value: str | float | tuple[float, ...]
    view: str = ""
    reason: str = BY_READER

    def __post_init__(self) -> None:
        if isinstance(self.value, int):
            object.__setattr__(self, "value", float(self.value))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"what": self.what.value, "value": value, "view": self.view}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Overrule:
        """The same overrule again.

        Raises
        ------
        ClipmedError
            When the data do not describe one.
        """
        try:
            value = data["value"]
            if not isinstance(value, str):
                value = tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)
            return cls(Topic(data["what"]), value, str(data.get("view", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise ClipmedError(
                "A saved correction of this study cannot be understood.", "Set it again in the Study dock."
            ) from error


def key_of(view: View) -> str:
    """What names a view in an `Overrule`: its SOP Instance UID, else the hash of its stored frames."""
    return view.source.sop_instance_uid or view.source_hash


def evenly_timed(count: int, interval_ms: float) -> FrameTiming:
    """Frames at a constant interval.

    Parameters
    ----------
    count : int
        Number of frames.
    interval_ms : float
        Milliseconds from frame to frame, more than 0.
    """
    if not interval_ms > 0:
        raise ClipmedError("The time between frames must be more than 0 ms.", "Type a positive number.")
    return FrameTiming(np.arange(count, dtype=np.float64) * interval_ms, BY_READER, known=True)


def retimed(view: View, timing: FrameTiming, reason: str = BY_READER) -> View:
    """The view on another time base.

    Raises
    ------
    ClipmedError
        When there is not one time a frame, or the times run backwards.
    """
    if len(timing.times_ms) != view.n_frames:
        raise ClipmedError(
            f"There are {len(timing.times_ms)} times for {view.n_frames} frames.", "Give one time a frame."
        )
    if not np.isfinite(timing.times_ms).all() or (np.diff(timing.times_ms) < 0).any():
        raise ClipmedError("The times of the frames run backwards.", "Give the times in order.")
    value = f"{timing.interval_ms:g} ms a frame" if timing.known else timing.source
    return view.concluding(Guess(Topic.TIME_BASE, value, reason), timing=timing)


def recalibrated(view: View, spacing: PixelSpacing, reason: str = BY_READER) -> View:
    """The view with another pixel size, for example from a catheter of known width."""
    if not min(spacing.row_mm, spacing.column_mm) > 0:
        raise ClipmedError("The size of a pixel must be more than 0 mm.", "Type a positive number.")
    return view.concluding(Guess(Topic.CALIBRATION, spacing.calibration, reason), spacing=spacing)


def taken_as_subtracted(view: View, subtracted: bool, reason: str = BY_READER) -> View:
    """The stored run taken to be subtracted by the scanner, or not.

    A run that was subtracted here is shown as stored when the scanner is said to have subtracted it; it is
    native already otherwise, and stays as it is.
    """
    if view.native is not None:
        if not subtracted:
            return view
        view = resubtracted(view, None)
    value = "subtracted by the scanner" if subtracted else "not subtracted"
    return view.concluding(Guess(Topic.SUBTRACTION, value, reason), subtracted=subtracted)


def reclassified(study: Study, kind: Kind, reason: str = BY_READER) -> Study:
    """The study taken for another kind of examination; decides which models apply."""
    kept = tuple(guess for guess in study.guesses if guess.what != Topic.KIND)
    return replace(study, kind=kind, guesses=(*kept, Guess(Topic.KIND, kind, reason)))


def separated(study: Study) -> tuple[Study, ...]:
    """A pair as studies of one view each."""
    if len(study.views) < 2:
        return (study,)
    why = Guess(Topic.PAIRING, APART, BY_READER)
    return tuple(
        replace(study, views=(view,), pairing=why, title=title_of(study.kind, (view,)))
        for view in map(_beginning_alone, study.views)
    )


def _beginning_alone(view: View) -> View:
    """A plane whose times count from its own first frame."""
    timing = replace(view.timing, times_ms=view.timing.times_ms - view.timing.times_ms[0])
    guesses = tuple(guess for guess in view.guesses if guess.what != Topic.BEGIN)
    return replace(view, timing=timing, guesses=guesses)


def paired(first: Study, second: Study, reason: str = BY_READER) -> Study:
    """Two studies of one view each as the two planes of one.

    Raises
    ------
    ClipmedError
        When one has more views, or they belong to different patients.
    """
    if len(first.views) != 1 or len(second.views) != 1:
        raise ClipmedError("Only two single views can be paired.", "Take the other pair apart first.")
    patients = {study.identity.key for study in (first, second)} - {""}
    if len(patients) > 1:
        raise ClipmedError(
            "The two views belong to different patients.", "Choose a view of the same patient."
        )
    views = in_order((*first.views, *second.views))
    return replace(
        first,
        views=views,
        pairing=Guess(Topic.PAIRING, "chosen together", reason),
        synthetic=first.synthetic or second.synthetic,
        title=title_of(first.kind, views),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
    )


def exchanged(study: Study, reason: str = BY_READER) -> Study:
    """A pair whose two projections were mixed up, the right way round."""
    if len(study.views) != 2:
        raise ClipmedError("Only the views of a pair can be exchanged.", "Set the projection of this view.")
    first, second = study.views
    views = (first.relabelled(second.projection, reason), second.relabelled(first.projection, reason))
    return replace(study, views=views, title=title_of(study.kind, in_order(views)))


def overruled(study: Study, overrules: Iterable[Overrule]) -> Study:
    """The study with saved corrections applied, the later one winning; those of absent views are passed over.

    Pairing is not applied here, for it needs other files: see `regrouped`. The views keep their places
    whatever they are called, since records name them by their place.

    Raises
    ------
    ClipmedError
        When a value makes no sense for its topic.
    """
    named = study.title != title_of(study.kind, in_order(study.views))
    for overrule in overrules:
        if overrule.what is Topic.KIND:
            study = reclassified(study, _word(Kind, overrule), overrule.reason)
            continue
        views = tuple(
            _view_overruled(view, overrule)
            if overrule.view == key_of(view) or (not overrule.view and len(study.views) == 1)
            else view
            for view in study.views
        )
        study = replace(study, views=views)
    return study if named else replace(study, title=title_of(study.kind, in_order(study.views)))


def as_read_again(view: View, as_read: View, topic: Topic) -> View:
    """A view with the reader's own conclusion on one topic back.

    Parameters
    ----------
    view, as_read : View
        As it is now, and as the reader gave it: of the same run.
    """
    fields = AS_READ_FIELDS.get(topic, ())
    guesses = tuple(guess for guess in view.guesses if guess.what != topic)
    guesses += tuple(guess for guess in as_read.guesses if guess.what == topic)
    return replace(view, guesses=guesses, **{field: getattr(as_read, field) for field in fields})


AS_READ_FIELDS: dict[Topic, tuple[str, ...]] = {
    Topic.PROJECTION: ("projection",),
    Topic.TIME_BASE: ("timing",),
    Topic.CALIBRATION: ("spacing",),
    Topic.SUBTRACTION: ("subtracted",),
}
"""What of a view each topic decides."""


def _view_overruled(view: View, overrule: Overrule) -> View:
    """One view with one correction."""
    why = overrule.reason
    match overrule.what, overrule.value:
        case Topic.PROJECTION, str():
            return view.relabelled(_word(Projection, overrule), why)
        case Topic.TIME_BASE, float() as interval:
            timing = evenly_timed(view.n_frames, interval)
            begun = view.timing.times_ms[0] if view.timing.known else 0.0
            return retimed(view, replace(timing, times_ms=timing.times_ms + begun), why)
        case Topic.TIME_BASE, tuple() as times:
            timing = FrameTiming(np.asarray(times, np.float64), BY_READER, known=True)
            return retimed(view, timing, why)
        case Topic.CALIBRATION, (row, column):
            return recalibrated(view, PixelSpacing(row, column, Calibration.PATIENT), why)
        case Topic.SUBTRACTION, "subtracted" | "native" as word:
            return taken_as_subtracted(view, word == "subtracted", why)
        case ((Topic.PAIRING | Topic.WINDOW), _):
            return view
        case _:
            raise _nonsense(overrule)


def regrouped(entries: Iterable[StudyEntry], overrules: Iterable[Overrule]) -> list[StudyEntry]:
    """The entries of a folder with saved pairings applied: taken apart, or put together.

    Parameters
    ----------
    entries : iterable of StudyEntry
        As `list_studies` gives them.
    overrules : iterable of Overrule
        Those about PAIRING are used; `view` is the SOP Instance UID of one plane. A partner that is not among
        the entries, or belongs to another patient, changes nothing.
    """
    listed = list(entries)
    for overrule in overrules:
        if overrule.what is not Topic.PAIRING:
            continue
        listed = _apart(listed, overrule.view, overrule.reason)
        if overrule.value != APART:
            other = str(overrule.value)
            listed = _together(_apart(listed, other, overrule.reason), overrule.view, other, overrule.reason)
    return listed


def _apart(entries: list[StudyEntry], sop: str, reason: str) -> list[StudyEntry]:
    """The pair that holds an instance as two entries, in its place."""
    result = []
    for entry in entries:
        if sop not in entry.sops or len(entry.paths) == 1:
            result.append(entry)
            continue
        why = Guess(Topic.PAIRING, APART, reason)
        result += [
            replace(entry, paths=(path,), sops=(own,), pairing=why)
            for path, own in zip(entry.paths, entry.sops, strict=True)
        ]
    return result


def _together(entries: list[StudyEntry], one: str, other: str, reason: str) -> list[StudyEntry]:
    """Two single entries as one, in the place of the first."""
    pair = [entry for entry in entries if entry.sops in ((one,), (other,))]
    patients = {entry.identity.key for entry in pair} - {""}
    if len(pair) != 2 or len(patients) > 1:
        return entries
    first, second = pair
    both = replace(
        first,
        paths=first.paths + second.paths,
        sops=first.sops + second.sops,
        pairing=Guess(Topic.PAIRING, "chosen together", reason),
    )
    return [both if entry is first else entry for entry in entries if entry is not second]


Word = TypeVar("Word", Kind, Projection)


def _word(words: type[Word], overrule: Overrule) -> Word:
    try:
        return words(overrule.value)  # type: ignore[arg-type]
    except ValueError as error:
        raise _nonsense(overrule) from error


def _nonsense(overrule: Overrule) -> ClipmedError:
    return ClipmedError(
        f"“{overrule.value}” is no {overrule.what} that can be set.", "Set it again in the Study dock."
    )
