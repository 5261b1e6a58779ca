"""The page of the Diagnosis dock that asks by sentences, by clicks, over a small real CLIP."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch
from dock_fakes import biplane, film
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from small_clips import small_clip, write_archive, write_folder  # noqa: E402

from napari_clipmed.gui import backbone_chooser  # noqa: E402
from napari_clipmed.gui.diagnosis_dock import DiagnosisDock  # noqa: E402
from napari_clipmed.gui.session import session_for  # noqa: E402
from napari_clipmed.gui.settings import Settings  # noqa: E402
from napari_clipmed.gui.zero_shot_editor import ZeroShotEditor  # noqa: E402
from napari_clipmed.gui.zero_shot_pane import ZeroShotPane  # noqa: E402
from napari_clipmed.gui.zero_shot_words import descriptor_rows  # noqa: E402
from napari_clipmed.inference import towers as towers_module  # noqa: E402
from napari_clipmed.inference.zero_shot import (  # noqa: E402
    PATCH_TEXT,
    UNCALIBRATED,
    DescriptorAnswer,
    FindingAnswer,
    geometric_mean,
)
from napari_clipmed.models.zero_shot_sets import own_folder, read_set  # noqa: E402
from napari_clipmed.shipped import resource  # noqa: E402


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> str:
    torch.set_num_threads(1)
    return f"local-dir:{write_folder(tmp_path_factory.mktemp('clip') / 'tiny-clip')}"


@pytest.fixture
def session(make_napari_viewer_proxy, monkeypatch):
    session = session_for(make_napari_viewer_proxy())
    monkeypatch.setattr(
        type(session), "settings", property(lambda self: Settings(classify_on_open=False, backbone=""))
    )
    yield session
    session.jobs.shutdown()


@pytest.fixture
def pane(session, qtbot) -> ZeroShotPane:
    dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 900)
    dock.show()
    dock.pages.turn_to(dock.zero_shot)
    session.pane_dock = dock  # kept alive
    idle(qtbot, session)
    return dock.zero_shot


def idle(qtbot, session) -> None:
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)


def click(qtbot, widget) -> None:
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def answered(pane, session, qtbot, spec, study=None) -> None:
    session.show_study(study or biplane())
    pane.backbone.choose(spec)
    idle(qtbot, session)
    click(qtbot, pane.ask_button)
    idle(qtbot, session)


def labels_of(bars) -> list[str]:
    return list(bars._bars)


def test_what_is_missing_is_said_first(pane, session, qtbot, spec) -> None:
    assert "Open a study" in pane.empty.text()
    assert not pane.ask_button.isEnabled()
    session.show_study(biplane())
    assert "Choose a backbone" in pane.empty.text()
    pane.backbone.choose(spec)
    assert pane.ask_button.isEnabled()
    assert "Press Ask" in pane.empty.text()
    assert pane.backbone.list.currentText() == "local-dir:tiny-clip"


def test_an_answer_ranks_and_says_that_it_is_uncalibrated(pane, session, qtbot, spec, monkeypatch) -> None:
    threads = set()
    real = towers_module.Towers.ask
    monkeypatch.setattr(
        towers_module.Towers, "ask", lambda *given: (threads.add(threading.current_thread()), real(*given))[1]
    )
    answered(pane, session, qtbot, spec)
    assert pane.failure.message == ""
    assert threading.main_thread() not in threads
    assert len(threads) == 1
    assert pane.uncalibrated.isVisible()
    assert pane.uncalibrated.text() == UNCALIBRATED
    ranked = [one.key for one in pane.answer.ranked]
    assert labels_of(pane.findings) == ranked
    assert pane.likeness.rowCount() == 5
    pane.way.setCurrentIndex(1)
    pane.way.activated.emit(1)
    assert "Control" not in labels_of(pane.findings), "the normal one is not asked for with and without"
    assert len(labels_of(pane.findings)) == 4


def test_a_finding_shows_what_can_be_seen_and_where_it_is_nearest(pane, session, qtbot, spec) -> None:
    answered(pane, session, qtbot, spec)
    click(qtbot, pane.findings.bar("MMD"))
    idle(qtbot, session)
    assert labels_of(pane.descriptors) == list(read_set("dsa").findings[1].descriptors)
    assert (session.heat.saliency.method, session.heat.saliency.label) == (PATCH_TEXT, "moyamoya disease")
    assert len(session.heat.layers) == 2
    assert "always red" in pane.shown.text()
    descriptor = labels_of(pane.descriptors)[2]
    click(qtbot, pane.descriptors.bar(descriptor))
    idle(qtbot, session)
    assert session.heat.saliency.label == descriptor == pane.sentence.text()
    pane.sentence.setText("an early draining vein")
    qtbot.keyClick(pane.sentence, Qt.Key.Key_Return)
    idle(qtbot, session)
    assert session.heat.saliency.label == "an early draining vein"
    pane.overlay.click()
    assert not any(layer.visible for layer in session.heat.layers)


def test_another_study_or_backbone_takes_the_answer_away_and_chooses_its_set(
    pane, session, qtbot, spec
) -> None:
    answered(pane, session, qtbot, spec)
    assert pane.set_name == "dsa"
    session.show_study(film())
    idle(qtbot, session)
    assert (pane.answer, pane.set_name) == (None, "chest")
    assert not pane.result.isVisible()
    click(qtbot, pane.ask_button)
    idle(qtbot, session)
    assert pane.answer is not None
    pane.backbone.choose("RN50:openai")
    assert pane.answer is None


def test_an_error_is_a_sentence_and_a_job_can_be_cancelled(pane, session, qtbot, spec, monkeypatch) -> None:
    answered(pane, session, qtbot, "clipmed-tiny")
    assert "random weights" in pane.failure.message
    started, go_on = threading.Event(), threading.Event()

    def slow(self, study, questions, progress):
        started.set()
        while True:
            progress.step("Reading AP", 1, 16)
            go_on.wait(0.01)

    monkeypatch.setattr(towers_module.Towers, "ask", slow)
    pane.backbone.choose(spec)
    idle(qtbot, session)
    click(qtbot, pane.ask_button)
    qtbot.waitUntil(started.is_set, timeout=60_000)
    assert pane.failure.message == ""
    session.jobs.running("zero-shot").cancel()
    idle(qtbot, session)
    assert (pane.answer, pane.failure.message) == (None, "")


def test_sentences_that_are_nearly_the_same_are_warned_of(pane, session, qtbot, spec, monkeypatch) -> None:
    monkeypatch.setattr("napari_clipmed.inference.zero_shot.NEARLY_THE_SAME", -1.0)
    answered(pane, session, qtbot, spec)
    assert "nearly the same" in pane.warning.text()
    assert pane.warning.isVisible()


def test_the_towers_that_come_along_are_chosen_and_answer(session, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(type(session), "settings", property(lambda self: Settings(classify_on_open=False)))
    dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(dock)
    dock.show()
    dock.pages.turn_to(dock.zero_shot)
    session.show_study(biplane())
    idle(qtbot, session)
    pane = dock.zero_shot
    assert pane.backbone.list.currentText() == "CLIP compact (shipped)"
    click(qtbot, pane.ask_button)
    idle(qtbot, session)
    assert pane.answer.backbone == "clip-compact"
    assert "It does not tell left from right." in pane.notes.text()
    assert not pane.warning.isVisible(), "it tells the sentences of the classes apart"


# -- the chooser ------------------------------------------------------------------------------------------


def test_a_backbone_is_typed_or_picked(pane, session, qtbot, tmp_path, monkeypatch) -> None:
    chosen = []
    pane.backbone.chosen.connect(chosen.append)
    monkeypatch.setattr(QInputDialog, "getText", lambda *given: (" RN50:openai ", True))
    pane.backbone._on_activated(pane.backbone.list.findData(backbone_chooser.OTHER))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *given: str(tmp_path))
    pane.backbone._on_activated(pane.backbone.list.findData(backbone_chooser.FOLDER))
    assert chosen == ["RN50:openai", f"local-dir:{tmp_path}"]
    monkeypatch.setattr(QInputDialog, "getText", lambda *given: ("", False))
    pane.backbone._on_activated(pane.backbone.list.findData(backbone_chooser.OTHER))
    assert len(chosen) == 2, "nothing was typed"


@pytest.mark.parametrize("agrees", [False, True])
def test_an_archive_is_opened_only_after_the_person_agreed(
    pane, session, qtbot, tmp_path, monkeypatch, agrees
) -> None:
    archive = write_archive(tmp_path / "RN50.pt", small_clip())
    asked = []

    def question(parent, title, text, *buttons):
        asked.append(text)
        return QMessageBox.StandardButton.Yes if agrees else QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", question)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *given: (str(archive), ""))
    pane.backbone._on_activated(pane.backbone.list.findData(backbone_chooser.FILE))
    idle(qtbot, session)
    assert len(asked) == 1
    assert "runs it" in asked[0]
    assert pane.backbone.spec.startswith("local-dir:") is agrees


# -- the editor -------------------------------------------------------------------------------------------


def open_editor(pane, session, qtbot) -> ZeroShotEditor:
    click(qtbot, pane.edit)
    idle(qtbot, session)
    return pane.findChild(ZeroShotEditor)


def test_questions_are_edited_in_a_copy_and_put_back(pane, session, qtbot, spec) -> None:
    shipped = resource("zero_shot", "dsa.yaml").read_bytes()
    session.show_study(biplane())
    idle(qtbot, session)
    editor = open_editor(pane, session, qtbot)
    assert not editor.back.isEnabled()
    editor.list.setCurrentIndex(1)
    editor.list.activated.emit(1)
    editor.sentences.setPlainText("a puff of smoke\n\n moyamoya disease ")
    click(qtbot, editor.add)
    editor.title.setText("Dissection of an artery")
    editor.sentences.setPlainText("a dissected artery")
    click(qtbot, editor.save)
    idle(qtbot, session)
    assert (editor.failure.message, editor.isVisible()) == ("", False)
    saved = read_set("dsa")
    assert saved.findings[1].sentences == ("a puff of smoke", "moyamoya disease")
    assert saved.findings[-1].key == "Dissection-of-an-artery"
    assert resource("zero_shot", "dsa.yaml").read_bytes() == shipped
    assert "(changed by you)" in pane.sets.currentText()
    answered(pane, session, qtbot, spec)
    assert len(pane.answer.findings) == 6
    editor = [e for e in pane.findChildren(ZeroShotEditor) if e.isVisible()] or [
        open_editor(pane, session, qtbot)
    ]
    editor = pane.findChildren(ZeroShotEditor)[-1]
    click(qtbot, editor.back)
    idle(qtbot, session)
    assert len(read_set("dsa").findings) == 5
    assert [file.suffix for file in own_folder().iterdir()] == [".old1"]
    assert "(changed by you)" not in pane.sets.currentText()


def test_what_makes_no_sense_stays_open_with_a_sentence(pane, session, qtbot) -> None:
    editor = open_editor(pane, session, qtbot)
    editor.templates.setPlainText("no place for it")
    click(qtbot, editor.save)
    assert "has no {} for the finding" in editor.failure.message
    assert editor.isVisible()
    assert not own_folder().exists()
    for _ in range(len(editor._findings)):
        click(qtbot, editor.remove)
    assert not editor.remove.isEnabled(), "two findings are the least"
    editor.reject()


def test_a_descriptor_that_speaks_against_the_others_is_marked() -> None:
    shares = {"a sac": 0.9, "a neck": 0.8, "a halo": 0.3}
    seen = tuple(DescriptorAnswer(text, share) for text, share in shares.items())
    finding = FindingAnswer(
        "A", "A", 0.1, 0.2, described=geometric_mean(list(shares.values())), descriptors=seen
    )
    assert [row.title for row in descriptor_rows(finding)] == ["a sac", "a neck", "≠ a halo"]
