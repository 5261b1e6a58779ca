"""The thin strip under the image: play, speed, what really plays, the time, and the curve over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_clipmed.gui.cine import Cine, Playing
from napari_clipmed.gui.frame_clock import Order, rate_words
from napari_clipmed.gui.keys import PLAY, STEP_BACK, STEP_ON
from napari_clipmed.gui.session import ReviewSession, session_for
from napari_clipmed.gui.theme import SPACING, TEXT_QUIET, hint_label, named, say
from napari_clipmed.gui.time_base import slider_note
from napari_clipmed.gui.time_curve import TimeCurve, TimeSeries, attention_series

if TYPE_CHECKING:
    import napari

    from napari_clipmed.study import Study

SPEEDS = {"¼×": 0.25, "½×": 0.5, "1×": 1.0, "2×": 2.0, "4×": 4.0}
ORDERS = {"↻ loop": Order.LOOP, "⇄ sweep": Order.SWEEP, "→ once": Order.ONCE}
DROPPED_WORTH_SAYING = 0.02
STRIP_NAME = "Time"
STRIP_HEIGHT = 92
HINT_MOVING = "Attention over time comes when classified."
HINT_STILL = "Time runs here once a run is open."


class TimeStrip(QWidget):
    """Cine controls and the curve of the open study.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose session is shown.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self.session = session_for(viewer)
        self.cine = Cine(self.session, self)
        self.setObjectName("time_strip")
        self.play_button = _button("▶", "play", f"Play or stop ({PLAY})")
        self.back_button = _button("◀", "back", f"One frame back  ( {STEP_BACK} )")
        self.on_button = _button("▸", "on", f"One frame on  ( {STEP_ON} )")
        self.back_button.setText("◂")
        self.speed_box = named(QComboBox(), "speed")
        self.speed_box.addItems(list(SPEEDS))
        self.speed_box.setCurrentText("1×")
        self.speed_box.setToolTip("Speed relative to acquisition")
        self.speed_box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.order_box = named(QComboBox(), "order")
        self.order_box.addItems(list(ORDERS))
        self.order_box.setToolTip("Round after round, to and fro, or once")
        self.order_box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.rate_label = named(QLabel(), "rate")
        self.slider_note = hint_label("", "slider_note")
        self.time_label = named(QLabel(), "time")
        self.curve = TimeCurve()
        self.curve_hint = named(QLabel(HINT_STILL), "curve_hint")
        self._lay_out()
        self._connect()
        self._on_study(self.session.study)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Thin."""
        return QSize(600, STRIP_HEIGHT)

    def _lay_out(self) -> None:
        self.time_label.setMinimumWidth(110)
        self.rate_label.setMinimumWidth(150)
        self.rate_label.setStyleSheet(f"color: {TEXT_QUIET};")
        self.curve_hint.setStyleSheet(f"color: {TEXT_QUIET};")
        buttons = QHBoxLayout()
        buttons.setSpacing(2)
        for part in (self.back_button, self.play_button, self.on_button, self.speed_box, self.order_box):
            buttons.addWidget(part)
        words = QHBoxLayout()
        words.setSpacing(SPACING)
        words.addWidget(self.time_label)
        words.addWidget(self.rate_label)
        controls = QVBoxLayout()
        controls.setSpacing(2)
        controls.addLayout(buttons)
        controls.addLayout(words)
        controls.addWidget(self.slider_note)
        controls.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACING, 2, SPACING, 2)
        row.setSpacing(SPACING)
        row.addLayout(controls)
        row.addWidget(self.curve, stretch=1)
        overlay = QVBoxLayout(self.curve)
        overlay.setContentsMargins(0, 0, 0, 24)
        self.curve_hint.setWordWrap(True)
        self.curve_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        overlay.addWidget(self.curve_hint)
        self.curve_hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setMaximumHeight(STRIP_HEIGHT + 40)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def _connect(self) -> None:
        session, cine = self.session, self.cine
        self.play_button.clicked.connect(cine.toggle)
        self.back_button.clicked.connect(lambda: cine.step(-1))
        self.on_button.clicked.connect(lambda: cine.step(1))
        self.speed_box.currentTextChanged.connect(lambda text: cine.set_speed(SPEEDS[text]))
        self.order_box.currentTextChanged.connect(lambda text: cine.set_order(ORDERS[text]))
        self.curve.clicked.connect(self._go_to_time)
        cine.playing_changed.connect(self._on_playing)
        cine.measured.connect(self._on_measured)
        session.study_changed.connect(self._on_study)
        session.frame_changed.connect(self._on_frame)
        session.active_view_changed.connect(self._on_active_view)
        session.diagnosis_changed.connect(self._draw)
        session.heat.changed.connect(self._draw)
        session.bind_key(PLAY, cine.toggle)
        session.bind_key(STEP_BACK, lambda: cine.step(-1))
        session.bind_key(STEP_ON, lambda: cine.step(1))

    def _on_study(self, study: Study | None) -> None:
        moving = self.cine.clock is not None
        for part in (self.play_button, self.back_button, self.on_button, self.speed_box, self.order_box):
            part.setEnabled(moving)
        self.play_button.setToolTip(
            f"Play or stop ({PLAY})" if moving else "Nothing moves here: open a run with several frames"
        )
        self.time_label.setText("")
        self.rate_label.setText("")
        say(self.slider_note, slider_note(study) if study is not None else "")
        if moving:
            self._show_nominal_rate()
            self._show_span()
        self._draw()
        self._on_frame()

    def _show_nominal_rate(self) -> None:
        """The rate as acquired, of each view where they differ."""
        study = self.session.study
        if study is None:
            return
        rates = {
            name: rate_words(view.timing)
            for name, view in zip(self.session.view_names, study.views, strict=True)
            if view.n_frames > 1
        }
        same = len(set(rates.values())) == 1
        words = next(iter(rates.values())) if same else "  ".join(f"{n} {rate}" for n, rate in rates.items())
        self.rate_label.setText(words)
        assumed = "The file tells no times; four frames a second are assumed"
        self.rate_label.setToolTip(assumed if "assumed" in words else "As acquired")

    def _on_playing(self, playing: bool) -> None:
        self.play_button.setText("❚❚" if playing else "▶")
        if not playing and self.cine.clock is not None:
            self._show_nominal_rate()

    def _on_measured(self, playing: Playing) -> None:
        words = f"{playing.shown:.1f} fps shown"
        if playing.dropped > DROPPED_WORTH_SAYING:
            words += f" of {playing.due:.1f}"
        self.rate_label.setText(words)
        self.rate_label.setToolTip(
            f"Frames a second really shown; {playing.dropped:.0%} of those due were dropped. "
            "A slow screen drops frames, not time."
        )

    def _on_active_view(self, name: str) -> None:
        if self.cine.clock is not None and self.session.study is not None:
            self._show_span()
        self._on_frame()

    def _on_frame(self, frames: object = None) -> None:
        study = self.session.study
        if study is None or self.cine.clock is None:
            return
        index = self.cine.leading
        view, frame = study.views[index], self.session.frame_of(index)
        now = float(self._times(index)[frame])
        self.curve.show_now(now)
        words = [self.session.view_names[index]] if len(study.views) > 1 else []
        words += [f"{now:.2f} s"] if view.timing.known else []
        self.time_label.setText("  ".join([*words, f"{frame + 1}/{view.n_frames}"]))

    def _times(self, view_index: int) -> NDArray[np.float64]:
        """Time of each frame in seconds, or its number, from 1, where no times are known."""
        study = self.session.study
        if study is None:
            return np.zeros(1)
        timing = study.views[view_index].timing
        return timing.times_ms / 1000.0 if timing.known else np.arange(1.0, len(timing.times_ms) + 1)

    def _show_span(self) -> None:
        """Seconds begin with the study, which may be before the first frame of this view."""
        study, leading = self.session.study, self.cine.leading
        if study is not None:
            first = 0.0 if study.views[leading].timing.known else 1.0
            self.curve.set_span(first, float(self._times(leading)[-1]))

    def _go_to_time(self, time: float) -> None:
        if self.cine.clock is not None:
            view = self.cine.leading
            self.session.go_to_frame(view, int(np.argmin(np.abs(self._times(view) - time))))

    def _draw(self, answer: object = None) -> None:
        """Draw what the session's diagnosis and saliency say about time."""
        diagnosis, saliency = self.session.diagnosis, self.session.heat.saliency
        views = {*(diagnosis.attention if diagnosis else ()), *(saliency.maps if saliency else ())}
        seconds = {
            name: self._times(index) for name in views if (index := self.session.view_index(name)) is not None
        }
        attention = attention_series(diagnosis.attention, seconds) if diagnosis else []
        peaks = []
        if saliency is not None:
            peaks = [
                TimeSeries(
                    name, seconds[name][saliency.frames[name]], saliency.peaks(name).astype(np.float64)
                )
                for name in saliency.maps
                if name in seconds
            ]
        moving = self.cine.clock is not None
        self.curve.draw(attention if moving else [], peaks if moving else [])
        self.curve.set_running(moving)
        self.curve_hint.setText(HINT_MOVING if moving else HINT_STILL)
        self.curve_hint.setVisible(not attention and not peaks)


def ensure_strip(viewer: napari.Viewer) -> TimeStrip | None:
    """The strip of a window, added under the image when it is not there yet; None without a window."""
    window = getattr(viewer, "window", None)
    if window is None:
        return None
    session: ReviewSession = session_for(viewer)
    strip = session.strip
    if isinstance(strip, TimeStrip):
        return strip
    session.strip = strip = TimeStrip(viewer)
    window.add_dock_widget(strip, name=STRIP_NAME, area="bottom", add_vertical_stretch=False)
    return strip


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = named(QPushButton(text), name)
    button.setToolTip(tip)
    button.setFixedWidth(34)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
