"""``napari-clipmed evaluate clip``: what a backbone knows of pictures and sentences, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_clipmed.cli._app import console, errors, print_json
from napari_clipmed.cli._common import AsJson
from napari_clipmed.cli.backbones import SPEC_HELP
from napari_clipmed.cli.evaluate import evaluate_app
from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.backbone_list import SHIPPED_BACKBONE
from napari_clipmed.shipped import resource


@evaluate_app.command("clip")
def evaluate_clip(
    backbone: Annotated[str, typer.Option(help=SPEC_HELP)] = SHIPPED_BACKBONE,
    angiograms: Annotated[
        Path | None, typer.Option(help="Folder with studies.jsonl, as `phantom dsa` writes it.")
    ] = None,
    films: Annotated[Path | None, typer.Option(help="QaTa-COV19 in one of its layouts.")] = None,
    split: Annotated[str, typer.Option(help="Of the angiograms: train, val or test.")] = "test",
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and patient; otherwise file names tell.")
    ] = None,
    label_set: Annotated[str, typer.Option(help="Sentences that the backbone has learned.")] = "dsa",
    reworded: Annotated[
        str | None, typer.Option(help="The same classes in words that it has not; default: some for dsa.")
    ] = None,
    most: Annotated[int | None, typer.Option(min=2, help="At most so many studies and films.")] = None,
    rounds: Annotated[int, typer.Option(min=10, help="Bootstrap rounds of the 95 % intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Classes by sentences, other words, and sides: of angiograms, of the Val films of QaTa-COV19, or both.

    Figures come with 95 % intervals over patients. Nothing is trained.
    """
    from napari_clipmed.inference.towers import Towers
    from napari_clipmed.models.backbone_source import shown_name
    from napari_clipmed.models.zero_shot_sets import read_set
    from napari_clipmed.progress import Progress
    from napari_clipmed.training.clip_evaluate import judge_angiograms, judge_films
    from napari_clipmed.training.dsa_data import read_rows
    from napari_clipmed.training.qata_data import load_split, read_patients

    if angiograms is None and films is None:
        raise ClipmedError("There is nothing to judge by.", "Give --angiograms, --films, or both.")
    figures: dict[str, Any] = {"backbone": shown_name(backbone)}
    with errors.status("evaluating …") as status:
        progress = Progress(lambda step: status.update(f"{step.what} {step.done} of {step.total}"))
        towers = Towers(backbone, progress=progress)
        if angiograms is not None:
            rows = read_rows(angiograms, split)[:most]
            other = reworded or str(resource("evaluation", "dsa_reworded.yaml"))
            sets = read_set(label_set), read_set(other)
            figures["angiograms"] = judge_angiograms(towers, rows, *sets, rounds, progress)
        if films is not None:
            table = read_patients(patients) if patients is not None else None
            items = load_split(films, "Val", table)[:most]
            figures["films"] = judge_films(towers, items, rounds, progress)
    print_json(figures) if as_json else _show(figures)


def _show(figures: dict[str, Any]) -> None:
    """A table for people, and the sentences that landed elsewhere."""
    table = Table("question", "n", "right", "95 % interval", "chance", title=figures["backbone"])

    def add(title: str, n: int, right: float, interval: list[float], chance: float) -> None:
        bounds = f"{interval[0]:.3f} – {interval[1]:.3f}"
        table.add_row(title, str(n), f"{right:.3f}", bounds, f"{chance:.3f}")

    runs, films = figures.get("angiograms"), figures.get("films")
    if runs:
        for name, row in runs["classes"].items():
            n, bounds = runs["studies"], row["ci95"]
            add(f"class, {name} sentences", n, row["accuracy"], bounds["accuracy"], row["chance"])
            add(f"macro AUC, {name} sentences", n, row["auc_ovr"], bounds["auc_ovr"], 0.5)
        row = runs["similar"]
        add("class of the nearest other patient", row["n"], row["right"], row["ci95"], row["chance"])
        if "side" in runs:
            add("side of the report", runs["side"]["n"], runs["side"]["right"], runs["side"]["ci95"], 0.5)
    if films:
        row = films["lungs"]
        add(
            "which lungs (chance: the most frequent)",
            row["n"],
            row["right"],
            row["ci95"],
            row["most_frequent"],
        )
        row = films["side"]
        add("left or right lung", row["n"], row["right"], row["ci95"], 0.5)
    console.print(table)
    if runs:
        words = runs["words"]
        console.print(f"{words['right']} of {words['n']} other sentences lie nearest to the class they mean.")
        for row in words["sentences"]:
            if row["means"] != row["nearest"]:
                console.print(f"  “{row['sentence']}” means {row['means']}, nearest {row['nearest']}")
