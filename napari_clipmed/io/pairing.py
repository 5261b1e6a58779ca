"""Which runs are the two planes of one biplane acquisition, and by which rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pydicom import Dataset
from pydicom.valuerep import TM

from napari_clipmed.io.dicom_values import identity_of, integer, items, number, text
from napari_clipmed.io.geometry import angle_between, angles_of
from napari_clipmed.study import Guess, Topic

MOST_RUNS = 300
"""Runs of one examination among which pairs are sought: more than anybody takes; bounds the search."""

SECONDS_APART = 1.0
ANGLES_APART = (60.0, 120.0)


@dataclass(frozen=True)
class RunHeader:
    """What pairing looks at.

    `seconds` is the time of day of the acquisition, else of the content; `plane` is "A", "B" or empty, by
    Image Type of classic images and Plane Identification (0018,9457) of enhanced ones.
    """

    sop: str = ""
    study: str = ""
    series: str = ""
    patient: str = ""
    references: tuple[str, ...] = ()
    plane: str = ""
    date: str = ""
    seconds: float | None = None
    instance: int | None = None
    angles: tuple[float, float] | None = None
    frames: int = 1

    @classmethod
    def of(cls, dataset: Dataset) -> RunHeader:
        """Read it from a (flattened) header."""
        image_type = text(dataset, "ImageType").upper().split("\\")
        instance = number(dataset, "InstanceNumber")
        enhanced = text(dataset, "PlaneIdentification").upper()
        date, seconds = _moment(dataset)
        return cls(
            sop=text(dataset, "SOPInstanceUID"),
            study=text(dataset, "StudyInstanceUID"),
            series=text(dataset, "SeriesInstanceUID"),
            patient=identity_of(dataset).key,
            references=tuple(
                text(item, "ReferencedSOPInstanceUID") for item in items(dataset, "ReferencedImageSequence")
            ),
            plane=next((p for p in "AB" if f"BIPLANE {p}" in image_type or enhanced == f"PLANE {p}"), ""),
            date=date,
            seconds=seconds,
            instance=None if instance is None else int(instance),
            angles=angles_of(dataset),
            frames=max(integer(dataset, "NumberOfFrames", 1), 1),
        )


def _moment(dataset: Dataset) -> tuple[str, float | None]:
    """Date, and seconds since midnight, of the acquisition, else of the content."""
    whole = text(dataset, "AcquisitionDateTime")
    dates = [text(dataset, "AcquisitionDate"), whole[:8], text(dataset, "ContentDate")]
    date = next(filter(None, dates), "")
    for told in (
        text(dataset, "AcquisitionTime"),
        re.split("[+-]", whole[8:])[0],
        text(dataset, "ContentTime"),
    ):
        try:
            time = TM(told)
        except ValueError:
            continue
        if time is not None:
            return date, time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6
    return date, None


def _apart(a: RunHeader, b: RunHeader) -> float:
    """Seconds between two runs; the planes of a pair are taken close together. Infinite where not known."""
    if a.seconds is None or b.seconds is None or a.date != b.date:
        return math.inf
    return abs(a.seconds - b.seconds)


def _mutual(a: RunHeader, b: RunHeader) -> str:
    return (
        "each file names the other (Referenced Image Sequence)"
        if (a.sop in b.references and b.sop in a.references)
        else ""
    )


def _simultaneous(a: RunHeader, b: RunHeader) -> str:
    if {a.plane, b.plane} != {"A", "B"}:
        return ""
    apart = _apart(a, b)
    return f"planes A and B of one study, taken {apart:.1f} s apart" if apart <= SECONDS_APART else ""


def _same_instance(a: RunHeader, b: RunHeader) -> str:
    same = a.series == b.series and a.instance is not None and a.instance == b.instance
    return f"same series and same instance number {a.instance}" if same and a.frames == b.frames else ""


def _by_angles(a: RunHeader, b: RunHeader) -> str:
    if a.angles is None or b.angles is None or a.frames != b.frames or a.frames < 2:
        return ""
    if a.plane and a.plane == b.plane:
        return ""
    apart = angle_between(a.angles, b.angles)
    low, high = ANGLES_APART
    return (
        f"angles {apart:.0f}° apart and {a.frames} frames each; please check" if low <= apart <= high else ""
    )


RULES: tuple[tuple[str, Callable[[RunHeader, RunHeader], str]], ...] = (
    ("mutual reference", _mutual),
    ("biplane at the same time", _simultaneous),
    ("same instance number", _same_instance),
    ("angles", _by_angles),
)
"""In order of trust. The last one is never silent: its reason asks for a look."""


def pair_runs(runs: Sequence[RunHeader]) -> list[tuple[tuple[int, ...], Guess | None]]:
    """Group runs into pairs and singles.

    Parameters
    ----------
    runs : sequence of RunHeader
        Runs of one study in any order. Runs of different studies are never paired.

    Returns
    -------
    list of (indices, rule)
        One or two indices into `runs`, in the order of the first index; the rule is None for a single run.
    """
    partner: dict[int, tuple[int, Guess]] = {}
    examinations: dict[tuple[str, str], list[int]] = {}
    for index, run in enumerate(runs):
        if run.study:
            examinations.setdefault((run.study, run.patient), []).append(index)
    for members in examinations.values():
        for rule, matches in RULES:
            single = [index for index in members if index not in partner][:MOST_RUNS]
            for i, j in sorted(
                combinations(single, 2), key=lambda pair: _apart(runs[pair[0]], runs[pair[1]])
            ):
                reason = "" if i in partner or j in partner else matches(runs[i], runs[j])
                if reason:
                    guess = Guess(Topic.PAIRING, rule, reason)
                    partner[i], partner[j] = (j, guess), (i, guess)
    groups: list[tuple[tuple[int, ...], Guess | None]] = []
    for i in range(len(runs)):
        if i not in partner:
            groups.append(((i,), None))
        elif i < partner[i][0]:
            groups.append(((i, partner[i][0]), partner[i][1]))
    return groups
