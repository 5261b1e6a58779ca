"""How alike the sentences of findings are to a backbone: a small coloured matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_clipmed.gui.theme import OKABE_ITO, named
from napari_clipmed.inference.zero_shot import NEARLY_THE_SAME

ROW = 24
MOST_ROWS = 8
"""Rows shown at once; more scroll."""


class LikenessTable(QTableWidget):
    """Cosines of each pair; those that are nearly the same stand out in orange, and by their bold number."""

    def __init__(self) -> None:
        super().__init__()
        named(self, "likeness")
        self.setAccessibleName("Cosines of the findings' sentences with each other")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setDefaultSectionSize(ROW)
            header.setMinimumSectionSize(16)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)

    def show_matrix(
        self, similarity: NDArray[np.float32], keys: Sequence[str], titles: Sequence[str]
    ) -> None:
        """Show (K, K) cosines."""
        self.setRowCount(len(keys))
        self.setColumnCount(len(keys))
        self.setHorizontalHeaderLabels([key[:9] for key in keys])
        self.setVerticalHeaderLabels([key[:9] for key in keys])
        for row in range(len(keys)):
            for column in range(len(keys)):
                value = float(similarity[row, column])
                self.setItem(row, column, _cell(value, row == column, f"{titles[row]} and {titles[column]}"))
        self.setFixedHeight(ROW * min(len(keys), MOST_ROWS) + self.horizontalHeader().sizeHint().height() + 4)


def _cell(value: float, itself: bool, tip: str) -> QTableWidgetItem:
    item = QTableWidgetItem("" if itself else f"{value:.2f}")
    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
    item.setToolTip(f"{tip}: cosine {value:.3f}")
    near = value > NEARLY_THE_SAME and not itself
    colour = QColor(OKABE_ITO["orange"] if near else OKABE_ITO["sky"])
    colour.setAlpha(30 if itself else 235 if near else round(20 + 120 * min(max(value, 0.0), 1.0)))
    item.setBackground(QBrush(colour))
    if near:
        item.setForeground(QBrush(QColor("#1A1A1A")))
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    return item
