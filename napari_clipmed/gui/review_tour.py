"""A whole review through the docks, step by step: what the window benchmark times and a test watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QPushButton

from napari_clipmed.gui.demo_tour import PATIENCE_S, DemoTour
from napari_clipmed.gui.tour import Tour

PROMPT = "Left lung opacity"


class ReviewTour(DemoTour):
    """Opens, classifies, explains, scrubs, plays, accepts, segments and saves, with real clicks.

    Unlike the demo it opens files as a person does, takes no photographs and computes no scores: nothing
    but the product itself works while it walks.

    Parameters
    ----------
    viewer : napari.Viewer
    docks : dict of str to widget
        As `commands.add_docks` returns them.
    out : Path
        Folder for simulated studies.
    """

    def __init__(self, viewer: Any, docks: dict[str, Any], out: Path) -> None:
        Tour.__init__(self, viewer, docks, out)
        self.say = lambda sentence: None

    def photograph(self, name: str, dock: str) -> Path:
        """No photographs: they would stop the window."""
        return self.out

    def idle(self) -> bool:
        """Whether no job is at work."""
        return not self.session.busy

    def open_folder(self, folder: Path) -> None:
        """Open the files of a study; a preference then has it classified."""
        before = self.session.study

        def opened() -> bool:
            return self.session.study not in (None, before)

        self.step("open", lambda: self.session.open_paths([folder]), opened, PATIENCE_S)

    def classify(self) -> None:
        """Wait for the answer and its heat maps."""
        self.front("Diagnosis")
        dock, session = self.docks["Diagnosis"], self.session

        def ask() -> None:
            if not session.settings.classify_on_open:
                dock.classify_button.click()

        self.step("classify", ask, lambda: session.heat.saliency and self.idle(), PATIENCE_S)

    def explain_another_class(self) -> None:
        """Click the bar of a class that is not explained yet."""
        session = self.session
        if session.diagnosis is None or session.heat.saliency is None:
            raise LookupError("Nothing was classified")
        shown = session.heat.saliency.label
        other = next(label for label in session.diagnosis.labels if label != shown)

        def explained() -> bool:
            return session.heat.saliency is not None and session.heat.saliency.label == other and self.idle()

        self.step("explain", self.docks["Diagnosis"].bars.bar(other).click, explained, PATIENCE_S)

    def scrub(self, rounds: int = 1) -> None:
        """Drag the slider over the run and back."""
        study = self.session.study
        frames = range(study.views[0].n_frames) if study is not None else range(0)
        for _ in range(rounds):
            for frame in (*frames, *reversed(frames)):
                self.session.go_to_frame(0, frame)
                self.breathe(0.01)

    def play(self, seconds: float) -> None:
        """Let the cine run."""
        cine = self.session.strip.cine  # type: ignore[union-attr]  # the docks put it there
        cine.play()
        self.breathe(seconds)
        cine.stop()

    def accept(self) -> None:
        """Accept the label, which saves it."""
        self.click("Diagnosis", QPushButton, "accept")
        self.step("save_label", lambda: None, self.idle, PATIENCE_S)

    def segment_and_save(self) -> None:
        """Ask for a mask, take it, paint over it, save it."""
        self._segment(PROMPT)
        self.click("Segment", QPushButton, "take_mask")
        self.step("take_mask", lambda: None, lambda: not self.session.turns.busy, PATIENCE_S)
        study = self.session.study
        if study is None:
            raise LookupError("No film is open")
        self.session.write_mask(0, 0, np.ones(study.views[0].pixels.shape[1:], dtype=bool), 1)
        self.click("Segment", QPushButton, "save_masks")
        self.step("save_mask", lambda: None, self.idle, PATIENCE_S)
