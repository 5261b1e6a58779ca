"""One look for all docks: colours that colour-blind readers tell apart, spacing, and small labelled parts."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_clipmed.gui.tabs import ReadableTabs

OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
}
"""Okabe and Ito's palette, safe for all common colour vision."""

MASK_COLOURS = tuple(OKABE_ITO[name] for name in ("orange", "sky", "green", "purple", "yellow", "vermillion"))
"""Colour of mask class 1, 2, …; starts again after the last."""

VIEW_COLOURS = {"AP": OKABE_ITO["sky"], "LA": OKABE_ITO["orange"], "both": "#E8E8E8"}
"""Colour of a view in curves, bars and borders."""

SPACING = 8
MARGIN = 8
DOCK_WIDTH = (300, 420)
"""Least and greatest comfortable width of a dock, in pixels."""

TEXT_QUIET = "#A9B1BA"
TEXT_WARN = "#F0C674"
RESEARCH_USE = "Research use only, not for diagnosis"

_BANNER = "QLabel {{ background: {back}; color: {fore}; border-left: 4px solid {edge}; padding: 6px 8px; }}"
_BANNERS = {
    "error": {"back": "#3A1F1A", "fore": "#FFD9CC", "edge": OKABE_ITO["vermillion"]},
    "warning": {"back": "#3A3216", "fore": "#FFEFB0", "edge": OKABE_ITO["yellow"]},
    "info": {"back": "#1C2C38", "fore": "#D6ECFA", "edge": OKABE_ITO["sky"]},
}


Widget = TypeVar("Widget", bound=QWidget)


def named(widget: Widget, name: str) -> Widget:
    """Give a widget the object name by which tests and style sheets find it."""
    widget.setObjectName(name)
    return widget


def view_colour(name: str) -> str:
    """Colour of a view by its name ("AP", "LA 2", …)."""
    return VIEW_COLOURS.get(name.split(" ")[0], VIEW_COLOURS["AP"])


def section(title: str, *parts: QWidget) -> QWidget:
    """A quiet heading with widgets under it; every part of a dock is one.

    Parameters
    ----------
    title : str
        Heading; empty for none.
    *parts : QWidget
        Stacked below it. More can be added to `.layout()`.
    """
    box = QWidget()
    column = QVBoxLayout(box)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(SPACING // 2)
    if title:
        heading = QLabel(title)
        heading.setStyleSheet(f"QLabel {{ color: {TEXT_QUIET}; font-weight: 600; padding-top: 6px; }}")
        column.addWidget(heading)
    for part in parts:
        column.addWidget(part)
    return box


def wrapped_label(text: str = "", name: str = "") -> QLabel:
    """A label that wraps, can be copied, and never widens its dock."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    if name:
        label.setObjectName(name)
    return label


def empty(layout: QLayout) -> None:
    """Take all widgets out of a layout, out of sight at once, and delete them."""
    while (item := layout.takeAt(0)) is not None:
        if (widget := item.widget()) is not None:
            widget.setParent(None)
            widget.deleteLater()


def hint_label(text: str, name: str = "") -> QLabel:
    """What to do next, in a quiet voice."""
    label = wrapped_label(text, name)
    label.setStyleSheet(f"QLabel {{ color: {TEXT_QUIET}; }}")
    return label


def banner(text: str = "", kind: str = "warning", name: str = "") -> QLabel:
    """A plain strip of text that stays until it no longer holds; hidden while empty.

    Parameters
    ----------
    kind : str
        "error", "warning" or "info".
    """
    label = wrapped_label(text, name)
    label.setStyleSheet(_BANNER.format(**_BANNERS[kind]))
    label.setVisible(bool(text))
    return label


def error_banner(text: str = "", name: str = "") -> QLabel:
    """A banner that says what went wrong and what to do."""
    return banner(text, "error", name)


def say(label: QLabel, text: str) -> None:
    """Set the text of a banner or hint, and hide it while there is nothing to say."""
    label.setText(text)
    label.setVisible(bool(text))


def rule() -> QFrame:
    """A thin line between sections."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setStyleSheet("QFrame { color: #3A3F47; }")
    return line


def scrollable(content: QWidget) -> QScrollArea:
    """Wrap a dock's content so that nothing is cut off on a small screen."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    area.setMinimumWidth(DOCK_WIDTH[0])
    return area


def fill_dock(dock: QWidget, *parts: QWidget | QLayout) -> None:
    """Put the parts of a dock one under another, scrollable, above the note on research use."""
    content = QWidget()
    column = QVBoxLayout(content)
    column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
    column.setSpacing(SPACING)
    for part in parts:
        if isinstance(part, QLayout):
            column.addLayout(part)
        else:
            column.addWidget(part)
    column.addStretch(1)
    column.addWidget(hint_label(RESEARCH_USE))
    outer = QVBoxLayout(dock)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(scrollable(content))
    ReadableTabs(dock)
