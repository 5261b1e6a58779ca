"""A whole review through the docks, with the real models, while the GUI thread is watched.

Every Python call on the GUI thread is looked at: none may belong to torch, to a decoder or to the database.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from napari_clipmed.gui.commands import add_docks
from napari_clipmed.gui.review_tour import ReviewTour
from napari_clipmed.gui.samples import make_sample
from napari_clipmed.progress import Progress

WORKERS_ONLY = (
    "torch",
    "open_clip",
    "pydicom",
    "sqlalchemy",
    "alembic",
    "imagecodecs",
    "safetensors",
    "gdcm",
)
"""Packages of which no code may run on the GUI thread."""

OURS_FOR_WORKERS = ("io/dicom_pixels.py", "io/dicom_view.py", "io/grey.py", "inference/engine.py")
NOT_THEIR_WORK = ("_patched_getfile", "_collection_gced")
"""Torch's stand-in for `inspect.getfile`, which all call; and what SQLAlchemy hears of a dead object, on
whichever thread collects the garbage."""


class GuiThreadWatch:
    """Remembers which calls on the thread that enters it belong to workers, and from where they came."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._verdicts: dict[str, str] = {}

    def __enter__(self) -> GuiThreadWatch:
        assert threading.current_thread() is threading.main_thread()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame, event, arg) -> None:
        if event == "call":
            file = frame.f_code.co_filename
            whose = self._verdicts.get(file)
            if whose is None:
                whose = self._verdicts[file] = self._owner(file)
        elif (
            event == "c_call"
            and (getattr(arg, "__module__", None) or "").startswith(("sqlite3", "_sqlite3"))
            or event == "c_call"
            and isinstance(getattr(arg, "__self__", None), sqlite3.Connection | sqlite3.Cursor)
        ):
            whose = "sqlite3"
        else:
            return
        if whose and frame.f_code.co_name not in NOT_THEIR_WORK:
            name = frame.f_code.co_qualname if event == "call" else arg.__name__
            self.found[f"{whose}, {name}, called from {_caller(frame)}"] += 1

    @staticmethod
    def _owner(file: str) -> str:
        parts = Path(file).parts
        if "site-packages" in parts:
            package = parts[parts.index("site-packages") + 1]
            return package if package in WORKERS_ONLY else ""
        return next((ours for ours in OURS_FOR_WORKERS if file.endswith(ours)), "")


def _caller(frame) -> str:
    """The nearest line of the gui room on the way to a call."""
    while frame is not None and "/napari_clipmed/gui/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return "outside the gui room" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


@pytest.fixture
def tour(make_napari_viewer_proxy, tmp_path):
    viewer = make_napari_viewer_proxy(show=True).__wrapped__
    tour = ReviewTour(viewer, add_docks(viewer), tmp_path)
    yield tour
    tour.session.jobs.shutdown()


def test_no_work_is_done_on_the_gui_thread(tour):
    run, film = (Path(make_sample(key, Progress()).views[0].source.path).parent for key in ("MMD", "chest"))
    with GuiThreadWatch() as watch:
        tour.open_folder(run)
        tour.classify()
        tour.explain_another_class()
        tour.scrub()
        tour.session.show_native(True)
        tour.session.show_native(False)
        tour.play(0.5)
        tour.accept()
        tour.open_folder(film)
        tour.segment_and_save()
        tour.front("Fine-tune")
        tour.step("plan", lambda: None, tour.idle, 120)
        tour.session.close_study()
        tour.breathe(0.1)
    assert tour.session.diagnosis is None
    assert not watch.found, "\n".join(f"{n} × {what}" for what, n in watch.found.most_common())


def test_the_watch_sees_what_it_should():
    import torch

    with GuiThreadWatch() as watch:
        torch.nn.Identity()(torch.zeros(1))
        sqlite3.connect(":memory:").execute("select 1")
    assert {what.split(",")[0] for what in watch.found} == {"torch", "sqlite3"}
