"""Time maps of the bolus: which, how coloured, on black or over the frames, the legend, the value here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.bolus_desk import Bolus, BolusDesk
from napari_clipmed.gui.keys import TOGGLE_MAP, spoken
from napari_clipmed.gui.map_overlay import MapOverlay
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import hint_label, named, say, wrapped_label
from napari_clipmed.gui.widgets.number_field import NumberField
from napari_clipmed.inference.bolus import BolusMaps
from napari_clipmed.inference.colour_maps import (
    Palette,
    Quantity,
    Scale,
    common_scale,
    draw_legend,
    legend,
    render,
    values_of,
)

if TYPE_CHECKING:
    import napari

SHOW, HIDE = "Show map", "Hide map"
HINT = "Colours every pixel by when the contrast was densest there: arteries red, veins blue."
CUT_OFF_SHARE = 0.05
"""Share of the shown pixels that still darken at the last frame, from which that is said."""


class MapsPane(QWidget):
    """Controls of the maps of one session.

    Parameters
    ----------
    session : ReviewSession
    desk : BolusDesk
        Makes the maps.
    """

    def __init__(self, session: ReviewSession, desk: BolusDesk) -> None:
        super().__init__()
        self.session, self.desk = session, desk
        self.overlay = MapOverlay(session)
        self._wanted = False
        self._build()
        desk.changed.connect(self._on_bolus)
        session.study_changed.connect(self._dress)
        session.bind_key(TOGGLE_MAP, self.toggle)
        session.viewer.mouse_move_callbacks.append(self._on_move)
        self._on_bolus(desk.bolus)

    def _build(self) -> None:
        self.button = named(QPushButton(keyed(SHOW, spoken(TOGGLE_MAP))), "show_map")
        self.button.clicked.connect(self.toggle)
        self.quantity = _combo("quantity", [which.spoken for which in Quantity])
        self.palette_box = _combo("palette", [str(palette) for palette in Palette])
        self.palette_box.setToolTip("Colours of times: as on consoles, or told apart by all colour vision")
        self.dark = named(QCheckBox("On black"), "dark_ground")
        self.dark.setChecked(True)
        self.dark.setToolTip("On black as consoles show it, or over the frames")
        self.opacity = named(QSlider(Qt.Orientation.Horizontal), "map_opacity")
        self.opacity.setRange(5, 100)
        self.opacity.setValue(100)
        self.opacity.setAccessibleName("Opacity of the map")
        self.low = NumberField("map_low", "Value of the first colour")
        self.high = NumberField("map_high", "Value of the last colour")
        for field in (self.low, self.high):
            field.typed.connect(self._paint)
        self.auto = named(QPushButton("Auto"), "map_auto")
        self.auto.setToolTip("Colours from the first vessels to the last ones of both views")
        self.legend = named(QLabel(), "map_legend")
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.here = wrapped_label(name="map_here")
        self.note = hint_label(HINT, "map_note")
        self.quantity.activated.connect(self._rescale)
        self.palette_box.activated.connect(self._paint)
        self.dark.toggled.connect(self._paint)
        self.opacity.valueChanged.connect(lambda value: self.overlay.set_opacity(value / 100))
        self.auto.clicked.connect(self._rescale)
        self._lay_out()

    def _lay_out(self) -> None:
        self.settings = QWidget()
        grid = QGridLayout(self.settings)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        rows: dict[str, tuple[QWidget, ...]] = {
            "Map": (self.quantity,),
            "Colours": (self.palette_box,),
            "From, to": (self.low, self.high, self.auto),
            "Opacity": (self.opacity, self.dark),
        }
        for number, (title, parts) in enumerate(rows.items()):
            row = QHBoxLayout()
            for part in parts:
                row.addWidget(part, 1)
            grid.addWidget(QLabel(title), number, 0)
            grid.addLayout(row, number, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (self.button, self.settings, self.legend, self.here, self.note):
            column.addWidget(part)

    # -- what is chosen -----------------------------------------------------------------------------------

    @property
    def which(self) -> Quantity:
        """The chosen map."""
        return list(Quantity)[self.quantity.currentIndex()]

    @property
    def palette_chosen(self) -> Palette:
        """The chosen colours of times."""
        return list(Palette)[self.palette_box.currentIndex()]

    @property
    def scale(self) -> Scale:
        """Values of the first and of the last colour."""
        return Scale(self.low.value, max(self.high.value, self.low.value + 0.01))

    def toggle(self) -> None:
        """Show the map, made first where need be, or hide it."""
        if self.desk.bolus is None:
            self._wanted = True
            self.desk.make()
            return
        if self.overlay.layers:
            self.overlay.set_visible(not self.overlay.visible)
        else:
            self._paint()
        self._dress()

    # -- inside -------------------------------------------------------------------------------------------

    def _on_bolus(self, bolus: Bolus | None) -> None:
        self.overlay.remove()
        self.settings.setVisible(bolus is not None)
        self.legend.setVisible(bolus is not None)
        say(self.here, "")
        if bolus is None:
            say(self.note, HINT)
            self._dress()
            return
        wanted, self._wanted = self._wanted, False
        self._set_scale(bolus)
        say(self.note, "\n".join(self._notes(bolus)))
        if wanted:
            self._paint()
        self._draw_legend()
        self._dress()

    def _rescale(self) -> None:
        if self.desk.bolus is not None:
            self._set_scale(self.desk.bolus)
            self._paint()

    def _set_scale(self, bolus: Bolus) -> None:
        scale = common_scale(list(bolus.mapped.values()), self.which)
        self.low.set_value(scale.low)
        self.high.set_value(scale.high)

    def _paint(self, *_: object) -> None:
        """Lay the chosen map over its views, in the chosen colours."""
        bolus = self.desk.bolus
        if bolus is None:
            return
        for index, maps in bolus.mapped.items():
            picture = render(maps, self.which, self.scale, self.palette_chosen, self.dark.isChecked())
            self.overlay.show(index, picture, self.opacity.value() / 100)
        self._draw_legend()
        self._dress()

    def _draw_legend(self) -> None:
        bolus = self.desk.bolus
        if bolus is None or not bolus.mapped:
            return
        maps = next(iter(bolus.mapped.values()))
        bar = draw_legend(
            legend(maps, self.which, self.scale, self.palette_chosen), width=max(self.width(), 240)
        )
        height, width, _ = bar.shape
        image = QImage(np.ascontiguousarray(bar).data, width, height, 3 * width, QImage.Format.Format_RGB888)
        self.legend.setPixmap(QPixmap.fromImage(image))
        self.legend.setFixedHeight(height)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the legend as wide as the dock."""
        super().resizeEvent(event)
        self._draw_legend()

    def _dress(self, *_: object) -> None:
        self.button.setText(keyed(HIDE if self.overlay.visible else SHOW, spoken(TOGGLE_MAP)))
        empty = self.session.study is None
        self.button.setEnabled(not empty)
        self.button.setToolTip("Open an angiogram first" if empty else HINT)

    def _notes(self, bolus: Bolus) -> list[str]:
        """Why a view has no map, what was left out, what was cut off."""
        names = self.session.view_names
        said = []
        for name, maps in zip(names, bolus.maps, strict=True):
            if isinstance(maps, ClipmedError):
                said.append(f"{name}: no map. {maps.message} {maps.hint}")
                continue
            said += [f"{name}: {note}" for note in maps.notes]
            shown = np.isfinite(maps.peak).sum()
            share = maps.cut_off.sum() / max(shown, 1)
            if share > CUT_OFF_SHARE:
                said.append(f"{name}: {share:.0%} of the pixels peak after the run ends.")
        if any(np.isnan(maps.time_to_peak[np.isfinite(maps.peak)]).any() for maps in bolus.mapped.values()):
            said.append("Grey, or without colour: too faint to tell its peak to half a frame.")
        units = {maps.time_unit for maps in bolus.mapped.values()}
        if "frames" in units:
            said.append("The file tells no times: frame numbers stand in for seconds.")
        return said

    def _on_move(self, viewer: napari.Viewer, event: Any) -> None:
        """Say the value under the mouse."""
        if self.desk.bolus is None or not self.isVisible():
            return
        say(self.here, self.value_at(*viewer.cursor.position[-2:]))

    def value_at(self, y: float, x: float) -> str:
        """The chosen map at a world point, in words; empty outside the views."""
        hanging, bolus = self.session.hanging, self.desk.bolus
        index = hanging.pane_at(y, x) if hanging is not None else None
        if hanging is None or bolus is None or index is None or index not in bolus.mapped:
            return ""
        maps, name = bolus.mapped[index], self.session.view_names[index]
        row, column = hanging.placements[index].pixel_at(y, x)
        return f"{name} here: {_spoken_value(maps, self.which, row, column)}"


def _spoken_value(maps: BolusMaps, which: Quantity, row: int, column: int) -> str:
    value = float(values_of(maps, which)[row, column])
    if not np.isfinite(value):
        return "no contrast" if not np.isfinite(maps.peak[row, column]) else "not to be told"
    later = " or later" if which is Quantity.TIME_TO_PEAK and maps.cut_off[row, column] else ""
    return f"{value:.2f} {which.unit(maps)}{later}"


def _combo(name: str, items: list[str]) -> QComboBox:
    box = named(QComboBox(), name)
    box.addItems(items)
    box.setMinimumContentsLength(6)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box
