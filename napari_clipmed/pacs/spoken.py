"""What window and command line both say about studies of an archive; for the screen only."""

from __future__ import annotations

from napari_clipmed.pacs.words import Retrieved, Sent, StudyRow

HEADINGS = ("Date", "Patient", "ID", "Modality", "Study", "Series", "Images")


def cells(row: StudyRow) -> list[str]:
    """A study as a line under `HEADINGS`; a question mark for a count that the server does not tell."""
    counts = ["?" if count is None else str(count) for count in (row.series, row.instances)]
    name = row.patient_name.rstrip("^").replace("^", ", ", 1).replace("^", " ")
    return [_day(row.study_date), name, row.patient_id, "/".join(row.modalities), row.description, *counts]


def told_retrieved(study: Retrieved) -> str:
    """What became of a study that was asked for."""
    if study.complete:
        return f"{study.folder}: {study.instances} images, complete."
    return (
        f"{study.folder}: {study.instances} images, {study.missing} missing. {study.reason} "
        "It is kept apart; retrieve it again later."
    )


def told_sent(sent: list[Sent], server: str) -> str:
    """What became of the objects that were sent."""
    refused = [item.refused for item in sent if item.refused]
    stored = f"{server} stored {len(sent) - len(refused)} of {len(sent)} objects."
    return " ".join([stored, *dict.fromkeys(refused)])


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date
