"""Measurements of a study as a list and as CSV, the same for the window and the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.measure import Caliper, Segment, Stenosis, wasid

DISTANCE, DIAMETER = "distance", "diameter"
KINDS = (DISTANCE, DIAMETER, *(segment.value for segment in Segment))
"""What a line can be drawn as: a length, a diameter, or one of the diameters of a stenosis."""


@dataclass(frozen=True)
class Measured:
    """One line with its figures.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    view : str
        Name of the view.
    frame : int
        Counted from 1.
    caliper : Caliper
        Of a distance only the drawn length is meant.
    """

    kind: str
    view: str
    frame: int
    caliper: Caliper

    @property
    def words(self) -> str:
        """What is written beside the line."""
        width = self.caliper.width
        if self.kind == DISTANCE:
            return str(self.caliper.by_hand)
        figure = f"⌀ {width.diameter}" if width is not None else f"{self.caliper.by_hand} by hand"
        if self.kind == DIAMETER:
            return figure
        symbol = "Ds" if self.kind == Segment.STENOSIS else "Dn"  # as WASID calls them
        return f"{symbol} {figure.removeprefix('⌀ ')}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        width = self.caliper.width
        return {
            "kind": self.kind,
            "view": self.view,
            "frame": self.frame,
            "line": [*self.caliper.line.start, *self.caliper.line.end],
            "by_hand": round(self.caliper.by_hand.value, 3),
            "diameter": None if self.kind == DISTANCE or width is None else round(width.diameter.value, 3),
            "half_maximum": (
                None if self.kind == DISTANCE or width is None else round(width.half_maximum.value, 3)
            ),
            "unit": self.caliper.by_hand.unit,
            "calibration": self.caliper.by_hand.calibration,
            "note": "" if self.kind == DISTANCE else self.caliper.why_not,
        }


def stenoses_of(measured: Sequence[Measured]) -> dict[str, Stenosis]:
    """The stenosis of each view with lines enough; of several lines of a kind the last counts."""
    found = {}
    for view in dict.fromkeys(one.view for one in measured):
        lines = {
            Segment(one.kind): one.caliper
            for one in measured
            if one.view == view and one.kind in [segment.value for segment in Segment]
        }
        try:
            found[view] = wasid(lines)
        except ClipmedError:
            continue  # lines are still missing
    return found


def stenosis_json(stenosis: Stenosis) -> dict[str, Any]:
    """A stenosis as plain values."""

    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 1)

    return {
        "wasid_percent": rounded(stenosis.percent),
        "method": stenosis.method,
        "reference": stenosis.reference.value,
        "by_profile": rounded(stenosis.by_profile),
        "by_density": rounded(stenosis.by_density),
        "by_hand": rounded(stenosis.by_hand),
    }


def measures_csv(measured: Iterable[Measured], study_hash: str, *, synthetic: bool = False) -> str:
    """All measurements as CSV, without the patient; lines that begin with # say what is meant.

    Parameters
    ----------
    study_hash : str
        `Study.image_hash`, by which the study is found again.
    synthetic : bool
        Whether the study is simulated, which is then said.
    """
    measured = list(measured)
    out = io.StringIO()
    if synthetic:
        out.write("# SIMULATED study, no patient\n")
    out.write(f"# study {study_hash}\n# frames count from 1; line: row0 column0 row1 column1 in pixels\n")
    out.write("# Research use only, not for diagnosis\n")
    columns = (
        "kind", "view", "frame", "by_hand", "diameter", "half_maximum", "unit", "calibration", "line", "note"
    )  # fmt: skip
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for one in measured:
        row = one.to_json()
        row["line"] = " ".join(f"{value:.2f}" for value in row["line"])
        writer.writerow([row[column] for column in columns])
    for view, stenosis in stenoses_of(measured).items():
        told = stenosis_json(stenosis)
        out.write(f"# {view} stenosis (WASID): {told['wasid_percent']} % {told['method']}, ")
        out.write(f"normal diameter {told['reference']}\n")
    return out.getvalue()
