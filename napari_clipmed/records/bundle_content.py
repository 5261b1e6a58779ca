"""What ``case.json`` in a bundle may say, and whether it fits together."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.archive import ArchiveReader
from napari_clipmed.records.words import PatientBasis, RevisionKind, Verdict

FORMAT = "napari-clipmed case bundle"
VERSION = 1
CONTENT = "case.json"
LARGEST_CONTENT = 64 << 20
LARGEST_SIDE, MOST_FRAMES = 16_384, 20_000
MEMBER = re.compile(r"case\.json|masks/[0-9a-f]{64}\.png|pixels/\d{1,3}\.npz")

_Hash = Field(pattern=r"^[0-9a-f]{64}$")
_Id = Field(pattern=r"^[0-9a-f]{32}$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, protected_namespaces=())


class BundledView(_Strict):
    """A view, as `records.CaseView`."""

    index: int = Field(ge=0, lt=1000)
    projection: str = Field(max_length=16)
    pixel_hash: str = _Hash
    sop_instance_uid: str = Field(max_length=64)
    n_frames: int = Field(ge=1, le=MOST_FRAMES)
    rows: int = Field(ge=1, le=LARGEST_SIDE)
    columns: int = Field(ge=1, le=LARGEST_SIDE)


class BundledRevision(_Strict):
    """A revision, as `records.Revision`; it names others by their uid."""

    uid: str = _Id
    parent: str | None = None
    merges: str | None = None
    restored_from: str | None = None
    kind: RevisionKind
    verdict: Verdict | None = None
    label: str | None = Field(None, max_length=64)
    prompt: str = Field("", max_length=10_000)
    model_prompt: str = Field("", max_length=10_000)
    convention: str = Field("", max_length=16)
    view_index: int | None = Field(None, ge=0)
    frame: int | None = Field(None, ge=0)
    name: str = Field("", max_length=64)
    mask_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    threshold: float | None = None
    comment: str = Field("", max_length=10_000)
    author: str = Field("", max_length=128)
    created_at: datetime
    software: str = Field("", max_length=64)
    model_id: str = Field("", max_length=128)
    model_version: str = Field("", max_length=64)
    model_label: str | None = Field(None, max_length=64)
    model_score: float | None = None
    first_frame: int | None = Field(None, ge=0)
    last_frame: int | None = Field(None, ge=0)
    image_hash: str = _Hash
    sop_instance_uid: str = Field("", max_length=64)


class BundledAnswer(_Strict):
    """A model's answer, as `records.Answer`."""

    model_id: str = Field(max_length=128)
    model_version: str = Field(max_length=64)
    probabilities: dict[str, dict[str, float]]
    unlike_training: bool
    possible: list[str] | None = Field(None, max_length=1000)
    created_at: datetime


class BundledCase(_Strict):
    """All that ``case.json`` says."""

    id: str = _Id
    image_hash: str = _Hash
    kind: str = Field(max_length=16)
    synthetic: bool
    patient: str = _Hash
    patient_basis: PatientBasis
    views: list[BundledView] = Field(min_length=1, max_length=1000)
    revisions: list[BundledRevision] = Field(max_length=100_000)
    answers: list[BundledAnswer] = Field(max_length=10_000)


def read_content(archive: ArchiveReader) -> BundledCase:
    """The case of an open bundle, with every field checked."""
    if archive.manifest.get("format") != FORMAT:
        raise archive.damaged("it is no case bundle")
    if int(archive.manifest.get("version", 0)) > VERSION:
        raise WorkspaceError(
            "The bundle was written by a newer version of napari-clipmed.", "Update napari-clipmed."
        )
    for name in archive.members:
        if not MEMBER.fullmatch(name):
            raise archive.damaged(f"it holds a file with the odd name {name!r}")
    try:
        content = BundledCase.model_validate_json(archive.read(CONTENT, LARGEST_CONTENT))
    except ValidationError as error:
        first = error.errors()[0]
        raise archive.damaged(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    _check_content(archive, content)
    return content


def _check_content(archive: ArchiveReader, content: BundledCase) -> None:
    """Whether what the fields say fits together."""
    hashes = [content.image_hash, *(view.sop_instance_uid for view in content.views)]
    if sha256("|".join(hashes).encode()).hexdigest()[:32] != content.id:
        raise archive.damaged("the case's name does not belong to its images")
    if [view.index for view in content.views] != list(range(len(content.views))):
        raise archive.damaged("its views are not in order")
    earlier: set[str] = set()
    for revision in content.revisions:
        links = {revision.parent, revision.merges, revision.restored_from} - {None}
        if not links <= earlier or revision.uid in earlier or revision.image_hash != content.image_hash:
            raise archive.damaged(f"the revision {revision.uid} does not belong here")
        if revision.created_at.tzinfo is None:
            raise archive.damaged("a time has no zone")
        view = revision.view_index
        if view is not None and view >= len(content.views):
            raise archive.damaged(f"the revision {revision.uid} is about a view that is not there")
        frames = (revision.frame or 0, revision.first_frame or 0, revision.last_frame or 0)
        if view is not None and max(frames) >= content.views[view].n_frames:
            raise archive.damaged(f"the revision {revision.uid} is about a frame that is not there")
        earlier.add(revision.uid)
