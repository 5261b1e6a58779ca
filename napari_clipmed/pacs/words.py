"""The words of an archive: a query, what it finds, what was retrieved and what was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from napari_clipmed.errors import ClipmedError

MODALITIES = ("XA", "CR", "DX", "RF")
"""What this tool reads, and so what a query asks for unless told otherwise."""

MOST_STUDIES = 200
"""Studies that one query returns at most; more are said to exist, not shown."""
MOST_INSTANCES = 20_000
"""Instances of one study that are retrieved at most; as many as a folder is walked for (`io.listing`)."""
MOST_ANSWER_BYTES = 64 * 2**20
"""Longest list that a server may answer with."""
MOST_INSTANCE_BYTES = 4 * 2**30
"""Largest instance that is received: the pixels of a native DICOM object cannot be larger (PS3.5, 7.1.1)."""
LEAST_FREE_BYTES = 256 * 2**20
"""Room that is left on the disk."""


class PacsError(ClipmedError):
    """A server that cannot be reached, refuses, or answers with something else than DICOM."""


class InstanceRefused(PacsError):  # noqa: N818 - said of one instance; the others may still come
    """One instance did not come, or was not taken; the connection stands."""


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds: for a connection, and for the next sign of life from the server."""

    connect: float = 10.0
    answer: float = 60.0


@dataclass(frozen=True)
class Query:
    """What to look for; empty fields do not narrow the search.

    Parameters
    ----------
    patient_id, accession : str
        As the server keeps them; ``*`` and ``?`` stand for any text and any letter.
    patient_name : str
        The beginning of "FAMILY^GIVEN", or a pattern with ``*`` or ``?``.
    study_date : str
        "20240131", "2024-01-31", or a range "20240101-20240131", "20240101-", "-20240131".
    modalities : tuple of str
        Studies with at least one of them; empty for all.
    study_uid : str
        One very study.
    """

    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    study_date: str = ""
    modalities: tuple[str, ...] = MODALITIES
    accession: str = field(default="", repr=False)
    study_uid: str = ""

    def keys(self) -> dict[str, str]:
        """Matching keys by keyword, but for the modality, which is asked for one at a time.

        Raises
        ------
        PacsError
            When the date is none.
        """
        name = self.patient_name.strip()
        if name and not set(name) & set("*?"):
            name += "*"
        keys = {
            "PatientID": self.patient_id.strip(),
            "PatientName": name,
            "StudyDate": dicom_dates(self.study_date),
            "AccessionNumber": self.accession.strip(),
            "StudyInstanceUID": self.study_uid.strip(),
        }
        return {keyword: value for keyword, value in keys.items() if value}


def dicom_dates(text: str) -> str:
    """A date or range of dates as DICOM writes it (PS3.4, C.2.2.2.5).

    Raises
    ------
    PacsError
        When it is neither.
    """
    text = re.sub(r"(\d{4})-(\d\d)-(\d\d)(?!\d)", r"\1\2\3", text.strip()).replace(" ", "")
    if not text:
        return ""
    parts = text.split("-")
    try:
        days = [datetime.strptime(part, "%Y%m%d") for part in parts if part]
        understood = len(parts) <= 2 and bool(days) and days == sorted(days)
    except ValueError:
        understood = False
    if not understood or any(part and len(part) != 8 for part in parts):
        raise PacsError(
            f"{text!r} is no date.", "Write 20240131, 2024-01-31, or a range such as 20240101-20240131."
        )
    return text


@dataclass(frozen=True)
class StudyRow:
    """A study as the server lists it; counts are None where it does not tell. For the screen only."""

    study_uid: str
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    study_date: str = ""
    description: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    modalities: tuple[str, ...] = ()
    series: int | None = None
    instances: int | None = None


@dataclass(frozen=True)
class SeriesRow:
    """A series of a study as the server lists it."""

    series_uid: str
    modality: str = ""
    description: str = field(default="", repr=False)
    instances: int | None = None


@dataclass(frozen=True)
class Found:
    """Studies that match, newest first; `cut` says that there are more than are shown."""

    studies: tuple[StudyRow, ...]
    cut: bool = False


@dataclass(frozen=True)
class InstanceRef:
    """One instance by its three UIDs."""

    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True)
class Retrieved:
    """What became of one study.

    Parameters
    ----------
    study_uid : str
    folder : Path
        Where its files lie: apart, below ``.unfinished``, while it is not complete.
    instances : int
        Files that lie there.
    missing : int
        Instances that the server lists but did not give.
    reason : str
        Why the first of them did not come.
    """

    study_uid: str
    folder: Path
    instances: int
    missing: int = 0
    reason: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything that the server lists is here."""
        return self.missing == 0


@dataclass(frozen=True)
class Sent:
    """What became of one object that was sent; `refused` says why the server did not take it."""

    sop_uid: str
    refused: str = ""
