"""What the archive dialog has done in workers: each function waits for the network, none for the window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from pydicom import Dataset

    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.pacs.servers import Server
    from napari_clipmed.pacs.words import Found, Query, Retrieved, Sent
    from napari_clipmed.records import Store
    from napari_clipmed.study import Study

ECHO, SEARCH, RETRIEVE, SEND = KEYS = ("pacs echo", "pacs search", "pacs retrieve", "pacs send")
"""Keys of the jobs: a newer search supersedes an older one, and so on."""


def list_servers(progress: Progress) -> list[Server]:
    """The person's servers."""
    from napari_clipmed.models.registry import user_folder
    from napari_clipmed.pacs.servers import read_servers

    return read_servers(user_folder())


def greet(server: Server, progress: Progress) -> None:
    """Ask a server whether it is there and knows us."""
    from napari_clipmed.pacs.link import connect

    progress.step(f"Asking {server.name}")
    with connect(server, progress) as link:
        link.echo()


def find_studies(server: Server, query: Query, progress: Progress) -> Found:
    """Ask a server for studies."""
    from napari_clipmed.pacs.link import connect

    query.keys()  # a date that is none is said before anybody is asked
    progress.step(f"Searching {server.name}")
    with connect(server, progress) as link:
        return link.find(query)


def retrieve_studies(
    server: Server, studies: Sequence[str], folder: Path, progress: Progress
) -> list[Retrieved]:
    """Bring studies to this computer."""
    from napari_clipmed.pacs.retrieve import retrieve

    return retrieve(server, studies, folder, progress)


def send_results(session: ReviewSession, study: Study, server: Server, progress: Progress) -> list[Sent]:
    """Send the saved masks and labels of a study, made for the archive and read back before they leave.

    Raises
    ------
    ClipmedError
        When nothing was saved, or the study did not come from DICOM files.
    """
    from napari_clipmed.pacs.send import send

    progress.step("Making SEG and SR")
    return send(server, results_of(session.store(), study), progress)


def results_of(store: Store, study: Study) -> list[Dataset]:
    """All that an archive takes of what was saved of a study: SEG for masks, SR for labels, with identity.

    Raises
    ------
    ClipmedError
        When there is nothing.
    """
    from napari_clipmed.outputs.products import Result, objects_of
    from napari_clipmed.pacs.part10 import encoded

    case = store.find_case(study)
    if case is None:
        raise ClipmedError("Nothing was saved of this study yet.", "Save a label or a mask first.")
    found: list[Dataset] = []
    refusals: list[ClipmedError] = []
    for result in (Result.SEG, Result.SR):
        try:
            objects = objects_of(result, store, case, study, with_identity=True)
        except ClipmedError as refusal:  # masks without a label, or a label without masks
            refusals.append(refusal)
            continue
        for one in objects:
            one.check(encoded(one.dataset))
            found.append(one.dataset)
    if not found:
        raise refusals[0]
    return found
