"""One case in one file: what was said about it, its masks, which models; on request pixels without identity.

A bundle goes to a colleague or another workspace. Revisions keep their author, time and parents, so that what
two places said about one case meets as lines and, where they differ, as a conflict. Without pixels a bundle
names its images by hash and SOP Instance UID only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import files
from napari_clipmed.records.archive import ArchiveReader, new_archive
from napari_clipmed.records.bundle_content import (
    CONTENT,
    FORMAT,
    VERSION,
    BundledAnswer,
    BundledCase,
    BundledRevision,
    BundledView,
    read_content,
)
from napari_clipmed.records.bundle_pixels import pack_view
from napari_clipmed.records.identity import case_key
from napari_clipmed.records.schema import AnswerRow, CaseRow, CaseViewRow, RevisionRow
from napari_clipmed.records.sessions import SOFTWARE, now
from napari_clipmed.records.store import Store
from napari_clipmed.records.words import CaseView
from napari_clipmed.records.workspace import workspace_errors
from napari_clipmed.study import Study

LARGEST_MASK = 64 << 20
_MASK = re.compile(r"masks/([0-9a-f]{64})\.png")


@dataclass(frozen=True)
class Imported:
    """What an import brought.

    Parameters
    ----------
    case : str
        Id of the case.
    new, known : int
        Revisions that were added, and that were here already.
    conflicts : int
        Where what came differs from what was here.
    """

    case: str
    new: int
    known: int
    conflicts: int


def export_bundle(store: Store, case: str, path: Path, study: Study | None = None) -> int:
    """Write a case into one zip file.

    Parameters
    ----------
    case : str
        Id of the case.
    path : Path
        Must not exist.
    study : Study, optional
        The case's study: its grey values, times, sizes and windows go in, its identity does not. Text burned
        into the pixels stays where it is.

    Returns
    -------
    int
        Number of revisions written.

    Raises
    ------
    WorkspaceError
        The file exists or cannot be written; the study is another one.
    """
    if study is not None and case_key(study) != case:
        raise WorkspaceError("The study given is not the one of this case.", "Give the study's own file.")
    content = _content_of(store, case)
    masks = {revision.mask_sha256 for revision in content.revisions if revision.mask_sha256}
    with workspace_errors(store.workspace.root), new_archive(Path(path).expanduser().absolute()) as archive:
        archive.add(CONTENT, content.model_dump_json(indent=1).encode())
        for digest in sorted(masks):
            archive.add(f"masks/{digest}.png", files.load_content(store.workspace.masks, digest, ".png"))
        for index, view in enumerate(study.views if study else ()):
            archive.add(f"pixels/{index}.npz", pack_view(view))
        models = sorted({(r.model_id, r.model_version) for r in content.revisions if r.model_id})
        archive.finish(
            {
                "format": FORMAT,
                "version": VERSION,
                "software": SOFTWARE,
                "made": now().isoformat(),
                "case": case,
                "models": [{"id": name, "sha256": version} for name, version in models],
                "pixels": study is not None,
            }
        )
    return len(content.revisions)


def import_bundle(store: Store, path: Path) -> Imported:
    """Take a bundle's case and revisions into a workspace; what is here already stays as it is.

    Raises
    ------
    WorkspaceError
        The bundle is damaged, altered, by a newer version or not what it says; then nothing was taken.
    """
    with ArchiveReader.open(Path(path).expanduser()) as archive:
        content = read_content(archive)
        store._check_writable()
        masks = {name: archive.read(name, LARGEST_MASK) for name in archive.members if _MASK.fullmatch(name)}
        _check_masks(archive, content, masks)
        with workspace_errors(store.workspace.root):
            partial = store.workspace.root / files.PARTIAL
            for mask in masks.values():
                files.store_content(store.workspace.masks, mask, ".png", partial)
    before = len(store.conflicts(content.id)) if _knows(store, content.id) else 0
    with store._writing() as session:
        store._lock(session, content.id)
        new = _take_in(session, content, store_salt=store._salt_in(session))
    return Imported(content.id, new, len(content.revisions) - new, len(store.conflicts(content.id)) - before)


def _content_of(store: Store, case_id: str) -> BundledCase:
    case, revisions = store.case(case_id), store.revisions(case_id)
    uids: dict[int | None, str | None] = {revision.id: revision.uid for revision in revisions} | {None: None}
    with store._reading() as session:
        answers = list(session.scalars(select(AnswerRow).where(AnswerRow.case_id == case_id)))
        bundled_answers = [
            BundledAnswer(**{name: getattr(row, name) for name in BundledAnswer.model_fields})
            for row in answers
        ]
    links = {"parent": "parent_id", "merges": "merges_id", "restored_from": "restored_from"}
    return BundledCase(
        id=case.id,
        image_hash=case.image_hash,
        kind=case.kind,
        synthetic=case.synthetic,
        patient=case.patient_key,
        patient_basis=case.patient_basis,
        views=[
            BundledView(**{name: getattr(view, name) for name in BundledView.model_fields})
            for view in case.views
        ],
        revisions=[
            BundledRevision.model_validate(
                {
                    name: uids[getattr(revision, links[name])] if name in links else getattr(revision, name)
                    for name in BundledRevision.model_fields
                }
            )
            for revision in revisions
        ],
        answers=bundled_answers,
    )


def _check_masks(archive: ArchiveReader, content: BundledCase, masks: Mapping[str, bytes]) -> None:
    wanted = {r.mask_sha256: r for r in content.revisions if r.mask_sha256}
    if {f"masks/{digest}.png" for digest in wanted} != set(masks):
        raise archive.damaged("its masks are not those that its revisions name")
    for digest, revision in wanted.items():
        mask = masks[f"masks/{digest}.png"]
        view = content.views[revision.view_index or 0]
        if sha256(mask).hexdigest() != digest:
            raise archive.damaged(f"the mask {digest} is not what its name says")
        if files.mask_size(mask) != (view.rows, view.columns):
            raise archive.damaged(f"the mask {digest} is not of the size of its frame")


def _knows(store: Store, case: str) -> bool:
    with store._reading() as session:
        return session.get(CaseRow, case) is not None


def _take_in(session: Session, content: BundledCase, *, store_salt: str) -> int:
    """Add what is missing, in the bundle's order; returns how many revisions were new."""
    if session.get(CaseRow, content.id) is None:
        views = [
            CaseViewRow(**{n: getattr(v, n) for n in CaseView.__dataclass_fields__}) for v in content.views
        ]
        # The other workspace's key of the patient means nothing here; its cases of one patient stay together.
        patient = sha256(f"{store_salt}|{content.patient}".encode()).hexdigest()
        session.add(
            CaseRow(
                id=content.id,
                image_hash=content.image_hash,
                kind=content.kind,
                synthetic=content.synthetic,
                patient_key=patient,
                patient_basis=content.patient_basis.value,
                created_at=now(),
                software=SOFTWARE,
                views=views,
            )
        )
        session.flush()
        for answer in content.answers:
            session.add(AnswerRow(case_id=content.id, software=SOFTWARE, **answer.model_dump()))
    wanted = [revision.uid for revision in content.revisions]
    known = select(RevisionRow.uid, RevisionRow.id).where(RevisionRow.case_id == content.id)
    ids: dict[str | None, int | None] = {None: None} | {row.uid: row.id for row in session.execute(known)}
    new = 0
    for uid, revision in zip(wanted, content.revisions, strict=True):
        if uid in ids:
            continue
        said = revision.model_dump(exclude={"parent", "merges", "restored_from"})
        row = RevisionRow(
            **said,
            case_id=content.id,
            parent_id=ids[revision.parent],
            merges_id=ids[revision.merges],
            restored_from=ids[revision.restored_from],
        )
        session.add(row)
        session.flush()
        ids[uid] = row.id
        new += 1
    return new
