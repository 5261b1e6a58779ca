"""``napari-clipmed benchmark``: speed against stated baselines, and how it grows."""

from __future__ import annotations

import os
import platform
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_clipmed.cli._app import app, console, errors, print_json
from napari_clipmed.cli._common import AsJson, Device, Precision, progress_line
from napari_clipmed.errors import ClipmedError

benchmark = typer.Typer(
    name="benchmark",
    help="Measure speed and memory on this machine; close other programs first.",
    no_args_is_help=True,
)
app.add_typer(benchmark)


class Geometry(StrEnum):
    """Whose models are measured."""

    paper = "paper"
    shipped = "shipped"


Model = Annotated[
    Geometry, typer.Option(help="The papers' sizes with random weights, or the shipped compact models.")
]
Only = Annotated[list[str] | None, typer.Option(help="Measure only this; may be given several times.")]
Write = Annotated[
    Path | None, typer.Option(help="Also write the tables into this Markdown file, between their markers.")
]


@benchmark.command("latency")
def latency(
    device: Device = "auto",
    precision: Precision = "auto",
    model: Model = Geometry.paper,
    only: Only = None,
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """What a person waits for, each against a baseline in the same process; told as soon as it is measured.

    Takes about seven minutes on two processor cores, most of them in the baselines, and 8 GB of memory.
    """
    from napari_clipmed.benchmark.latency import NAMES, measure_latency
    from napari_clipmed.benchmark.report import latency_section, latency_words, write_section

    load = load_average()
    with progress_line("Starting") as progress:
        table = measure_latency(
            device,
            precision,
            model.value,
            _chosen(only, NAMES),
            progress,
            on_row=lambda row: errors.print(latency_words(row), highlight=False),
        )
    if write is not None:
        write_section(write, "latency", latency_section(table, machine(), load, date.today()))
    if as_json:
        print_json(table.to_json() | {"machine": machine(), "load_before": load})
        return
    console.print(f"{table.device}. {table.models}.", highlight=False)
    for row in table.rows:
        console.print(latency_words(row), highlight=False)


@benchmark.command("scaling")
def scaling(
    device: Device = "auto",
    precision: Precision = "auto",
    model: Model = Geometry.shipped,
    only: Only = None,
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """How the time grows with frames, matrix size, classes, prompts and cases: tables with exponents."""
    from napari_clipmed.benchmark.report import duration, scaling_section, write_section
    from napari_clipmed.benchmark.scaling import SIZES, measure_scaling

    load = load_average()
    with progress_line("Starting") as progress:
        where, tables = measure_scaling(device, precision, model.value, _chosen(only, tuple(SIZES)), progress)
    if write is not None:
        write_section(write, "scaling", scaling_section(tables, where, machine(), load, date.today()))
    if as_json:
        print_json(
            {
                "device": where,
                "machine": machine(),
                "load_before": load,
                "tables": [table.to_json() for table in tables],
            }
        )
        return
    console.print(where, highlight=False)
    for table in tables:
        console.print(f"[bold]{table.name}[/]: {table.what}; exponent {table.exponent:.2f}", highlight=False)
        for size, timing in zip(table.sizes, table.timings, strict=True):
            console.print(f"  {size:>9,.0f} {table.unit}: {duration(timing.median)}", highlight=False)


class Taught(StrEnum):
    """What is taught."""

    diagnosis = "diagnosis"
    segmentation = "segmentation"


class HowMuch(StrEnum):
    """How much of the network learns."""

    head = "head"
    adapter = "adapter"
    full = "full"


class Drawn(StrEnum):
    """Which simulated patients: those on which defaults were chosen, or others."""

    validation = "validation"
    test = "test"


@benchmark.command("finetune")
def learning(
    folder: Annotated[Path, typer.Option(help="For simulated studies and workspaces; used again.")],
    task: Annotated[list[Taught] | None, typer.Option(help="Default: both.")] = None,
    strategy: Annotated[HowMuch, typer.Option(help="How much of the network learns.")] = HowMuch.head,
    draw: Annotated[Drawn, typer.Option(help="test: the figures that are reported.")] = Drawn.test,
    corrected: Annotated[int, typer.Option(min=5, help="Corrected studies.")] = 40,
    unseen: Annotated[int, typer.Option(min=5, help="Unseen studies of each hospital.")] = 80,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most; default: what suits.")] = None,
    seed: Annotated[int, typer.Option(help="Of the round.")] = 0,
    device: Device = "cpu",
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """Does a round teach? Shipped models, corrected studies of another hospital, unseen patients of both."""
    from napari_clipmed.benchmark.learning import learning_section, measure_learning
    from napari_clipmed.benchmark.report import write_section
    from napari_clipmed.training.finetune_config import FinetuneConfig

    results = []
    with progress_line("Starting") as progress:
        for which in task or list(Taught):
            config = FinetuneConfig.default(which.value, strategy.value, epochs, seed)
            results.append(
                measure_learning(which.value, folder, config, progress, corrected, unseen, draw.value, device)
            )
    command = f"benchmark finetune --strategy {strategy} --draw {draw} --unseen {unseen} --seed {seed}"
    text = learning_section(results, machine(), [command])
    if write is not None:
        write_section(write, "finetune", text)
    if as_json:
        print_json({"machine": machine(), "rounds": [found.as_dict() for found in results]})
    else:
        console.print(text, highlight=False)


def _chosen(only: list[str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in only or () if name not in names]
    if unknown:
        raise ClipmedError(
            f"There is nothing called {unknown[0]!r} to measure.", f"Choose {', '.join(names)}."
        )
    return tuple(name for name in names if not only or name in only)


def load_average() -> float:
    """Load average of the last minute before the start; 0 where the system tells none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def machine() -> str:
    """Processor and versions, in words; neither its name nor its user."""
    import torch

    from napari_clipmed.inference.device import available_cores

    processor = platform.processor() or platform.machine()
    if torch.cuda.is_available():
        processor = f"{torch.cuda.get_device_name()}, {processor}"
    return f"{available_cores()} cores of {_processor_name() or processor}, torch {torch.__version__}"


def _processor_name() -> str:
    """The model name that Linux knows; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
