"""The bolus of the open study: opacity and maps of its views, made off the GUI thread and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qtpy.QtCore import QObject, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.inference.bolus import BolusMaps, maps_of_runs, opacity_of_all, steady
from napari_clipmed.inference.opacity import OpacityRun
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study, View

BOLUS_KEY = "bolus"
"""Key of the job; a newer one supersedes it."""


@dataclass(frozen=True, eq=False)
class Bolus:
    """What is known of the bolus of one study, by view.

    Parameters
    ----------
    shown : tuple of str
        Pixel hashes of the views that it was made from.
    calm : tuple of (OpacityRun or ClipmedError)
        Opacity, without the frames in which the patient had moved.
    maps : tuple of (BolusMaps or ClipmedError)
        Or why there are none.
    """

    shown: tuple[str, ...]
    calm: tuple[OpacityRun | ClipmedError, ...]
    maps: tuple[BolusMaps | ClipmedError, ...]

    @property
    def mapped(self) -> dict[int, BolusMaps]:
        """The views that have maps."""
        return {index: maps for index, maps in enumerate(self.maps) if isinstance(maps, BolusMaps)}


class BolusDesk(QObject):
    """Makes and keeps the `Bolus` of a session's study.

    Attributes
    ----------
    changed : Signal(object)
        The new `Bolus`, or None when the old one no longer holds.
    failed : Signal(object)
        The `ClipmedError` that kept it from being made.
    """

    changed = Signal(object)
    failed = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        self._bolus: Bolus | None = None
        session.study_changed.connect(self.check)
        session.subtraction_changed.connect(self.check)

    @property
    def bolus(self) -> Bolus | None:
        """What is known now of what is shown now."""
        self.check()
        return self._bolus

    def check(self, *_: object) -> None:
        """Forget what no longer holds: another study, or other masks or shifts for the same one."""
        study = self._session.study
        if self._bolus is not None and (study is None or shown_in(study) != self._bolus.shown):
            self._session.jobs.cancel(BOLUS_KEY)
            self._bolus = None
            self.changed.emit(None)

    def make(self) -> None:
        """Follow the bolus off the GUI thread, unless that was done or is under way."""
        study, jobs = self._session.study, self._session.jobs
        if study is None or self._bolus is not None or jobs.running(BOLUS_KEY) is not None:
            return
        jobs.start(
            lambda progress: follow(study, progress),
            title="Follow the bolus",
            on_done=self._take,
            on_error=self.failed.emit,
            key=BOLUS_KEY,
        )

    def _take(self, bolus: Bolus) -> None:
        study = self._session.study
        if study is not None and shown_in(study) == bolus.shown:
            self._bolus = bolus
            self.changed.emit(bolus)


def follow(study: Study, progress: Progress) -> Bolus:
    """Opacity and maps of all views.

    Raises
    ------
    ClipmedError
        When no view is a bolus time series; the first view's reason.
    """
    runs = opacity_of_all([vessels_alone(view) for view in study.views], progress)
    if not any(isinstance(run, OpacityRun) for run in runs):
        raise next(run for run in runs if isinstance(run, ClipmedError))
    calm = tuple(steady(run)[0] if isinstance(run, OpacityRun) else run for run in runs)
    return Bolus(shown_in(study), calm, maps_of_runs(runs, progress))


def shown_in(study: Study) -> tuple[str, ...]:
    """Pixel hashes of the views."""
    return tuple(view.pixel_hash for view in study.views)


def vessels_alone(view: View) -> View:
    """The view without the landmarks that are shown behind its vessels."""
    if view.subtraction is None or not view.subtraction.landmark:
        return view
    return resubtracted(view, replace(view.subtraction, landmark=0.0))
