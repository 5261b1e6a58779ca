"""A run on the canvas while it is still being read."""

from __future__ import annotations

import gc
import weakref
from threading import Event

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from napari_clipmed.gui.layers import TAG
from napari_clipmed.gui.session import OPEN_KEY, session_for
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.io.dicom_write import Uids, write_xa
from napari_clipmed.io.run_decoder import RunDecoder
from napari_clipmed.study import MaskItem, PatientIdentity

COUNT = 30


@pytest.fixture
def pair(tmp_path):
    """A biplane pair of 30 frames each, frame number in every grey value; dark where time goes on."""
    frames = (2000 - 40 * np.arange(COUNT)[:, None, None] + np.zeros((1, 48, 40), int)).astype(np.uint16)
    frames[:, 10:20] += 300
    folder = tmp_path / "pair"
    folder.mkdir()
    for name, angle in (("AP", 0), ("LA", 90)):
        write_xa(
            folder / f"{name}.dcm",
            frames,
            timing_ms=200.0,
            angles=(angle, 0),
            uids=Uids.seeded(1, "pair", name),
            partner_sop=Uids.seeded(1, "pair", "LA" if name == "AP" else "AP").sop,
            plane="BIPLANE A" if name == "AP" else "BIPLANE B",
            patient=PatientIdentity("DOE^JANE", "4711"),
            mask=MaskItem(mask_frames=(1,)),
            compress="jpeglossless",
        )
    return folder


@pytest.fixture
def gate(monkeypatch):
    """Holds decoding back once the first picture can be shown, until it is opened."""
    gate, decode = Event(), RunDecoder.decode

    def held(run: RunDecoder, index: int) -> None:
        if run.frames is not None and run.tried.sum() >= 9:
            gate.wait(20)
        decode(run, index)

    monkeypatch.setattr(RunDecoder, "decode", held)
    yield gate
    gate.set()


@pytest.fixture
def session(make_napari_viewer_proxy):
    return session_for(make_napari_viewer_proxy())


def shown(session, view: int = 0) -> np.ndarray:
    return np.asarray(session.hanging.images[view]._slice.image.raw)


def test_first_picture_then_the_whole_study_in_the_same_layers(session, pair, gate, qtbot) -> None:
    studies = []
    session.study_changed.connect(studies.append)
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    assert session.study is None and not studies  # nothing may compute on half a study
    assert session.view_names == ("AP", "LA")
    images = list(session.hanging.images)
    assert np.ptp(shown(session)) == 0 and shown(session)[0, 0] == 0  # frame 1 minus its own mask
    provisional = images[0].metadata[TAG].study_hash
    camera = session.viewer.scene.camera.zoom = 3.0

    session.go_to_frame(0, 10)  # not decoded yet: a hatched blank, and words that say so
    qtbot.waitUntil(lambda: session.hanging.unread == {0, 1})
    assert len(np.unique(shown(session))) == 2
    titles = session.hanging._titles.features["words"].tolist()
    assert all("being read" in title for title in titles)

    with qtbot.waitSignal(session.study_changed, timeout=10_000):
        gate.set()
    assert session.study is studies[-1] and len(studies) == 1
    assert session.hanging.images == images and session.viewer.scene.camera.zoom == camera
    assert session.frame_of(0) == 10 and shown(session)[0, 0] == -400
    assert not any("being read" in title for title in session.hanging._titles.features["words"])
    assert images[0].metadata[TAG].study_hash == session.study.image_hash != provisional


def test_the_frame_on_screen_appears_when_it_arrives(session, pair, gate, qtbot) -> None:
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    session.go_to_frame(0, 10)
    qtbot.waitUntil(lambda: session.hanging.unread == {0, 1})
    drawn = []
    image = session.hanging.images[0]
    image.events.set_data.connect(lambda event: drawn.append(float(np.asarray(image._slice.image.raw)[0, 0])))
    gate.set()
    qtbot.waitUntil(lambda: session.study is not None, timeout=10_000)
    assert -400.0 in drawn and set(drawn[drawn.index(-400.0) :]) == {-400.0}
    frames = [weakref.ref(view.stored) for view in session.study.views]
    session.close_study()  # napari keeps the layers for good, but not what was in them

    def freed() -> bool:
        gc.unfreeze()  # a job that imported much has hidden from the collector what lived at that moment
        gc.collect()
        return all(ref() is None for ref in frames)

    qtbot.waitUntil(freed, timeout=10_000)


def test_the_dock_says_who_it_is_and_which_frame_is_read(session, pair, gate, qtbot) -> None:
    dock = StudyDock(session.viewer)
    qtbot.addWidget(dock)
    dock.show()
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    assert "DOE" in dock.identity.text() and "still being read" in dock.title.text()
    assert not dock.empty.isVisible()
    sentence = dock.findChild(QLabel, "job_sentence")
    qtbot.waitUntil(lambda: f"of {2 * COUNT}" in sentence.text())
    assert sentence.text().startswith("Reading frame ")
    gate.set()
    qtbot.waitUntil(lambda: session.study is not None, timeout=10_000)
    assert "still being read" not in dock.title.text()


def test_cancel_leaves_nothing_half_open_and_says_so(session, pair, gate, qtbot) -> None:
    dock = StudyDock(session.viewer)
    qtbot.addWidget(dock)
    dock.show()
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    qtbot.mouseClick(dock.findChild(QPushButton, "job_cancel"), Qt.MouseButton.LeftButton)
    gate.set()
    qtbot.waitUntil(
        lambda: session.jobs.running(OPEN_KEY) is None and session.hanging is None, timeout=10_000
    )
    assert session.study is None and not session.viewer.layers and session.arrivals.arriving is None
    assert "cancelled after" in dock.note.text() and "nothing of it is open" in dock.note.text()
    assert dock.empty.isVisible() and not dock.identity.text()


def test_opening_another_study_meanwhile_ends_the_first(session, pair, gate, qtbot, tmp_path) -> None:
    other = tmp_path / "other.dcm"
    write_xa(other, np.full((2, 16, 16), 700, np.uint16), timing_ms=100.0)
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    session.open_paths([other])
    gate.set()
    qtbot.waitUntil(lambda: session.study is not None, timeout=10_000)
    assert len(session.study.views) == 1 and session.study.views[0].source.path == str(other)
    assert session.arrivals.arriving is None


def test_closing_meanwhile_stops_the_reading(session, pair, gate, qtbot) -> None:
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    session.close_study()
    gate.set()
    qtbot.waitUntil(lambda: session.jobs.running(OPEN_KEY) is None, timeout=10_000)
    qtbot.wait(50)
    assert session.study is None and session.hanging is None and not session.viewer.layers


def test_a_run_that_breaks_off_is_taken_down(session, pair, gate, qtbot, monkeypatch) -> None:
    from napari_clipmed.errors import UnreadableFileError

    def broken(run: RunDecoder) -> None:
        raise UnreadableFileError("The disk is gone.", "Try again.")

    monkeypatch.setattr(RunDecoder, "finished", broken)
    with qtbot.waitSignal(session.study_arriving, timeout=10_000):
        session.open_paths([pair])
    with qtbot.waitSignal(session.open_failed, timeout=10_000):
        gate.set()
    assert session.study is None and session.hanging is None
