"""A table of a few rows for a narrow dock."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget

from napari_clipmed.gui.theme import named

HEIGHT = 112
"""Pixels: the header and four rows; more rows scroll."""


def small_table(name: str, columns: Sequence[str], tips: Sequence[str]) -> QTableWidget:
    """A table that fits its dock: whole rows are chosen, columns share the width.

    Parameters
    ----------
    name : str
        Object name.
    columns, tips : sequence of str
        Headings, and what each column means.
    """
    table = named(QTableWidget(0, len(columns)), name)
    table.setHorizontalHeaderLabels(list(columns))
    for column, tip in enumerate(tips):
        heading = table.horizontalHeaderItem(column)
        if heading is not None:
            heading.setToolTip(tip)
    table.verticalHeader().setVisible(False)
    table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setFixedHeight(HEIGHT)
    return table
