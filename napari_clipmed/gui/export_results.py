"""The part of the export menu about what was saved: DICOM objects, masks and tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.theme import RESEARCH_USE
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.inference.results import Diagnosis, Saliency
    from napari_clipmed.outputs.products import Checked
    from napari_clipmed.records import Store
    from napari_clipmed.study import Study

SALIENCY = "saliency"

ENTRIES = {
    "seg": "Masks as DICOM segmentation (SEG) …",
    "sr": "Labels as DICOM report (SR) …",
    "capture": "Frames with masks as DICOM capture …",
    SALIENCY: "AI saliency as DICOM capture …",
    "masks": "Masks as PNG pictures …",
    "nifti": "Masks as NIfTI volumes …",
    "coco": "Masks as COCO file …",
    "table": "Table of the whole workspace …",
}
"""Results of `outputs.products`, as a person reads them."""

DICOM = ("seg", "sr", "capture", SALIENCY)
FILES = {
    "coco": ("masks.json", "COCO (*.json)"),
    "table": ("labels-and-masks.csv", "Table (*.csv);;JSON lines (*.jsonl)"),
}
"""Those that are one file; the others fill a folder."""

NOT_DICOM = "Needs a study that was opened from DICOM files"
NO_SALIENCY = "Classify the study first; its saliency is exported as it is shown"
RESULTS_KEY = "export results"
"""Key of the job that writes; a newer one supersedes it."""


class ResultsMenu(QMenu):
    """Saved labels and masks of the open study, and of the workspace, for other programs.

    Parameters
    ----------
    session : ReviewSession
    tell_failure : callable
        Receives the `ClipmedError` of an export that failed.
    say : callable
        Receives the sentence about one that is done.
    """

    def __init__(
        self,
        session: ReviewSession,
        tell_failure: Callable[[ClipmedError], None],
        say: Callable[[str], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Saved labels and masks", parent)
        self.setObjectName("export_results")
        self._session, self._tell_failure, self._say = session, tell_failure, say
        self.setToolTipsVisible(True)
        for result, title in ENTRIES.items():
            self.addAction(title, partial(self.ask, result)).setObjectName(f"export_{result}")
        self.addSeparator()
        self.identity = self.addAction("DICOM files name the patient (for the archive)")
        self.identity.setObjectName("export_identity")
        self.identity.setCheckable(True)
        self.identity.setToolTip(
            "An archive files an object by its patient; leave this off for everybody else"
        )
        self.aboutToShow.connect(self._dress)
        # Whoever is on screen next has not been asked about.
        session.study_changed.connect(lambda study: self.identity.setChecked(False))

    def ask(self, result: str) -> None:
        """Let the person choose where, then write there."""
        if result in FILES:
            name, kinds = FILES[result]
            chosen, kind = QFileDialog.getSaveFileName(self, ENTRIES[result], str(Path.home() / name), kinds)
            path = Path(chosen) if chosen else None
            if path is not None and not path.suffix:
                path = path.with_suffix(".jsonl" if "jsonl" in kind else Path(name).suffix)
        else:
            chosen = QFileDialog.getExistingDirectory(self, ENTRIES[result], str(Path.home()))
            path = Path(chosen) / result if chosen else None
        if path is not None:
            self.write(result, path)

    def write(self, result: str, path: Path) -> None:
        """Write a result of the open study off the GUI thread."""
        session = self._session
        study = session.study
        if study is None:
            return
        shown = (session.diagnosis, session.heat.saliency)
        with_identity = self.identity.isChecked() and result in DICOM
        replace = result in FILES  # the dialog has asked

        def work(progress: Progress) -> str:
            from napari_clipmed.outputs.products import Result, write_files, write_objects

            if result in DICOM:
                store = session.store() if result != SALIENCY else None
                objects = _objects(result, store, study, shown, with_identity)
                written = write_objects(objects, path, replace=replace, progress=progress)
            else:
                store = session.store()
                kind = Result(result)
                cases = [] if kind is Result.TABLE else [_case_of(store, study)]
                written = write_files(
                    kind, store, cases, path, study=study, replace=replace, progress=progress
                )
            count = f"{len(written)} files" if len(written) > 1 else written[0].name
            named = " They name the patient." if with_identity else ""
            return f"Written to {written[0].parent}: {count}.{named} {RESEARCH_USE}."

        session.jobs.start(
            work,
            title=ENTRIES[result].removesuffix(" …"),
            on_done=self._say,
            on_error=self._tell_failure,
            key=RESULTS_KEY,
        )

    def _dress(self) -> None:
        """Say why an entry cannot be used, where it cannot."""
        study = self._session.study
        dicom = study is not None and all(view.source.sop_instance_uid for view in study.views)
        for action in self.actions():
            result = action.objectName().removeprefix("export_")
            why = NOT_DICOM if (result in DICOM or action is self.identity) and not dicom else ""
            shown = self._session.heat.saliency is not None and self._session.diagnosis is not None
            if result == SALIENCY and not shown:
                why = why or NO_SALIENCY
            action.setEnabled(not why)
            if action is not self.identity:
                action.setToolTip(why)


def _objects(
    result: str,
    store: Store | None,
    study: Study,
    shown: tuple[Diagnosis | None, Saliency | None],
    with_identity: bool,
) -> list[Checked]:
    """The DICOM objects that an entry stands for."""
    from napari_clipmed.outputs.capture import saliency_captures
    from napari_clipmed.outputs.products import Result, captured, objects_of

    if store is not None:
        return objects_of(Result(result), store, _case_of(store, study), study, with_identity=with_identity)
    diagnosis, saliency = shown
    if diagnosis is None or saliency is None:
        raise ClipmedError("No saliency is shown.", "Classify the study first.")
    captures = saliency_captures(study, diagnosis, saliency, datetime.now(UTC), with_identity=with_identity)
    return captured(captures, f"{study.image_hash[:12]}-saliency")


def _case_of(store: Store, study: Study) -> str:
    case = store.find_case(study)
    if case is None:
        raise ClipmedError("Nothing was saved of this study yet.", "Save a label or a mask first.")
    return case
