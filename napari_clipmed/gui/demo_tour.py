"""The tour of the demo: an angiogram explained, a film segmented, both corrected, a model taught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPlainTextEdit, QPushButton

from napari_clipmed.gui.commands import add_docks
from napari_clipmed.gui.samples import make_sample
from napari_clipmed.gui.tour import Tour
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.inference.results import MaskProposal

WINDOW = (1366, 768)
PATIENCE_S = 180.0


class DemoTour(Tour):
    """Walks through the main job; `run` returns the report.

    Parameters
    ----------
    out : Path
        Folder for photographs.
    say : callable
        Told in a sentence what happens.
    """

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        import napari

        viewer = napari.Viewer(title="CLIP-Med – demo", show=True)
        viewer.window.resize(*WINDOW)
        super().__init__(viewer, add_docks(viewer), out)
        self.say = say

    def run(self, label: str, n_corrected: int) -> dict[str, Any]:
        """Take the tour.

        Parameters
        ----------
        label : str
            Class of the sample angiogram.
        n_corrected : int
            Simulated studies that are labelled in the place of a reader before the model is taught.
        """
        report: dict[str, Any] = {"synthetic": True, "research_use_only": True}
        report |= self.angiogram(label)
        report["segmentation"] = self.film()
        self.say(f"Labelling {n_corrected} simulated studies in the place of a reader")
        self.correct_studies(n_corrected)
        report["finetune"] = self.teach()
        self.say("Back to the angiogram")
        self._open_angiogram(label)
        report["timings_s"] = self.timings
        return report

    # -- the angiogram ------------------------------------------------------------------------------------

    def angiogram(self, label: str) -> dict[str, Any]:
        """Open, classify, explain, outline and accept the sample study."""
        from napari_clipmed.inference.pointing import pointing_game
        from napari_clipmed.phantoms import load_truth

        self.say("Simulating and opening a biplane DSA study")
        self._open_angiogram(label)
        study, diagnosis, saliency = self.session.study, self.session.diagnosis, self.session.heat.saliency
        assert study is not None
        assert diagnosis is not None
        assert saliency is not None
        truth = load_truth(_folder_of(study))
        lesions = {name: view.lesion for name, view in truth.views.items() if name in saliency.maps}
        decisive = {name: saliency.decisive_frame(name) for name in saliency.maps}
        self.photograph("dock_study", "Study")
        self.click("Diagnosis", QPushButton, "outline")
        self.photograph("screenshot", "Diagnosis")
        self.say("Accepting the label")
        self.click("Diagnosis", QPushButton, "accept")
        self.step("save_label", lambda: None, lambda: not self.session.busy, PATIENCE_S)
        self.photograph("dock_diagnosis", "Diagnosis")
        return {
            "study": _describe(study),
            "classification": {
                "model": diagnosis.model_id,
                "probabilities": {key: dict(row) for key, row in diagnosis.probabilities.items()},
                "predicted": diagnosis.predicted,
                "probability": diagnosis.combined[diagnosis.predicted],
                "truth": truth.label,
                "headline": diagnosis.headline,
                "unlike_training": diagnosis.unlike_training,
            },
            "saliency": {
                "method": saliency.method,
                "label": saliency.label,
                "decisive_frame_number": {name: frame + 1 for name, frame in decisive.items()},
                "pointing_game_hit": pointing_game(saliency, lesions).hit,
            },
        }

    def _open_angiogram(self, label: str) -> None:
        """Open the sample; it is classified and explained by itself (the default preference)."""
        session = self.session

        def read(progress: Any) -> Study:
            return make_sample(label, progress)

        self.step(
            "open_angiogram",
            lambda: session.jobs.start(read, title="Open the sample", on_done=session.show_study, key="open"),
            lambda: session.study is not None and session.study.kind == "angiogram",
            PATIENCE_S,
        )
        self.say("Classifying")
        self.step("classify", lambda: self.front("Diagnosis"), lambda: session.diagnosis, PATIENCE_S)
        self.step("explain", lambda: None, lambda: session.heat.saliency, PATIENCE_S)
        assert session.heat.saliency is not None
        view = next((name for name in ("AP", "LA") if name in session.heat.saliency.maps), "")
        index = session.view_index(view)
        if index is not None:
            session.go_to_frame(index, session.heat.saliency.decisive_frame(view))

    # -- the film -----------------------------------------------------------------------------------------

    def film(self) -> dict[str, Any]:
        """Segment the sample film from its sentence, then correct the mask as its truth says."""
        self.say("Opening a chest film and typing a sentence")
        session = self.session

        def read(progress: Any) -> Study:
            return make_sample("chest", progress)

        self.step(
            "open_film",
            lambda: session.jobs.start(read, title="Open the film", on_done=session.show_study, key="open"),
            lambda: session.study is not None and session.study.kind == "chest",
            PATIENCE_S,
        )
        assert session.study is not None
        prompt, true_mask = _film_truth(_folder_of(session.study))
        proposal = self._segment(prompt)
        dice = _dice(proposal.mask(), true_mask)
        self.photograph("dock_segment", "Segment")
        self.click("Segment", QPushButton, "take_mask")
        self.step("take_mask", lambda: None, lambda: not session.turns.busy, PATIENCE_S)
        # The reader's correction: the truth of the simulator, painted as one undoable step.
        session.write_mask(0, 0, true_mask, session.labels_layer(0).selected_label)
        self.click("Segment", QPushButton, "save_masks")
        self.step("save_mask", lambda: None, lambda: not session.busy, PATIENCE_S)
        return {
            "model": proposal.model_id,
            "prompt": prompt,
            "normalised_prompt": proposal.normalised_prompt,
            "convention": proposal.convention,
            "dice": round(dice, 4),
        }

    def _segment(self, prompt: str) -> MaskProposal:
        dock = self.docks["Segment"]
        self.front("Segment")
        box = self.find("Segment", QPlainTextEdit, "prompt_box")
        box.setPlainText(prompt)
        self.step(
            "segment",
            lambda: QTest.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier),
            lambda: dock.proposed is not None,
            PATIENCE_S,
        )
        proposal: MaskProposal = dock.proposed
        return proposal

    # -- teaching -----------------------------------------------------------------------------------------

    def correct_studies(self, n: int) -> None:
        """Put simulated studies with their true label into the workspace, as a reader's corrections."""
        from napari_clipmed.gui.demo_cases import label_simulated_studies

        session, folder = self.session, self.out / "corrected"
        finished: list[int] = []

        def work(progress: Any) -> int:
            return label_simulated_studies(session.store(), folder, n, progress)

        self.step(
            "label_studies",
            lambda: session.jobs.start(work, title="Label simulated studies", on_done=finished.append),
            lambda: finished,
            4 * PATIENCE_S,
        )

    def teach(self) -> dict[str, Any]:
        """Fine-tune the diagnosis head in its own process, from the dock."""
        self.say("Fine-tuning the head on the corrections, in a process of its own")
        dock = self.docks["Fine-tune"]
        start = self.find("Fine-tune", QPushButton, "start_finetune")
        self.step("plan", lambda: self.front("Fine-tune"), start.isEnabled, PATIENCE_S)
        self.step(
            "finetune",
            lambda: self.click("Fine-tune", QPushButton, "start_finetune"),
            lambda: dock.outcome.model_id and not self.session.busy,
            3 * PATIENCE_S,
        )
        self.photograph("dock_finetune", "Fine-tune")
        card = self.session.registry().get(dock.outcome.model_id).card
        outcome: dict[str, Any] = card.metrics["finetune"]
        before, after = outcome["before"], outcome["after"]
        better = after["macro_f1"] > before["macro_f1"]
        return {
            "task": "diagnosis",
            "strategy": "head",
            "model_id": card.id,
            "parent": card.parent,
            "judged_on": outcome["on"],
            "before": before,
            "after": after,
            "improved": better,
            "sentence": (
                f"macro F1 {before['macro_f1']:.2f} before, {after['macro_f1']:.2f} after, on {before['n']} "
                f"{outcome['on']} case(s): {'better' if better else 'no better, and the old model stays'}."
            ),
        }

    # -- the end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()

    def stay_open(self) -> None:
        """Leave the window to the person until it is closed."""
        import napari

        napari.run()


def _folder_of(study: Study) -> Path:
    return Path(study.views[0].source.path).parent


def _describe(study: Study) -> dict[str, Any]:
    return {
        "title": study.title,
        "kind": str(study.kind),
        "synthetic": study.synthetic,
        "views": [str(view.projection) for view in study.views],
        "frames": {str(view.projection): view.n_frames for view in study.views},
        "times_ms": {str(view.projection): view.timing.times_ms.round(1).tolist() for view in study.views},
        "time_base": {str(view.projection): view.timing.source for view in study.views},
        "pairing_rule": f"{study.pairing.value}: {study.pairing.reason}" if study.pairing else None,
        "subtracted": {str(view.projection): view.subtracted for view in study.views},
    }


def _film_truth(folder: Path) -> tuple[str, np.ndarray]:
    import json

    words = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    with np.load(folder / "truth.npz") as truth:
        return str(words["prompt"]), truth["mask"].astype(bool)


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two masks, by the convention of the evaluation."""
    import torch

    from napari_clipmed.training.metrics_segmentation import SegmentationMetrics

    metrics = SegmentationMetrics()
    metrics.update(torch.from_numpy(mask)[None].float(), torch.from_numpy(truth)[None].float())
    return float(metrics.compute().dice_mean)
