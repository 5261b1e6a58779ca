"""The hot region of the shown frame becomes an editable mask, as one step that Ctrl+Z takes back."""

from __future__ import annotations

import numpy as np
import pytest
from dock_fakes import FakeEngine, biplane, registry_with
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_clipmed.gui.diagnosis_dock import OUTLINE_VALUE, DiagnosisDock
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import Settings


@pytest.fixture
def session(make_napari_viewer_proxy, monkeypatch, tmp_path):
    session = session_for(make_napari_viewer_proxy())
    registry = registry_with(tmp_path / "models", **{"clip-dsa-compact": "diagnosis"})
    engine = FakeEngine()
    monkeypatch.setattr(session, "engine", lambda: engine)
    monkeypatch.setattr(session, "registry", lambda: registry)
    monkeypatch.setattr(type(session), "settings", property(lambda self: Settings(classify_on_open=True)))
    yield session
    session.jobs.shutdown()


def test_outline_writes_the_hot_region_and_undo_takes_it_back(session, qtbot):
    dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(dock)
    dock.show()
    session.show_study(biplane())
    qtbot.waitUntil(lambda: session.heat.saliency is not None, timeout=60_000)
    view = next(iter(session.heat.saliency.maps))
    index = session.view_index(view)
    frame = session.heat.saliency.decisive_frame(view)
    session.go_to_frame(index, frame)
    qtbot.mouseClick(dock.findChild(QPushButton, "outline"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: session.has_labels(index), timeout=60_000)
    layer = session.labels_layer(index)
    assert (np.asarray(layer.data[frame]) == OUTLINE_VALUE).any()
    assert not np.asarray(layer.data[:frame]).any()
    layer.undo()
    assert not np.asarray(layer.data).any()
