"""How smooth the window is: first pictures, redraws, the cine against the clock, pings of the event loop.

Runs in a real window. Everything shown is simulated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.commands import add_docks
from napari_clipmed.gui.review_tour import ReviewTour
from napari_clipmed.gui.samples import make_sample
from napari_clipmed.inference.results import Saliency
from napari_clipmed.io.dicom_write import Compression, write_xa
from napari_clipmed.progress import Progress
from napari_clipmed.study import (
    Calibration,
    DisplayWindow,
    FrameTiming,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)

if TYPE_CHECKING:
    import napari

    from napari_clipmed.gui.session import ReviewSession

WINDOW = (1366, 768)
PING_EVERY_S = 0.01
WARM_UP = 6
PATIENCE_S = 60.0
BRIGHT = 140
"""Lightness from which a pixel is that of the bright half of a long run."""

NOISE = 12.0
"""Standard deviation, in a range of 4,096, at which lossless compression halves a run, as with real ones."""

LONG_RUNS: tuple[tuple[str, int, Compression | None], ...] = (
    ("30×1024² JPEG Lossless", 30, "jpeglossless"),
    ("60×1024² uncompressed", 60, None),
)
CORRECTED_STUDIES = 15
"""Simulated studies that are labelled so that there is something to fine-tune on."""


@dataclass(frozen=True)
class Row:
    """Milliseconds of one kind of wait: how many, the median, the 99th percentile and the longest."""

    name: str
    n: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float

    @classmethod
    def of(cls, name: str, milliseconds: list[float]) -> Row:
        """Summarise waits."""
        quantiles = np.percentile(milliseconds, (50, 95, 99, 100)) if milliseconds else np.zeros(4)
        return cls(name, len(milliseconds), *(round(float(value), 1) for value in quantiles))


@dataclass(frozen=True)
class CineRow:
    """What a minute (or less) of cine did: frames a second, share dropped, and how late frames came.

    Parameters
    ----------
    drift_ms : float
        Mean lateness of the last tenth of the frames minus that of the first tenth.
    """

    name: str
    seconds: float
    due_fps: float
    shown_fps: float
    dropped: float
    late_median_ms: float
    drift_ms: float


class Pinger(QObject):
    """Posts a question to the Qt event loop from another thread, again and again, and times the answer."""

    _asked = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.waits: dict[str, list[float]] = {}
        self._phase = ""
        self._answered, self._stopped = threading.Event(), threading.Event()
        self._asked.connect(self._answer, Qt.ConnectionType.QueuedConnection)
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count the pings meanwhile under this name."""
        self._phase = phase
        try:
            yield
        finally:
            QApplication.processEvents()
            self._phase = ""

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._answered.set()
        self._thread.join(5.0)

    def rows(self) -> list[Row]:
        """One row for each phase, and one for all of them."""
        everything = [wait for waits in self.waits.values() for wait in waits]
        return [Row.of(f"ping: {name}", waits) for name, waits in self.waits.items()] + [
            Row.of("ping: all", everything)
        ]

    def _ask(self) -> None:
        while not self._stopped.wait(PING_EVERY_S):
            self._answered.clear()
            self._asked.emit(time.perf_counter())
            self._answered.wait()

    def _answer(self, asked: float) -> None:
        if self._phase:
            self.waits.setdefault(self._phase, []).append(1000.0 * (time.perf_counter() - asked))
        self._answered.set()


def large_study(
    size: int = 1024, n_frames: int = 30, interval_ms: float = 1000.0 / 15, views: int = 2
) -> Study:
    """A study of noise over a moving dark wave, 12 bits in 16: as much to draw as a real one."""
    rng = np.random.default_rng(0)
    projections = (Projection.AP, Projection.LA)[:views]
    rows = np.linspace(0, 1, size)[None, :, None]
    phase = np.linspace(0, 1, n_frames)[:, None, None]
    wave = (1500 * np.exp(-((rows - phase) ** 2) / 0.01)).astype(np.uint16)
    made = []
    for projection in projections:
        pixels = rng.integers(2200, 2600, (n_frames, size, size), dtype=np.uint16) - wave
        made.append(
            View(
                projection,
                pixels,
                FrameTiming(np.arange(n_frames, dtype=np.float64) * interval_ms, "Frame Time", True),
                PixelSpacing(0.2, 0.2, Calibration.DETECTOR),
                DisplayWindow(600, 2700),
                Source("simulated"),
                subtracted=True,
            )
        )
    return Study(tuple(made), Kind.ANGIOGRAM, synthetic=True, title="Benchmark")


def overlay(session: ReviewSession) -> None:
    """Lay heat maps and painted masks over all views of the open study."""
    study = session.study
    if study is None:
        return
    rng = np.random.default_rng(1)
    maps, frames = {}, {}
    for index, (name, view) in enumerate(zip(session.view_names, study.views, strict=True)):
        frames[name] = np.round(np.linspace(0, view.n_frames - 1, 16)).astype(np.int64)
        maps[name] = rng.random((16, 7, 7)).astype(np.float32)
        mask = session.labels_layer(index)
        _, height, width = view.pixels.shape
        mask.data[:, height // 4 : height // 2, width // 4 : width // 2] = 1
        mask.refresh()
    session.heat.show(Saliency("MMD", "layercam", maps, frames))


class FirstDraw(QObject):
    """The moment at which the canvas first shows a picture whose right half is bright.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self.at: float | None = None
        self._viewer = viewer
        self._canvas = next(
            widget
            for window in QApplication.topLevelWidgets()
            if window.isVisible()
            for widget in window.findChildren(QOpenGLWidget)
        )
        self._canvas.frameSwapped.connect(self._on_swap)

    def stop(self) -> None:
        """Look no longer."""
        self._canvas.frameSwapped.disconnect(self._on_swap)

    def _on_swap(self) -> None:
        """Qt has put a drawing of the canvas on the screen."""
        now = time.perf_counter()
        if self.at is None and len(self._viewer.layers) and self._is_bright():
            self.at = now

    def _is_bright(self) -> bool:
        drawn = self._canvas.grabFramebuffer()
        return bool(drawn.pixelColor(drawn.width() * 5 // 8, drawn.height() // 2).lightness() > BRIGHT)


def long_run(path: Path, n_frames: int, compress: Compression | None, size: int = 1024) -> None:
    """A run as noisy as real ones in 12 of 16 bits, its right half bright."""
    rng = np.random.default_rng(0)
    noise = 300 + NOISE * rng.standard_normal((n_frames, size, size), dtype=np.float32)
    frames = noise.astype(np.uint16)
    frames[:, :, size // 2 :] += 3400
    write_xa(path, frames, timing_ms=66.7, bits_stored=12, compress=compress, synthetic=True)


class WindowBenchmark:
    """All measurements in one window.

    Parameters
    ----------
    out : Path
        Folder for the workspace and the simulated studies.
    """

    def __init__(self, out: Path) -> None:
        import napari

        self.viewer: napari.Viewer = napari.Viewer(title="CLIP-Med – benchmark", show=True)
        self.viewer.window.resize(*WINDOW)
        self.tour = ReviewTour(self.viewer, add_docks(self.viewer), out)
        self.session = self.tour.session
        self.out = out

    def first_pictures(self, repeats: int = 5) -> list[Row]:
        """Milliseconds from the command to open a run until its first frame is on screen, and all of it read.

        The first opening of the window, in which fonts and shaders are made, has rows of its own.
        """
        self.tour.front("Study")
        rows: list[Row] = []
        for name, n_frames, compress in LONG_RUNS:
            path = self.out / f"{name}.dcm".replace(" ", "-")
            long_run(path, n_frames, compress)
            waits = [self._opening(path) for _ in range(repeats + 1)]
            for when, some in (("first of the window", waits[:1]), ("later", waits[1:])):
                if when == "later" or not rows:
                    rows.append(
                        Row.of(f"first frame on screen, {name}, {when}", [first for first, _ in some])
                    )
                    rows.append(Row.of(f"all of it read, {name}, {when}", [whole for _, whole in some]))
        return rows

    def _opening(self, path: Path) -> tuple[float, float]:
        """Milliseconds until the first frame is drawn, and until the study is open."""
        self.session.close_study()
        self.tour.breathe(0.5)
        draw = FirstDraw(self.viewer)
        opened: list[float] = []
        self.session.study_changed.connect(lambda study: opened.append(time.perf_counter()))
        began = time.perf_counter()
        self.session.open_paths([path])
        until = began + PATIENCE_S
        while (draw.at is None or self.session.study is None) and time.perf_counter() < until:
            self.tour.breathe(0.02)
        draw.stop()
        if draw.at is None or not opened:
            raise ClipmedError("The first frame never came to the screen.", "Run it on a visible display.")
        return 1000.0 * (draw.at - began), 1000.0 * (opened[-1] - began)

    def scrubbing(self, size: int = 1024, n_frames: int = 30, seconds: float = 8.0) -> list[Row]:
        """Milliseconds from moving the slider until everything is drawn, plain and under overlays."""
        self.tour.front("Study")
        self.session.show_study(large_study(size, n_frames))
        self.tour.breathe(1.0)
        rows = [Row.of(f"scrub 2×{size}²×{n_frames}", self._redraws(n_frames, seconds))]
        overlay(self.session)
        self.tour.breathe(1.0)
        rows.append(Row.of(f"scrub 2×{size}²×{n_frames}, CAM and masks", self._redraws(n_frames, seconds)))
        return rows

    def cine(self, seconds: float, size: int = 512, interval_ms: float = 33.0) -> CineRow:
        """Play one run at its acquisition rate, as the real coronary runs do."""
        self.session.show_study(large_study(size, 96, interval_ms, views=1))
        self.tour.breathe(0.5)
        cine = self.session.strip.cine  # type: ignore[union-attr]  # the docks put it there
        late: list[float] = []
        counts: list[int] = []
        cine.play()
        began, turn = time.perf_counter(), cine.round
        if turn is None:
            raise LookupError("Nothing plays")

        def stepped(count: int) -> None:
            counts.append(count)
            late.append(1000.0 * (time.perf_counter() - began) - turn.due_ms(count))

        cine.stepped.connect(stepped)
        self.tour.breathe(seconds)
        cine.stepped.disconnect(stepped)
        cine.stop()
        elapsed, tenth = time.perf_counter() - began, max(len(late) // 10, 1)
        due = counts[-1] - counts[0] + 1
        return CineRow(
            f"cine {size}² at {interval_ms:.0f} ms",
            round(elapsed, 1),
            round(due / elapsed, 2),
            round(len(counts) / elapsed, 2),
            round(1.0 - len(counts) / due, 4),
            round(float(np.median(late)), 1),
            round(float(np.mean(late[-tenth:]) - np.mean(late[:tenth])), 2),
        )

    def pings(self, finetune: bool = True) -> list[Row]:
        """How long the event loop lets a question wait while every kind of job is at work."""
        tour = self.tour
        tour.step("settle", lambda: None, lambda: not self.session.turns.busy, PATIENCE_S)
        folders = [Path(make_sample(key, Progress()).views[0].source.path).parent for key in ("MMD", "chest")]
        self.session.close_study()
        pinger = Pinger()
        try:
            with pinger.during("nothing to do"):
                tour.breathe(2.0)
            with pinger.during("open"):
                tour.open_folder(folders[0])
            with pinger.during("classify, models loading"):
                tour.classify()
            with pinger.during("explain"):
                tour.explain_another_class()
            with pinger.during("slider dragged"):
                tour.scrub(rounds=3)
            with pinger.during("cine"):
                tour.play(3.0)
            with pinger.during("save"):
                tour.accept()
            with pinger.during("open a film"):
                tour.open_folder(folders[1])
            with pinger.during("segment, model loading"):
                tour.segment_and_save()
            if finetune:
                tour.correct_studies(CORRECTED_STUDIES)
                with pinger.during("fine-tune"):
                    tour.teach()
        finally:
            pinger.stop()
        return pinger.rows()

    def close(self) -> None:
        """Close the window."""
        self.session.jobs.shutdown()
        self.viewer.close()

    def _redraws(self, n_frames: int, seconds: float) -> list[float]:
        waits: list[float] = []
        until = time.perf_counter() + seconds
        for number in range(10_000):
            began = time.perf_counter()
            if began > until:
                break
            self.session.go_to_frame(0, number % n_frames)
            QApplication.processEvents()
            if number >= WARM_UP:
                waits.append(1000.0 * (time.perf_counter() - began))
        return waits


def as_plain(rows: list[Row] | list[CineRow]) -> list[dict[str, Any]]:
    """Rows for JSON."""
    return [asdict(row) for row in rows]
