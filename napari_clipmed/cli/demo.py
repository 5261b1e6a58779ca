"""``napari-clipmed demo``: the main job on the sample studies, in a real window, with a report."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clipmed.cli._app import app, errors, print_json
from napari_clipmed.errors import ClipmedError

SAMPLE = "MMD"
CORRECTED_STUDIES = 15
"""Simulated studies that are labelled in the place of a reader: something to learn from."""


@app.command("demo")
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Close the window at the end instead of leaving it open.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for report and screenshots.")] = Path("out/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False,
) -> None:
    """Open the sample study, classify, explain, segment, correct, fine-tune; report what came out.

    Everything is simulated. Settings, workspace and models of the demo stay in its own folder.
    """
    _need_a_display()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _sandbox(out)

    from napari_clipmed.gui.demo_tour import DemoTour

    began = time.perf_counter()
    tour = DemoTour(out, say=lambda sentence: errors.print(f"· {sentence}", highlight=False))
    report: dict[str, Any] = tour.run(SAMPLE, CORRECTED_STUDIES)
    report["timings_s"]["total"] = round(time.perf_counter() - began, 1)
    path = out / "report.json"
    path.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if as_json:
        print_json(report)
    else:
        _tell(report, out)
    if headless:
        tour.close()
    else:
        tour.stay_open()


def _need_a_display() -> None:
    """Refuse kindly where no window can open."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not shown and "QT_QPA_PLATFORM" not in os.environ:
        raise ClipmedError(
            "There is no display for the window.",
            "Run `make demo`, or `xvfb-run -a napari-clipmed demo --headless`.",
        )


def _sandbox(out: Path) -> None:
    """Keep the person's own napari settings, workspace and models out of the demo, and start afresh."""
    home = out / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    os.environ["CLIPMED_HOME"] = str(home)
    os.environ["NAPARI_CONFIG"] = str(home / "napari.yaml")


def _tell(report: dict[str, Any], out: Path) -> None:
    answer, tuned = report["classification"], report["finetune"]
    lines = [
        f"Predicted {answer['predicted']} (p = {answer['probability']:.2f}), truth {answer['truth']}.",
        f"The map ({report['saliency']['method']}) points at the lesion: "
        + ("yes." if report["saliency"]["pointing_game_hit"] else "no."),
        f"Decisive frames: {report['saliency']['decisive_frame_number']}.",
        f"Mask from the sentence: Dice {report['segmentation']['dice']:.2f}.",
        f"Fine-tuning: {tuned['sentence']}",
        f"Report and screenshots: {out}",
    ]
    for line in lines:
        errors.print(line, highlight=False)
