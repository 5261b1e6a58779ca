"""`train`: a model from labelled data, by a recipe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from napari_clipmed.cli._app import app, console

train_app = typer.Typer(help="Train a model from labelled data.", no_args_is_help=True)
app.add_typer(train_app, name="train")


@train_app.command("clip-dsa")
def train_clip_dsa(
    data: Annotated[Path, typer.Option(help="Folder with studies.jsonl, as `phantom dsa` writes it.")],
    out: Annotated[Path, typer.Option(help="Receives checkpoints and curves; an interrupted run goes on.")],
    config: Annotated[str, typer.Option(help="Recipe: a YAML file or a shipped name.")] = "clip_dsa_compact",
    register: Annotated[Path | None, typer.Option(help="Root of models to register the result in.")] = None,
    threads: Annotated[int, typer.Option(help="Processor threads; 0 leaves it to torch.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that prepare batches.")] = 0,
) -> None:
    """Train CLIP-DSA, keep the best by validation, and make a model with a card of it."""
    import torch

    from napari_clipmed.training.clip_dsa import train
    from napari_clipmed.training.clip_dsa_export import export
    from napari_clipmed.training.clip_dsa_recipe import read_recipe

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads:
        torch.set_num_threads(threads)
    recipe = read_recipe(config)
    best = train(data, recipe, out, workers=workers)
    entry = export(best, recipe, data, register or out / "models", command=_command("clip-dsa", config))
    console.print(f"Model [bold]{entry.id}[/] in {entry.folder}")


@train_app.command("causal-clipseg")
def train_causal_clipseg(
    data: Annotated[Path, typer.Option(help="QaTa-COV19 in the LanGuideMedSeg or the LViT layout.")],
    out: Annotated[Path, typer.Option(help="Receives the checkpoint and the curves.")],
    config: Annotated[str, typer.Option(help="A YAML file or a shipped name.")] = "causal_clipseg_compact",
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and patient; otherwise file names tell.")
    ] = None,
    register: Annotated[Path | None, typer.Option(help="Root of models to register the result in.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint of an earlier run of this network, to go on from.")
    ] = None,
) -> None:
    """Train CausalCLIPSeg, keep the best epoch, and make a model with a card of it.

    Patients of the validation split are never trained on.
    """
    from napari_clipmed.progress import Progress
    from napari_clipmed.training.causal_clipseg import train
    from napari_clipmed.training.segmentation_config import read_config
    from napari_clipmed.training.segmentation_export import export

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = read_config(config)
    with console.status("Starting…") as status:
        progress = Progress(lambda step: status.update(f"{step.what} {step.done}/{step.total}"))
        best = train(data, settings, out, patients, progress, start)
        entry = export(
            best,
            settings,
            data,
            register or out / "models",
            patients=patients,
            command=_command("causal-clipseg", config) + (" --start CHECKPOINT" if start else ""),
            progress=progress,
        )
    console.print(f"Model [bold]{entry.id}[/] in {entry.folder}")


def _command(model: str, config: str) -> str:
    """What makes this model again, without paths of this machine."""
    name = Path(config).stem
    return f"napari-clipmed train {model} --data DIR --config {name} --out DIR"
