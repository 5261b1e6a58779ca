"""`train`: a model from labelled data, by a recipe."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clipmed.cli._app import app, console
from napari_clipmed.cli._common import progress_line
from napari_clipmed.cli._run_options import with_run_options
from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress
from napari_clipmed.training.run_options import Overrides

if TYPE_CHECKING:
    from napari_clipmed.models.card import ModelEntry

train_app = typer.Typer(help="Train a model from labelled data.", no_args_is_help=True)
app.add_typer(train_app, name="train")


Out = Annotated[Path, typer.Option(help="Receives checkpoints and curves; an interrupted run goes on.")]
Backbone = Annotated[
    str, typer.Option(help="CLIP to begin with, in place of the recipe's; see `models backbones`.")
]
Register = Annotated[Path | None, typer.Option(help="Root of models to register the result in.")]


@train_app.command("clip-dsa")
@with_run_options
def train_clip_dsa(
    data: Annotated[Path, typer.Option(help="Folder with studies.jsonl, as `phantom dsa` writes it.")],
    out: Out,
    config: Annotated[str, typer.Option(help="Recipe: a YAML file or a shipped name.")] = "clip_dsa_compact",
    backbone: Backbone = "",
    register: Register = None,
    *,
    overrides: Overrides,
    asked: str,
    start: Path | None,
) -> None:
    """Train CLIP-DSA, keep the best by validation, and make a model with a card of it."""
    from napari_clipmed.training.clip_dsa import train
    from napari_clipmed.training.clip_dsa_export import export
    from napari_clipmed.training.clip_dsa_recipe import read_recipe

    recipe = read_recipe(config).overridden(overrides).on_backbone(backbone)
    with _training() as progress:
        _look_at(backbone, "clip-dsa", progress)
        best = train(data, recipe, out, progress=progress, start=start)
        if is_main_process():
            command = _command("clip-dsa", config, _asked_backbone(backbone) + asked)
            _tell(export(best, recipe, data, register or out / "models", command=command, progress=progress))


@train_app.command("causal-clipseg")
@with_run_options
def train_causal_clipseg(
    data: Annotated[Path, typer.Option(help="QaTa-COV19 in the LanGuideMedSeg or the LViT layout.")],
    out: Out,
    config: Annotated[str, typer.Option(help="A YAML file or a shipped name.")] = "causal_clipseg_compact",
    backbone: Backbone = "",
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and patient; otherwise file names tell.")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Learn from this folder too, such as one of `phantom cxr --format qata`."),
    ] = None,
    register: Register = None,
    *,
    overrides: Overrides,
    asked: str,
    start: Path | None,
) -> None:
    """Train CausalCLIPSeg, keep the best epoch, and make a model with a card of it.

    Patients of the validation split are never trained on.
    """
    from napari_clipmed.training.causal_clipseg import train
    from napari_clipmed.training.segmentation_config import read_config
    from napari_clipmed.training.segmentation_export import export

    settings = read_config(config).overridden(overrides).on_backbone(backbone)
    with _training() as progress:
        _look_at(backbone, "causal-clipseg", progress)
        best = train(data, settings, out, patients, progress, start, beside or ())
        if is_main_process():
            folders = " --beside DIR" * len(beside or ())
            command = _command("causal-clipseg", config, folders + _asked_backbone(backbone) + asked)
            made = export(
                best,
                settings,
                data,
                register or out / "models",
                patients=patients,
                beside=beside or (),
                command=command,
                progress=progress,
            )
            _tell(made)


@train_app.command("clip")
@with_run_options
def train_clip(
    out: Out,
    angiograms: Annotated[
        Path | None, typer.Option(help="Folder with studies.jsonl and reports, as `phantom dsa` writes it.")
    ] = None,
    films: Annotated[
        Path | None, typer.Option(help="QaTa-COV19 in the LanGuideMedSeg or the LViT layout.")
    ] = None,
    config: Annotated[str, typer.Option(help="Recipe: a YAML file or a shipped name.")] = "clip_compact",
    backbone: Backbone = "",
    images: Annotated[
        str | None, typer.Option(help="Begin with the image tower of this CLIP-DSA, which sees already.")
    ] = None,
    *,
    overrides: Overrides,
    asked: str,
    start: Path | None,
) -> None:
    """Train a small CLIP on pictures with their sentences; its towers become a backbone, local-dir:OUT/ID."""
    from napari_clipmed.models.registry import default_registry
    from napari_clipmed.training.clip_pretrain import describe_run, export_tower, train
    from napari_clipmed.training.clip_recipe import read_clip_recipe

    recipe = read_clip_recipe(config).overridden(overrides).on_backbone(backbone)
    with _training() as progress:
        _look_at(backbone, "clip-dsa", progress)
        seeing = default_registry().get(images) if images else None
        best = train(angiograms, films, recipe, out, progress, start, seeing)
        if is_main_process():
            given = [
                name for name, path in (("angiograms", angiograms), ("films", films)) if path is not None
            ]
            data = "".join(f" --{name} DIR" for name in given)
            command = f"napari-clipmed train clip{data} --config {Path(config).stem} --out DIR"
            command += _asked_backbone(backbone) + (f" --images {images}" if images else "") + asked
            facts = describe_run(out, recipe, given, command, images or "")
            folder = export_tower(best, recipe, out / recipe.id, facts)
            console.print(f"Backbone [bold]local-dir:{folder}[/]", highlight=False)


def is_main_process() -> bool:
    """Whether this process speaks for all that train together; Lightning numbers those that it starts."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"


@contextmanager
def _training() -> Iterator[Progress]:
    """Log and progress line of the process that speaks for all; the others are silent."""
    level = logging.INFO if is_main_process() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    if is_main_process():
        with progress_line("Starting…") as progress:
            yield progress
    else:
        yield Progress()


def _look_at(spec: str, network: str, progress: Progress) -> None:
    """Say what is to be known of a backbone before hours are spent on it; a wrong one is refused here."""
    from rich.markup import escape

    from napari_clipmed.models.backbone_list import describe_backbone

    if not spec:
        return
    facts = describe_backbone(spec, weights=True, progress=progress)
    if network not in facts["trains"]:
        raise ClipmedError(
            f"{network} cannot stand on {facts['spec']}, a {facts['image_tower']} with an embedding of "
            f"{facts['embedding']}.",
            _FITTING[network],
        )
    for note in facts["notes"]:
        console.print(f"[yellow]Note:[/] {escape(note)}", highlight=False)


_FITTING = {
    "clip-dsa": "It needs CLIP's ResNet: RN50, RN101, RN50x4 … or one of our own configurations.",
    "causal-clipseg": "It needs CLIP's ResNet with a second stage as wide as the embedding: RN101.",
}


def _asked_backbone(spec: str) -> str:
    from napari_clipmed.models.backbone_source import shown_name

    return f" --backbone {shown_name(spec)}" if spec else ""


def _tell(entry: ModelEntry) -> None:
    console.print(f"Model [bold]{entry.id}[/] in {entry.folder}")


def _command(model: str, config: str, asked: str) -> str:
    """What makes this model again, without paths of this machine."""
    name = Path(config).stem
    return f"napari-clipmed train {model} --data DIR --config {name} --out DIR{asked}"
