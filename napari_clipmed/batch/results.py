"""The results of a batch in one file that a killed run leaves readable and a later run goes on with.

Every record is appended at once to a file of JSON lines. Where Parquet is wanted, those lines are the journal
of the run, beside it, and become one Parquet file, seen whole or not at all, when the run ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from napari_clipmed.errors import ClipmedError
from napari_clipmed.whole_files import refuse_existing, whole_file

FORMATS = (".jsonl", ".parquet")
Record = dict[str, Any]


class ResultsFile:
    """Records of a batch, appended one by one; a context manager.

    Parameters
    ----------
    path : Path
        ``.jsonl`` or ``.parquet``.
    resume : bool
        Go on with what is there; failed cases are forgotten and tried again.
    replace : bool
        Whether an existing file may be replaced by a fresh one.
    with_paths : bool
        Keep the paths of the sources, whose names may hold a patient's.

    Raises
    ------
    ClipmedError
        For another suffix, an existing file, a missing pyarrow.
    """

    def __init__(
        self, path: Path, resume: bool = False, replace: bool = False, with_paths: bool = False
    ) -> None:
        if path.suffix not in FORMATS:
            raise ClipmedError(
                f"Results cannot be written as {path.suffix!r}.", f"Choose {' or '.join(FORMATS)}."
            )
        self.path, self.with_paths = path, with_paths
        self.journal = path if path.suffix == ".jsonl" else path.with_suffix(".parquet.journal.jsonl")
        if path.suffix == ".parquet":
            _pyarrow()
        kept: list[Record] = []
        if resume:
            kept = [record for record in read_results(path) if record.get("status") == "ok"]
        else:
            refuse_existing(path, replace)
        self.done = {str(record["key"]) for record in kept if record.get("key")}
        with whole_file(self.journal, replace=True) as unfinished:
            unfinished.write_text("".join(map(_line, kept)), encoding="utf-8")
        self._stream: TextIO = self.journal.open("a", encoding="utf-8")

    def append(self, record: Record) -> None:
        """Write one record; it is in the file when this returns."""
        kept = record if self.with_paths else {k: v for k, v in record.items() if k != "input"}
        if not self.with_paths and kept.get("error"):
            for path in map(Path, record.get("input", ())):
                kept["error"] = kept["error"].replace(str(path), "the file").replace(path.name, "the file")
        self._stream.write(_line(kept))
        self._stream.flush()
        if record.get("status") == "ok" and record.get("key"):
            self.done.add(record["key"])

    def close(self) -> None:
        """Finish the file; of a cancelled batch, too."""
        self._stream.close()
        if self.path != self.journal:
            write_parquet(list(_read_lines(self.journal)), self.path)
            self.journal.unlink()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_results(path: Path) -> list[Record]:
    """All records of a results file, and of the journal that a killed run left; empty where there is none.

    Raises
    ------
    ClipmedError
        When the file is something else.
    """
    if path.suffix == ".jsonl":
        return list(_read_lines(path)) if path.exists() else []
    journal = path.with_suffix(".parquet.journal.jsonl")
    if journal.exists():
        return list(_read_lines(journal))
    return _read_parquet(path) if path.exists() else []


def write_parquet(records: Iterable[Record], path: Path) -> None:
    """One row a record: nested mappings as columns ("probabilities.both.MMD"), lists as JSON."""
    arrow, parquet = _pyarrow()
    rows = [dict(_flat(record)) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    with whole_file(path, replace=True) as unfinished:
        parquet.write_table(table, unfinished)


def _read_parquet(path: Path) -> list[Record]:
    """Rows of a Parquet file; its columns stay as flat as they are, which writes the same file again."""
    arrow, parquet = _pyarrow()
    try:
        rows: list[Record] = parquet.read_table(path).to_pylist()
    except arrow.ArrowException as error:
        raise ClipmedError(f"{path} is no Parquet file.", "Choose another --results.") from error
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _flat(record: Record, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, json.dumps(value) if isinstance(value, list | tuple) else value


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _read_lines(path: Path) -> Iterator[Record]:
    """The whole lines of a journal; one that a killed run cut in the middle is left out."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                if line.endswith("\n"):
                    raise ClipmedError(
                        f"{path} is no file of results.", "Choose another --results."
                    ) from None
                continue
            if isinstance(record, dict):
                yield record


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as missing:
        raise ClipmedError(
            "Parquet needs the package pyarrow.",
            'Install it with `pip install "napari-clipmed[parquet]"`, or write .jsonl.',
        ) from missing
    return pyarrow, pyarrow.parquet
