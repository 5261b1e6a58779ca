"""What a folder, archive or DICOMDIR holds, by headers alone; for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from napari_clipmed.cli._app import console
from napari_clipmed.study import FrameTiming, Projection

if TYPE_CHECKING:
    from napari_clipmed.io import StudyEntry
    from napari_clipmed.io.header_facts import HeaderFacts


def describe_entries(entries: Sequence[StudyEntry], identity: bool) -> list[dict[str, Any]]:
    """Every entry as plain values; patients and examinations are numbered, and named on request only."""
    rows = []
    for (patient, examination), number, entry in _numbered(entries):
        row: dict[str, Any] = {
            "entry": number,
            "patient": patient,
            "examination": examination,
            "paths": [str(path) for path in entry.paths],
            "kind": entry.kind.value,
            "pairing": None if entry.pairing is None else asdict(entry.pairing),
            "headers": [_plain(facts) for facts in _facts(entry)],
            "notes": list(entry.notes),
        }
        if identity:
            row["identity"] = asdict(entry.identity)
        rows.append(row)
    return rows


def show_entries(entries: Sequence[StudyEntry], identity: bool) -> None:
    """One table an examination, one line an entry."""
    for (patient, examination), group in groupby(_numbered(entries), key=lambda row: row[0]):
        rows = list(group)
        who = f"Patient {patient}, examination {examination}"
        if identity:
            person = rows[0][2].identity
            who += f": {person.name} ({person.patient_id}), {person.study_date}"
        console.print(f"[bold]{escape(who)}[/]", highlight=False)
        table = Table("entry", "kind", "view", "frames", "size", "time", "paired by", "files", box=None)
        for _, number, entry in rows:
            facts = _facts(entry)
            simulated = " [bold yellow]SIMULATED[/]" if any(fact.synthetic for fact in facts) else ""
            table.add_row(
                str(number),
                entry.kind.value,
                " + ".join(_view(fact) for fact in facts) or "–",
                " + ".join(str(fact.frames) for fact in facts) or str(len(entry.paths)),
                _same([f"{fact.columns} × {fact.rows}" for fact in facts]),
                _same([time_words(fact.timing) for fact in facts]),
                "" if entry.pairing is None else escape(entry.pairing.value),
                escape(entry.title) + simulated,
            )
        console.print(table)
    for note in dict.fromkeys(note for entry in entries for note in entry.notes):
        console.print(f"[yellow]Warning:[/] {escape(note)}", highlight=False)
    hint = "Read from headers. `--entry N` decodes one of them and says all about it."
    console.print(hint, style="dim", highlight=False)


def time_words(timing: FrameTiming) -> str:
    """Rate and length of a run in a few words."""
    if len(timing.times_ms) == 1:
        return "single frame"
    if not timing.known:
        return "times unknown"
    steps = timing.times_ms[1:] - timing.times_ms[:-1]
    uneven = " (uneven)" if steps.max() - steps.min() > 1 else ""
    return f"{timing.interval_ms:g} ms a frame{uneven}, {timing.times_ms[-1] / 1000:g} s"


def _numbered(entries: Sequence[StudyEntry]) -> Iterator[tuple[tuple[int, int], int, StudyEntry]]:
    """(patient, examination), number and entry, all counted from 1, examinations together."""
    patients: dict[str, int] = {}
    examinations: dict[tuple[int, str], int] = {}
    rows = []
    for number, entry in enumerate(entries, start=1):
        who = entry.identity.key
        patient = patients.setdefault(who, len(patients) + 1)
        known = sum(of == patient for of, _ in examinations)
        examination = examinations.setdefault((patient, entry.study_instance_uid), known + 1)
        rows.append(((patient, examination), number, entry))
    yield from sorted(rows, key=lambda row: (row[0], row[1]))


def _facts(entry: StudyEntry) -> list[HeaderFacts]:
    from napari_clipmed.io.header_facts import header_facts

    return [facts for path in entry.paths[:2] if (facts := header_facts(path)) is not None]


def _view(facts: HeaderFacts) -> str:
    if facts.motion:
        return facts.motion
    return "?" if facts.projection is Projection.UNKNOWN else facts.projection.value


def _same(words: list[str]) -> str:
    """The words once where all are alike."""
    return " + ".join(dict.fromkeys(words)) or "–"


def _plain(facts: HeaderFacts) -> dict[str, Any]:
    return {
        "modality": facts.modality,
        "transfer_syntax": facts.transfer_syntax,
        "projection": facts.projection.value,
        "frames": facts.frames,
        "rows": facts.rows,
        "columns": facts.columns,
        "interval_ms": facts.timing.interval_ms if facts.timing.known else None,
        "time_source": facts.timing.source,
        "motion": facts.motion,
        "synthetic": facts.synthetic,
    }
