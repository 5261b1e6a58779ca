"""The Measure dock: time maps, time–density curves, lengths and stenosis of the open study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QWidget

from napari_clipmed.gui.bolus_desk import BOLUS_KEY, Bolus, BolusDesk
from napari_clipmed.gui.curves_pane import CurvesPane
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.maps_pane import MapsPane
from napari_clipmed.gui.measure_pane import MeasurePane
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.theme import DOCK_WIDTH, fill_dock, hint_label, section
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.study import Kind, Study

if TYPE_CHECKING:
    import napari

EMPTY = "Open an angiogram first: its time maps, curves and measurements are made here."
A_FILM = "A film has no bolus to follow; lengths can be measured on it."


class MeasureDock(QWidget):
    """Measure dock of one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("measure_dock")
        self.session = session_for(viewer)
        self.desk = BolusDesk(self.session)
        self.failure = FailureNote()
        self.empty = hint_label(EMPTY, "empty")
        self.maps = MapsPane(self.session, self.desk)
        self.curves = CurvesPane(self.session, self.desk)
        self.measures = MeasurePane(self.session)
        self.maps_box = section("Time maps", self.maps)
        self.curves_box = section("Time–density curves", self.curves)
        self.measures_box = section("Lengths and stenosis", self.measures)
        fill_dock(
            self,
            JobBar(self.session.jobs, [BOLUS_KEY]),
            self.failure,
            self.empty,
            self.maps_box,
            self.curves_box,
            self.measures_box,
        )
        self.setMinimumWidth(DOCK_WIDTH[0])
        self.desk.failed.connect(self.failure.tell)
        self.desk.changed.connect(self._on_bolus)
        self.session.study_changed.connect(self._on_study)
        self._on_study(self.session.study)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """A comfortable dock."""
        return QSize(340, 600)

    def _on_bolus(self, bolus: Bolus | None) -> None:
        self.failure.clear()

    def _on_study(self, study: Study | None) -> None:
        self.failure.clear()
        moving = study is not None and any(view.n_frames > 1 for view in study.views)
        film = study is not None and (study.kind is Kind.CHEST or not moving)
        self.empty.setText(A_FILM if film else EMPTY)
        self.empty.setVisible(study is None or film)
        self.maps_box.setVisible(moving)
        self.curves_box.setVisible(moving)
        self.measures_box.setVisible(study is not None)
