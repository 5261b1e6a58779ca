"""Rows of a table by their keys, as a person types them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from napari_clipmed.errors import ClipmedError

Row = TypeVar("Row")


def chosen_rows(rows: Mapping[str, Row], names: str) -> list[Row]:
    """Those of a list of keys with commas between, in the order of `rows`; "all" for all.

    Raises
    ------
    ClipmedError
        For a key that there is not.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in rows and name != "all"]
    if unknown or not wanted:
        raise ClipmedError(
            f"There is no row {(unknown or [''])[0]!r}.", f"Choose all, or of {', '.join(rows)}."
        )
    return list(rows.values()) if "all" in wanted else [row for key, row in rows.items() if key in wanted]
