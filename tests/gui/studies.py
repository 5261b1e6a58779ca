"""Small studies made by hand, and a way to point the mouse at them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qtpy.QtCore import QPoint, Qt

from napari_clipmed.inference.results import Diagnosis, Saliency, ViewAttention
from napari_clipmed.study import (
    Calibration,
    DisplayWindow,
    FrameTiming,
    Guess,
    Kind,
    PatientIdentity,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)


def make_view(projection, n_frames=8, interval_ms=250.0, size=32, times_ms=None, known=True, mm=0.5) -> View:
    """A run whose every frame has a grey value of its own."""
    pixels = np.empty((n_frames, size, size), dtype=np.uint8)
    pixels[:] = (100 + np.arange(n_frames) + 50 * (projection is Projection.LA))[:, None, None]
    times = np.arange(n_frames) * interval_ms if times_ms is None else np.asarray(times_ms, dtype=float)
    return View(
        projection,
        pixels,
        FrameTiming(times, "Frame Time" if known else "frame index", known),
        PixelSpacing(mm, mm, Calibration.DETECTOR) if mm else PixelSpacing(),
        DisplayWindow(80, 220),
        Source("run.dcm"),
        subtracted=True,
        native=255 - pixels,
        angles=(0.0, 15.0) if projection is Projection.AP else (90.0, 0.0),
        guesses=(Guess("projection", str(projection), "positioner angles"),),
    )


def biplane(**changes) -> Study:
    """AP with 8 frames every 250 ms, LA with 6 frames every 200 ms."""
    views = (make_view(Projection.AP), make_view(Projection.LA, n_frames=6, interval_ms=200.0))
    study = Study(
        views,
        Kind.ANGIOGRAM,
        pairing=Guess("pairing", "AP + LA", "same frame of reference"),
        identity=PatientIdentity("DOE^JANE", "4711"),
        synthetic=True,
        title="Left internal carotid",
    )
    return replace(study, **changes)


def chest() -> Study:
    """A single film."""
    view = replace(make_view(Projection.PA, n_frames=1, times_ms=[0.0]), native=None, angles=None)
    return Study((view,), Kind.CHEST)


def answers(study: Study) -> tuple[Diagnosis, Saliency]:
    """A diagnosis and heat maps about the study's first frames."""
    names = [str(view.projection) for view in study.views]
    attention = {
        name: ViewAttention(np.array([0.2, 0.7, 0.1], np.float32), np.array([0, 2, view.n_frames - 1]))
        for name, view in zip(names, study.views, strict=True)
    }
    maps = {name: np.zeros((3, 4, 4), np.float32) for name in names}
    for stack in maps.values():
        stack[1, 1, 2] = 1.0
    chances = {"MMD": 0.8, "Control": 0.2}
    diagnosis = Diagnosis(
        ("MMD", "Control"),
        ("Moyamoya disease", "Control"),
        dict.fromkeys([*names, "both"], chances),
        attention,
        {name: index for index, name in enumerate(names)},
        "tiny",
        study.image_hash,
    )
    return diagnosis, Saliency("MMD", "gradcam", maps, {name: attention[name].frames for name in names})


def canvas_of(viewer):
    """The Qt widget that the picture is drawn on (tests may look inside)."""
    return viewer.window._qt_viewer.canvas.native


def point_over(viewer, session, view_index: int, row: float, column: float) -> QPoint:
    """Where on the canvas, in pixels, a pixel of a view is shown."""
    place = session.hanging.placements[view_index]
    if session.zoom_linked:
        return _point_in_pane(viewer, place, view_index, len(session.view_names), row, column)
    y = place.translate[1] + row * place.scale[1]
    x = place.translate[2] + column * place.scale[2]
    camera, widget = viewer.scene.camera, canvas_of(viewer)
    return QPoint(
        round((x - camera.center[2]) * camera.zoom + widget.width() / 2),
        round((y - camera.center[1]) * camera.zoom + widget.height() / 2),
    )


def _point_in_pane(viewer, place, pane: int, n_panes: int, row: float, column: float) -> QPoint:
    """The same with every view in a pane of its own; the camera looks at the middle of each."""
    y = place.translate[1] + row * place.scale[1]
    x = place.translate[2] + column * place.scale[2]
    camera, widget = viewer.scene.camera, canvas_of(viewer)
    spacing = viewer.canvas.grid.spacing
    width = (widget.width() - spacing * (n_panes - 1)) / n_panes
    return QPoint(
        round((x - camera.center[2]) * camera.zoom + width / 2 + pane * (width + spacing)),
        round((y - camera.center[1]) * camera.zoom + widget.height() / 2),
    )


def drag(qtbot, viewer, session, view_index, *cells):
    """Press the left button over the first cell (row, column), move over the others, let go."""
    stroke(qtbot, viewer, *(point_over(viewer, session, view_index, *cell) for cell in cells))


def stroke(qtbot, viewer, *points):
    """Press the left button at the first point of the canvas, move over the others, let go."""
    widget = canvas_of(viewer)
    qtbot.mouseMove(widget, points[0])
    qtbot.wait(20)
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=points[0])
    for point in points[1:]:
        qtbot.mouseMove(widget, point)
        qtbot.wait(10)
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=points[-1])
    qtbot.wait(20)
