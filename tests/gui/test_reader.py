"""napari's own doors: a dropped file or folder, and the sample menu."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from studies import biplane

from napari_clipmed.gui import samples
from napari_clipmed.gui.layers import tag_of
from napari_clipmed.gui.readers import get_reader, study_layers
from napari_clipmed.gui.session import session_for
from napari_clipmed.io.dicom_write import write_xa


@pytest.fixture
def examination(tmp_path):
    """A folder with an AP and an LA run of one examination."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "examination"
    folder.mkdir()
    first = None
    for name, angle in (("AP", 0.0), ("LA", 90.0)):
        frames = rng.integers(50, 200, (5, 24, 24)).astype(np.uint8)
        uids = write_xa(
            folder / f"{name}.dcm", frames, timing_ms=250.0, angles=(angle, 0.0), uids=_sibling(first)
        )
        first = first or uids
    (folder / "notes.txt").write_text("not an image")
    return folder


def _sibling(first):
    """UIDs of another run of the same examination."""
    from dataclasses import replace

    from pydicom.uid import generate_uid

    return None if first is None else replace(first, sop=generate_uid(), series=generate_uid())


def test_foreign_paths_are_declined(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    for path in (tmp_path / "a.txt", tmp_path / "b.tif", tmp_path, tmp_path / "missing"):
        assert get_reader(str(path)) is None


def test_dicom_files_and_folders_are_taken(examination):
    assert get_reader(str(examination)) is not None
    assert get_reader(str(examination / "AP.dcm")) is not None
    extensionless = (examination / "AP.dcm").rename(examination / "IM0001")
    assert get_reader(str(extensionless)) is not None


def test_archives_of_an_examination_are_taken(examination, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "examination"), "zip", examination)
    other = shutil.make_archive(str(tmp_path / "other"), "zip", examination, "notes.txt")
    assert get_reader(packed) is not None and get_reader(other) is None
    assert len(get_reader(packed)(packed)) == 2


def test_a_dropped_folder_becomes_the_open_study(make_napari_viewer_proxy, examination, qtbot):
    viewer = make_napari_viewer_proxy()
    session = session_for(viewer)
    with qtbot.waitSignal(session.study_changed, timeout=20_000) as opened:
        viewer.open(str(examination), plugin="napari-clipmed")
    study = opened.args[0]
    assert [str(view.projection) for view in study.views] == ["AP", "LA"]
    assert session.image_layer(1).translate[2] > 0
    assert len([layer for layer in viewer.layers if tag_of(layer)]) == 4


def test_two_files_dropped_on_a_window_at_work_are_one_study_read_off_its_thread(
    make_napari_viewer_proxy, examination, qtbot, monkeypatch
):
    from qtpy.QtCore import QThread, QTimer
    from qtpy.QtWidgets import QApplication

    from napari_clipmed.io import run_decoder

    threads = []
    decode = run_decoder.RunDecoder.__init__

    def watched(self, *args, **options):
        threads.append(QThread.currentThread())
        decode(self, *args, **options)

    monkeypatch.setattr(run_decoder.RunDecoder, "__init__", watched)
    viewer = make_napari_viewer_proxy()
    session = session_for(viewer)

    def drop():  # as napari does: in the event of the drop, one file after the other
        for name in ("AP.dcm", "LA.dcm"):
            viewer.open(str(examination / name), plugin="napari-clipmed")

    with qtbot.waitSignal(session.study_changed, timeout=20_000) as opened:
        QTimer.singleShot(0, drop)
    assert [str(view.projection) for view in opened.args[0].views] == ["AP", "LA"]
    assert threads and QApplication.instance().thread() not in threads
    assert any("Study" in name for name in viewer.window.dock_widgets)


def test_a_study_read_before_any_dock_is_taken_over(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy()
    for data, meta, kind in study_layers(biplane()):
        getattr(viewer, f"add_{kind}")(data, **meta)
    session = session_for(viewer)
    assert session.view_names == ("AP", "LA")
    session.close_study()
    assert len(viewer.layers) == 0


def test_the_same_study_dropped_twice_hangs_once(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy()
    session = session_for(viewer)
    study = biplane()
    session.show_study(study)
    with qtbot.waitSignal(session.study_changed):
        for data, meta, kind in study_layers(study):
            getattr(viewer, f"add_{kind}")(data, **meta)
    assert len(viewer.layers) == 4


def test_samples_are_made_once_and_kept(monkeypatch, examination):
    made = []

    def simulate(key, folder):
        made.append(key)
        return examination.rename(folder / "case")

    monkeypatch.setattr(samples, "_simulate", simulate)
    first, second = samples.make_sample("MMD"), samples.make_sample("MMD")
    assert made == ["MMD"]
    assert first.image_hash == second.image_hash
    assert len(samples.dsa_moyamoya()) == 2
