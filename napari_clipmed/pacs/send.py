"""Results into an archive: SEG and SR beside the study that they are about, and no other."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from napari_clipmed.io.dicom_values import text
from napari_clipmed.pacs.link import Link, connect
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import InstanceRefused, PacsError, Query, Sent, Timeouts
from napari_clipmed.progress import Progress


def send(
    server: Server,
    objects: Sequence[Dataset],
    progress: Progress | None = None,
    timeouts: Timeouts | None = None,
    *,
    new_study: bool = False,
) -> list[Sent]:
    """Store objects in an archive.

    Parameters
    ----------
    objects : sequence of Dataset
        With file meta information, as they were made or read.
    new_study : bool
        Allow studies that the server does not have yet.

    Returns
    -------
    list of Sent
        What became of each, in order.

    Raises
    ------
    PacsError
        When the server is gone, or (before anything is sent) lacks a study or has it of another patient.
    """
    progress = progress or Progress()
    with connect(server, progress, timeouts) as link:
        for study_uid in dict.fromkeys(text(item, "StudyInstanceUID") for item in objects):
            progress.step("Looking for the study")
            of_study = [item for item in objects if text(item, "StudyInstanceUID") == study_uid]
            _check_study(link, server, study_uid, {text(item, "PatientID") for item in of_study}, new_study)
        sent = []
        for number, item in enumerate(objects):
            progress.step("Sending object", number, len(objects))
            sop_uid = text(item, "SOPInstanceUID")
            try:
                link.store(item)
            except InstanceRefused as refused:
                sent.append(Sent(sop_uid, refused.message))
            else:
                sent.append(Sent(sop_uid))
    return sent


def _check_study(link: Link, server: Server, study_uid: str, patients: set[str], new_study: bool) -> None:
    found = link.find(Query(modalities=(), study_uid=study_uid)).studies
    there = [study for study in found if study.study_uid == study_uid]
    if not there and not new_study:
        raise PacsError(
            f"{server.name} does not have the study that these results are about; nothing was sent.",
            "Send to the server that the images came from.",
        )
    if there and any(patient != there[0].patient_id.strip() for patient in patients):
        raise PacsError(
            f"{server.name} has this study under another patient id than these results; nothing was sent.",
            "Results without identity belong to no patient: export them for the archive (--with-identity).",
        )
