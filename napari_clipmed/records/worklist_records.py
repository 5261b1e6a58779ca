"""Which studies are to be read: the one place of a workspace that knows where files lie.

A file name may hold a patient's name. So what is kept of an entry is the folder that a person added, and the
files relative to it; both stay in the workspace's own database (and its backups). No case, revision, bundle,
export, model or log ever holds them. Rows are only added: the newest ones say what holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from napari_clipmed.records.rows import answer_from
from napari_clipmed.records.schema import AnswerRow, CaseViewRow, WorklistRow
from napari_clipmed.records.sessions import SOFTWARE, Sessions, now
from napari_clipmed.records.words import Answer


class _Action(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    LEARNED = "learned"


@dataclass(frozen=True)
class Listed:
    """One entry of the worklist: files that make one study.

    Parameters
    ----------
    root : str
        The folder or archive that a person added, or the folder of a single file.
    paths : tuple of str
        The files relative to `root`, with forward slashes; of an archive, their names inside it.
    kind : str
        "angiogram", "chest" or "other".
    sops : tuple of str
        SOP Instance UIDs; empty for plain pictures.
    pairing : tuple of str
        What, value and reason of the guess that paired two runs; else empty.
    sequence : bool
        Whether the files are the frames of one run.
    archive : bool
        Whether `root` is a zip archive.
    synthetic : bool
        Whether a file says that it is simulated.
    case_id : str or None
        The case that it turned out to be; None before it was first read.
    problem : str
        Why it cannot be read; empty where nothing is known against it.
    added_at : datetime or None
        When (UTC) it was first added; None before.
    """

    root: str
    paths: tuple[str, ...]
    kind: str
    sops: tuple[str, ...] = ()
    pairing: tuple[str, ...] = ()
    sequence: bool = False
    archive: bool = False
    synthetic: bool = False
    case_id: str | None = None
    problem: str = ""
    added_at: datetime | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """What tells it from others: its SOP Instance UIDs, or its place where it has none."""
        known = "|".join(sorted(self.sops)) if any(self.sops) else "|".join((self.root, *self.paths))
        return sha256(known.encode()).hexdigest()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files themselves; of an archive, the archive."""
        return (Path(self.root),) if self.archive else tuple(Path(self.root, path) for path in self.paths)

    @property
    def short(self) -> str:
        """The title where there is little room: the last folder and the names without their endings."""
        folder, _, names = self.title.rpartition("/")
        stems = " + ".join(name.rpartition(".")[0] or name for name in names.split(" + "))
        return f"{folder.rpartition('/')[2]} / {stems}" if folder else stems

    @property
    def title(self) -> str:
        """Where it lies below what was added, in a few words."""
        folder = self.paths[0].rpartition("/")[0]
        names = [path.rpartition("/")[2] for path in self.paths]
        files = " + ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}"
        place = Path(self.root).name if self.archive else folder
        return f"{place}/{files}" if place else files


class WorklistRecords(Sessions):
    """The worklist in the workspace's database."""

    def add_to_worklist(self, entries: Iterable[Listed], author: str = "") -> int:
        """Put studies on the worklist; those that are on it already just as they are, are passed over.

        A study known by its SOP Instance UIDs that now lies elsewhere is found there from now on.

        Returns
        -------
        int
            How many were new.
        """
        before = {listed.key: listed for listed in self.worklist()}
        rows, new = [], 0
        for entry in {entry.key: entry for entry in entries}.values():
            known = before.get(entry.key)
            new += known is None
            if known is None or _content(known) != _content(entry) or known.problem != entry.problem:
                rows.append(_row(entry, _Action.ADDED, author))
        self._append_rows(rows)
        return new

    def remove_from_worklist(self, entries: Iterable[Listed], author: str = "") -> None:
        """Take studies off the worklist; what was said about their cases stays."""
        self._append_rows([_row(entry, _Action.REMOVED, author) for entry in entries])

    def learn_of_listed(self, entry: Listed, case_id: str | None = None, problem: str = "") -> Listed:
        """Record which case an entry is, or why it cannot be read; the entry as it is then."""
        learned = replace(entry, case_id=case_id or entry.case_id, problem=problem)
        if learned != entry:
            self._append_rows([_row(learned, _Action.LEARNED, "")])
        return learned

    def worklist(self) -> list[Listed]:
        """What is on the worklist now, in the order in which it was added."""
        columns = (WorklistRow.entry, WorklistRow.action, WorklistRow.root, WorklistRow.content)
        more = (WorklistRow.case_id, WorklistRow.problem, WorklistRow.created_at)
        held: dict[str, Listed] = {}
        with self._reading() as session:
            rows = session.execute(select(*columns, *more).order_by(WorklistRow.id))
            for key, action, root, content, case_id, problem, created_at in rows:
                if action == _Action.REMOVED:
                    held.pop(key, None)
                elif action == _Action.ADDED:
                    before = held.get(key)
                    known = case_id or (before.case_id if before else None)
                    since = before.added_at if before else created_at
                    held[key] = _listed(root, content, known, problem, since)
                elif key in held:
                    held[key] = replace(held[key], case_id=case_id, problem=problem)
        return list(held.values())

    def cases_by_runs(self) -> dict[frozenset[str], str]:
        """Case ids by the SOP Instance UIDs of their views; the newest of several."""
        runs: dict[str, set[str]] = {}
        with self._reading() as session:
            for case, sop in session.execute(select(CaseViewRow.case_id, CaseViewRow.sop_instance_uid)):
                runs.setdefault(case, set()).add(sop)
        return {frozenset(sops): case for case, sops in runs.items() if "" not in sops}

    def newest_answer(self, case: str, model_version: str | None = None) -> Answer | None:
        """The newest answer about a case; of one model, by the hash of its weights, where it is given."""
        query = select(AnswerRow).where(AnswerRow.case_id == case)
        if model_version is not None:
            query = query.where(AnswerRow.model_version == model_version)
        with self._reading() as session:
            row = session.scalars(query.order_by(AnswerRow.id.desc()).limit(1)).first()
            return answer_from(row) if row is not None else None

    def _append_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            with self._writing() as session:
                session.execute(insert(WorklistRow), list(rows))


def _content(entry: Listed) -> dict[str, Any]:
    return {
        "root": entry.root,
        "paths": list(entry.paths),
        "kind": entry.kind,
        "sops": list(entry.sops),
        "pairing": list(entry.pairing),
        "sequence": entry.sequence,
        "archive": entry.archive,
        "synthetic": entry.synthetic,
    }


def _row(entry: Listed, action: _Action, author: str) -> dict[str, Any]:
    content = _content(entry)
    return {
        "entry": entry.key,
        "action": action.value,
        "root": content.pop("root"),
        "content": content if action is _Action.ADDED else None,
        "case_id": entry.case_id,
        "problem": entry.problem,
        "author": author,
        "created_at": now(),
        "software": SOFTWARE,
    }


def _listed(
    root: str, content: dict[str, Any], case_id: str | None, problem: str, since: datetime | None
) -> Listed:
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    return Listed(root=root, case_id=case_id, problem=problem, added_at=since, **plain)
