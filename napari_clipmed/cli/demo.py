"""``napari-clipmed demo``: the main job on the sample studies, in a real window, with a report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clipmed.cli._app import app, errors, print_json
from napari_clipmed.cli._window import need_a_display, sandbox

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
    need_a_display("demo --headless")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    sandbox(out)

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
