"""A reader's day in the window, by clicks and keys; a program of its own, so that it can really be killed.

``python review_day_window.py morning|afternoon EXAMS OUT``. The morning ends in strokes that nobody saves,
until the program is killed; the afternoon begins where it stopped. Each writes what it saw to
``OUT/<part>.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QFileDialog,
    QInputDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from review_day import AUTHOR, FILM, MARKED, SENTENCE, Exams, read_exams  # noqa: E402

from napari_clipmed.errors import ClipmedError  # noqa: E402
from napari_clipmed.gui.background import ANSWER_ALL  # noqa: E402
from napari_clipmed.gui.case_journal import case_key  # noqa: E402
from napari_clipmed.gui.commands import add_docks  # noqa: E402
from napari_clipmed.gui.export_results import ResultsMenu  # noqa: E402
from napari_clipmed.gui.pacs_dialog import PacsButton, PacsDialog  # noqa: E402
from napari_clipmed.gui.records_banners import RecordsBanners  # noqa: E402
from napari_clipmed.gui.settings import write_setting  # noqa: E402
from napari_clipmed.gui.tour import Tour  # noqa: E402

PATIENCE_S = 120.0
REASON = "Agreed at the conference"
LEFT = Qt.MouseButton.LeftButton


class ReviewDay(Tour):
    """Ten cases, one window; `seen` is what is told of them."""

    def __init__(self, exams: Exams, out: Path) -> None:
        import napari

        viewer = napari.Viewer(title="CLIP-Med", show=True)
        viewer.window.resize(1366, 768)
        super().__init__(viewer, add_docks(viewer), out)
        write_setting("author", AUTHOR)
        self.exams, self.seen = exams, {}
        self.worklist: Any = self.docks["Worklist"]
        self.front("Worklist")
        self.wait("list", lambda: not self.session.busy)

    # -- the morning --------------------------------------------------------------------------------------

    def morning(self) -> None:
        """Read ten cases; correct the labels that are wrong and two masks."""
        self.choose_folder(self.exams.folder)
        self.click("Worklist", QPushButton, "add_folder")
        self.wait("add", lambda: self.worklist.desk.model.rowCount() == len(self.exams.names))
        self.seen["verdicts"] = {}
        self.click_row(0)
        waiting = set(self.exams.names)
        while waiting:
            self.wait("open", lambda: self.shown() in waiting)
            name = self.shown()
            waiting.remove(name)
            if name == FILM:
                self.mend_film()
                self.click("Worklist", QPushButton, "next_case")
            else:
                self.read_run(name)
        self.photograph("morning", "Worklist")
        self.tell("morning")

    def read_run(self, name: str) -> None:
        """Judge the model's answer; accepting it opens the next case."""
        verdict, truth = self.docks["Diagnosis"].verdict, self.exams.truth[name]
        self.wait("answer", lambda: self.session.diagnosis is not None and verdict.accept_button.isEnabled())
        if name == MARKED:
            frame, nidus = self.exams.nidus()
            self.stroke(frame, nidus)
            self.save_masks()
        answer = self.session.diagnosis.predicted
        self.seen["verdicts"][name] = "accepted" if answer == truth else "corrected"
        self.front("Diagnosis")
        if answer == truth:
            self.click("Diagnosis", QPushButton, "accept")
            return
        QTest.keyClicks(verdict.comment, "seen in both planes")
        verdict.open_menu()
        self.breathe(0.05)
        action = next(action for action in verdict.menu.actions() if action.data() == truth)
        QTest.mouseClick(verdict.menu, LEFT, pos=verdict.menu.actionGeometry(action).center())
        self.wait("correct", lambda: "Saved" in verdict.status.text())
        self.click("Worklist", QPushButton, "next_case")

    def mend_film(self) -> None:
        """A sentence, its outline, smoothed and cleaned, saved."""
        segment = self.docks["Segment"]
        self.front("Segment")
        box = self.find("Segment", QPlainTextEdit, "prompt_box")
        QTest.keyClicks(box, SENTENCE)
        QTest.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
        self.wait("segment", lambda: segment.proposed is not None and not self.busy("segment"))
        self.click("Segment", QPushButton, "take_mask")
        self.wait("take_mask", lambda: not self.session.turns.busy)
        before = self.labels(0, 0)
        for button in ("edit_smooth", "edit_largest"):
            self.wait(button, self.find("Segment", QPushButton, button).isEnabled)
            self.click("Segment", QPushButton, button)
            self.wait(button, lambda: not self.session.busy)
        assert not np.array_equal(before, self.labels(0, 0)), "smoothing changed nothing"
        self.save_masks()

    def save_masks(self) -> None:
        status = self.docks["Segment"].status
        self.click("Segment", QPushButton, "save_masks")
        self.wait("save", lambda: status.text().startswith("Saved"))

    def leave_unsaved(self) -> None:
        """Mark another frame and go on painting, until the program is killed."""
        frame, nidus = self.exams.nidus()
        self.open(MARKED)
        self.stroke(frame + 1, nidus)
        assert self.session.study is not None
        drafts, case = self.session.records.drafts, case_key(self.session.study)
        kept = lambda: any(draft.frame == frame + 1 for draft in drafts.of(case))  # noqa: E731
        self.wait("journal", lambda: kept() and not self.session.busy)
        print("unsaved", flush=True)
        while True:
            self.stroke(frame + 2, np.roll(nidus, 1, axis=0))
            self.breathe(0.05)

    # -- the afternoon ------------------------------------------------------------------------------------

    def afternoon(self) -> None:
        """Take up what was left, teach, and take everything out."""
        self.seen["reviewed"] = self.worklist.progress.text()
        self.recover()
        self.teach()
        self.ask_again()
        for name in (MARKED, FILM):
            self.open(name)
            self.export(name, "seg")
            if name == MARKED:
                self.export(name, "sr")
            self.send()
        self.retrieve()
        self.tell("afternoon")

    def recover(self) -> None:
        """What was saved is on the canvas; what was not is offered, taken back and saved."""
        frame, nidus = self.exams.nidus()
        banners = self.docks["Study"].findChild(RecordsBanners)
        self.open(MARKED)
        self.wait("offer", lambda: banners.unsaved.text())
        self.seen["offered"] = banners.unsaved.text()
        self.photograph("offered", "Study")
        assert np.array_equal(self.labels(0, frame) > 0, nidus), "the saved mask came back otherwise"
        assert not self.labels(0, frame + 1).any(), "shown before anybody asked for it"
        self.click("Study", QPushButton, "restore_drafts")
        self.wait("restore", lambda: self.labels(0, frame + 1).any() and not self.session.busy)
        assert np.array_equal(self.labels(0, frame + 1) > 0, nidus), "the unsaved mask came back otherwise"
        self.session.go_to_frame(0, frame + 1)
        self.breathe(0.1)
        self.save_masks()

    def teach(self) -> None:
        """A round of the head on what was corrected; a person looks at it and lets it answer."""
        dock = self.docks["Fine-tune"]
        self.front("Fine-tune")
        self.click("Fine-tune", QToolButton, "expert_fold")
        for option, value in (("replay", "none"), ("epochs", "6")):
            QTest.keyClicks(self.find("Fine-tune", QLineEdit, f"expert_{option}"), value)
        self.wait("plan", self.find("Fine-tune", QPushButton, "start_finetune").isEnabled)
        self.seen["plan"] = dock.sentences.text()
        self.click("Fine-tune", QPushButton, "start_finetune")
        self.wait("finetune", lambda: dock.outcome.model_id and not self.busy("finetune"))
        self.photograph("taught", "Fine-tune")
        model, report = dock.outcome.model_id, dock.outcome.report
        assert report.is_file()
        (self.out / "comparison.html").write_bytes(report.read_bytes())
        before, after = (
            self.session.registry().get(model).card.metrics["finetune"][when]["macro_f1"]
            for when in ("before", "after")
        )
        asked: list[str] = []

        def agree(parent: QWidget, title: str, question: str) -> tuple[str, bool]:
            asked.append(question)
            return REASON, True

        QInputDialog.getText = agree  # type: ignore[method-assign,assignment]
        self.click("Fine-tune", QPushButton, "use_model")
        self.wait("promote", lambda: self.session.model_id("diagnosis") == model)
        assert bool(asked) == (after < before), "a reason is asked for where the model got worse, only there"
        self.seen |= {"model": model, "worse": after < before, "result": dock.outcome.text.text()}

    def ask_again(self) -> None:
        """The new model reads every run of the list."""
        self.front("Worklist")
        button = self.find("Worklist", QPushButton, "classify_all")
        self.wait("fresh list", button.isEnabled)
        self.click("Worklist", QPushButton, "classify_all")
        self.wait("classify all", lambda: not self.busy(ANSWER_ALL) and not self.worklist.desk.unanswered())

    def export(self, name: str, result: str) -> None:
        """By the menu of the Study dock, naming the patient for the archive."""
        menu = self.docks["Study"].findChild(ResultsMenu)
        folder = self.out / name
        self.choose_folder(folder)
        if not menu.identity.isChecked():
            menu.identity.trigger()
        action = next(a for a in menu.actions() if a.objectName() == f"export_{result}")
        assert action.isEnabled(), action.toolTip()
        action.trigger()
        self.wait("export", lambda: list(folder.rglob(f"*-{result}.dcm")) and not self.busy("export results"))

    # -- the archive --------------------------------------------------------------------------------------

    def send(self) -> None:
        """Beside the study in the archive; nothing where no archive is known."""
        dialog = self.archive()
        if dialog is None:
            return
        self.press(dialog, "pacs_send")
        self.wait("send", lambda: "stored" in dialog.note.text() and not self.busy("pacs send"))
        self.seen.setdefault("sent", []).append(dialog.note.text())
        dialog.note.setText("")

    def retrieve(self) -> None:
        """Bring the two studies back from the archive, with all that was stored beside them."""
        dialog = self.archive()
        if dialog is None:
            return
        self.choose_folder(self.out / "retrieved")
        self.press(dialog, "pacs_choose")
        self.press(dialog, "pacs_search")
        self.wait("search", lambda: dialog.table.rowCount() == len(self.exams.names))
        dialog.table.selectAll()
        self.press(dialog, "pacs_retrieve")
        self.wait("retrieve", lambda: "complete" in dialog.note.text())
        self.seen["retrieved"] = dialog.note.text()

    def archive(self) -> PacsDialog | None:
        """The dialog of the archive, if there is a server."""
        self.front("Study")
        button = self.docks["Study"].findChild(PacsButton)
        QTest.mouseClick(button, LEFT)
        dialog: PacsDialog = button.dialog
        self.wait("servers", lambda: not self.busy("pacs servers"))
        return dialog if dialog.chosen_server is not None else None

    def press(self, dialog: PacsDialog, name: str) -> None:
        button = dialog.findChild(QPushButton, name)
        self.wait(name, button.isEnabled)
        QTest.mouseClick(button, LEFT)

    # -- hands and eyes -----------------------------------------------------------------------------------

    def shown(self) -> str:
        """Name of the open case; empty for none."""
        study = self.session.study
        return Path(study.views[0].source.path).parent.name if study is not None else ""

    def open(self, name: str) -> None:
        """Open a case by a click on its line."""
        if self.shown() == name:
            return
        model = self.worklist.desk.model
        row = next(
            r for r in range(model.rowCount()) if Path(model.line_at(r).listed.files[0]).parent.name == name
        )
        self.click_row(row)
        self.wait(f"open {name}", lambda: self.shown() == name)
        self.wait("settle", lambda: not self.session.busy)

    def click_row(self, row: int) -> None:
        self.front("Worklist")
        table, index = self.worklist.table, self.worklist.desk.model.index(row, 0)
        table.scrollTo(index)
        self.breathe(0.05)
        QTest.mouseClick(table.viewport(), LEFT, pos=table.visualRect(index).center())

    def stroke(self, frame: int, where: NDArray[np.bool_]) -> None:
        """A stroke of the brush over these pixels of a frame of the first view."""
        self.session.go_to_frame(0, frame)
        layer = self.session.labels_layer(0)
        rows, columns = np.nonzero(where)
        with layer.block_history():
            layer.data_setitem((np.full(rows.size, frame), rows, columns), 1)
        self.breathe(0.05)

    def labels(self, view: int, frame: int) -> NDArray[Any]:
        return np.array(self.session.labels_layer(view).data[frame])

    def choose_folder(self, folder: Path) -> None:
        """What the person will choose in the next dialog of folders, which belongs to the system."""
        folder.mkdir(parents=True, exist_ok=True)
        QFileDialog.getExistingDirectory = staticmethod(lambda *asked: str(folder))  # type: ignore[method-assign]

    def busy(self, key: str) -> bool:
        return self.session.jobs.running(key) is not None

    def wait(self, name: str, done: Callable[[], object]) -> None:
        try:
            self.step(name, lambda: None, done, PATIENCE_S)
        except ClipmedError as error:  # what the window was about, for whoever reads the log
            session = self.session
            about = {
                "study": session.study.title if session.study else "",
                "jobs": [job.title for job in session.jobs.active],
                "turns": session.turns.busy,
                "drafts": [draft.key for draft in session.records.state.drafts],
                "journal": session.records.drafts.cases(),
            }
            raise AssertionError(f"{error.message} {about}") from error

    def tell(self, part: str) -> None:
        (self.out / f"{part}.json").write_text(json.dumps(self.seen | {"seconds": self.timings}, indent=2))


def main() -> None:
    part, exams, out = sys.argv[1], read_exams(Path(sys.argv[2])), Path(sys.argv[3])
    day = ReviewDay(exams, out)
    if part == "morning":
        day.morning()
        day.leave_unsaved()
    day.afternoon()
    day.session.jobs.shutdown()
    day.viewer.close()


if __name__ == "__main__":
    main()
