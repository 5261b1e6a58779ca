"""Studies of an archive on our disk: whole ones in their place, the others apart, to be gone on with later.

::

    folder/
        study-<digest>/             complete as the server listed it
        .unfinished/study-<digest>/ what came so far of the others; not seen by whoever lists the folder
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from napari_clipmed.pacs.link import Link, connect
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import (
    LEAST_FREE_BYTES,
    InstanceRef,
    InstanceRefused,
    PacsError,
    Retrieved,
    Timeouts,
)
from napari_clipmed.progress import Progress
from napari_clipmed.whole_files import whole_file

UNFINISHED = ".unfinished"


def retrieve(
    server: Server,
    study_uids: Sequence[str],
    folder: Path,
    progress: Progress | None = None,
    timeouts: Timeouts | None = None,
) -> list[Retrieved]:
    """Bring studies to our disk; instances that are here already are not asked for again.

    Parameters
    ----------
    study_uids : sequence of str
        Study Instance UIDs.
    folder : Path
        Where each study gets a folder, named by a digest: a UID in a name could betray the patient.
    progress : Progress, optional
        Told about each instance; cancels within a second, keeping what has come.

    Returns
    -------
    list of Retrieved
        In the order asked for; some may be incomplete because the server did not give all that it lists.

    Raises
    ------
    PacsError
        When the server is gone or the disk full. What has come is kept apart, and gone on with next time.
    Cancelled
        Likewise.
    """
    progress = progress or Progress()
    studies = list(dict.fromkeys(study_uids))
    with connect(server, progress, timeouts) as link:
        lists: list[list[InstanceRef]] = []
        for number, study_uid in enumerate(studies):
            progress.step("Asking what the studies hold", number, len(studies))
            lists.append(link.instances(study_uid))
            if not lists[-1]:
                raise PacsError(f"{server.name} has nothing of this study.", "Search again; it may be gone.")
        counter = _Counter(progress, sum(map(len, lists)))
        return [
            _retrieve_study(link, server, study_uid, wanted, folder, counter)
            for study_uid, wanted in zip(studies, lists, strict=True)
        ]


def study_folder(folder: Path, study_uid: str) -> Path:
    """Where a study lies once it is complete."""
    return folder / f"study-{_digest(study_uid, 16)}"


def unfinished_folder(folder: Path, study_uid: str) -> Path:
    """Where a study lies while it is not complete."""
    return folder / UNFINISHED / study_folder(folder, study_uid).name


class _Counter:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def next(self) -> None:
        self._progress.step("Receiving image", self._done, self._total)
        self._done += 1


def _retrieve_study(
    link: Link, server: Server, study_uid: str, wanted: list[InstanceRef], folder: Path, counter: _Counter
) -> Retrieved:
    final, apart = study_folder(folder, study_uid), unfinished_folder(folder, study_uid)
    missing: list[InstanceRefused] = []
    try:
        apart.mkdir(parents=True, exist_ok=True)
        for instance in wanted:
            counter.next()
            name = f"{_digest(instance.sop_uid, 32)}.dcm"
            if (final / name).exists() or (apart / name).exists():
                continue
            _leave_room(folder)
            try:
                with whole_file(apart / name) as path:
                    link.fetch(instance, path)
            except InstanceRefused as refused:
                missing.append(refused)
        if missing:
            here = _count(final) + _count(apart)
            return Retrieved(study_uid, apart, here, len(missing), missing[0].message)
        _settle(apart, final)
    except (PacsError, OSError) as error:
        raise _broken_off(error, len(wanted), apart, _count(apart) + _count(final)) from error
    return Retrieved(study_uid, final, _count(final))


def _settle(apart: Path, final: Path) -> None:
    """Move a study to its place at one stroke; where it has grown since, file by file, each whole."""
    if not final.exists():
        apart.replace(final)
        return
    for path in sorted(apart.glob("*.dcm")):
        path.replace(final / path.name)
    shutil.rmtree(apart)


def _leave_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, "almost full")


def _broken_off(error: PacsError | OSError, wanted: int, apart: Path, here: int) -> PacsError:
    if isinstance(error, PacsError):
        what, hint = error.message, error.hint
    elif error.errno == errno.ENOSPC:
        what, hint = "The disk is almost full.", "Make room."
    else:
        what, hint = f"{apart} cannot be written ({error.strerror}).", "Choose another folder."
    return PacsError(
        f"{what} {here} of {wanted} images of the study have come; they are kept apart in {apart}.",
        f"{hint} Retrieve the study again: it goes on where it stopped.",
    )


def _count(folder: Path) -> int:
    return sum(1 for path in folder.glob("*.dcm") if not path.name.startswith("."))


def _digest(uid: str, length: int) -> str:
    return sha256(uid.encode()).hexdigest()[:length]
