"""``napari-clipmed benchmark accuracy``: the papers' tables, same data, same budget."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_clipmed.cli._app import console, errors, print_json
from napari_clipmed.cli._common import AsJson, Device, Precision, progress_line
from napari_clipmed.cli.benchmark import Write, benchmark, load_average, machine
from napari_clipmed.errors import ClipmedError

accuracy = typer.Typer(
    name="accuracy",
    help="Train the rows of the papers' tables with one budget and judge each once; hours, not minutes.",
    no_args_is_help=True,
)
benchmark.add_typer(accuracy)


class Sizes(StrEnum):
    """How large the networks are."""

    compact = "compact"
    paper = "paper"


Seeds = Annotated[int, typer.Option(min=1, help="Train each row with so many seeds, 0, 1, 2 …")]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.01, help="Budget of a row: processor minutes on a processor, else of the wall clock."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Budget of a row; whichever ends first.")]
Threads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves it to torch.")]
Rounds = Annotated[int, typer.Option(min=10, help="Bootstrap rounds of the 95 % intervals.")]


@accuracy.command("dsa")
def accuracy_dsa(
    data: Annotated[Path, typer.Option(help="Folder with studies.jsonl, as `phantom dsa` writes it.")],
    out: Annotated[Path, typer.Option(help="Keeps finished rows; the same command goes on from them.")],
    rows: Annotated[str, typer.Option(help="Keys with commas between, or all.")] = "all",
    seeds: Seeds = 1,
    minutes: Minutes = None,
    epochs: Epochs = None,
    scale: Annotated[Sizes, typer.Option(help="Published sizes, or narrow variants.")] = Sizes.compact,
    size: Annotated[int | None, typer.Option(min=64, help="Pixels; default 112 compact, 224 paper.")] = None,
    frames: Annotated[int | None, typer.Option(min=4, help="Of a view; default 8 compact, 16 paper.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Studies a step.")] = 16,
    separate: Annotated[
        bool, typer.Option("--separate", help="Networks of their own for single views; three times as long.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Load the libraries' weights (downloads; --scale paper).")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    rounds: Rounds = 1000,
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """CLIP-DSA's Tables 1 and 2: encoders, poolings, with and without L_mc; AP, LA and both views.

    Rows: resnet50, swin, mittmann, hu, r3d, s3d, mvit, swin3d, clip, clip-max, clip-lstm, clip-gru, clip-tpm,
    clip-mc, clip-max-mc, clip-lstm-mc, clip-gru-mc, clip-dsa.
    """
    from napari_clipmed.benchmark.accuracy.dsa import intervals, measure_dsa
    from napari_clipmed.benchmark.accuracy.dsa_rows import rows_named
    from napari_clipmed.benchmark.accuracy.dsa_table import dsa_section, dsa_words
    from napari_clipmed.benchmark.accuracy.dsa_training import compact_contest, paper_contest
    from napari_clipmed.benchmark.report import write_section
    from napari_clipmed.training.run_options import RunOptions

    if minutes is None and epochs is None:
        raise ClipmedError("The rows need a budget.", "Give --minutes or --epochs.")
    if pretrained and scale is Sizes.compact:
        raise ClipmedError("There are no weights for the compact variants.", "Use --scale paper.")
    run = RunOptions.model_validate({"device": device, "precision": precision, "threads": threads})
    given = {"minutes": minutes, "epochs": epochs, "batch": batch, "pretrained": pretrained, "run": run}
    given |= {name: value for name, value in (("size", size), ("frames", frames)) if value is not None}
    contest = (compact_contest if scale is Sizes.compact else paper_contest)(**given)
    load = load_average()
    with progress_line("Starting") as progress:
        measured = measure_dsa(
            data, out, rows_named(rows), range(seeds), contest, separate=separate, progress=progress,
            on_result=lambda key, result: errors.print(dsa_words(key, result), highlight=False),
        )  # fmt: skip
        progress.step("bootstrap over patients")
        bounds = intervals(out, measured, data, rounds)
    options = _options(
        {"rows": rows, "seeds": seeds, "minutes": minutes, "epochs": epochs, "scale": scale.value}
        | {"size": contest.size, "frames": contest.frames, "batch": batch}
    )
    command = f"benchmark accuracy dsa --data DIR --out DIR {options}"
    command += " --separate" * separate + " --pretrained" * pretrained
    text = dsa_section(measured, bounds, command, machine(), load, f"{date.today():%d %B %Y}")
    if write is not None:
        write_section(write, "accuracy dsa", text)
    if as_json:
        print_json(measured | {"ci95": bounds, "machine": machine(), "load_before": load, "command": command})
    else:
        console.print(text, highlight=False)


def _options(given: Mapping[str, object]) -> str:
    """Options as they are typed, without paths of this machine."""
    return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)


@accuracy.command("cxr")
def accuracy_cxr(
    out: Annotated[Path, typer.Option(help="Keeps finished rows; the same command goes on from them.")],
    data: Annotated[
        Path | None, typer.Option(help="QaTa-COV19. Without it simulated films, made in --out.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="CSV with the columns id and patient; otherwise file names tell.")
    ] = None,
    films: Annotated[
        int | None,
        typer.Option(
            min=8, help="Simulated training films (default 1000), or at most so many of QaTa's splits."
        ),
    ] = None,
    rows: Annotated[str, typer.Option(help="Keys with commas between, or all.")] = "all",
    seeds: Seeds = 1,
    minutes: Minutes = None,
    epochs: Epochs = None,
    scale: Annotated[Sizes, typer.Option(help="Published widths, or narrow variants.")] = Sizes.compact,
    size: Annotated[int | None, typer.Option(min=64, help="Pixels; default 128 compact, 224 paper.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Films a step.")] = 16,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """CausalCLIPSeg's Tables 1 and 2 on QaTa-COV19, or on simulated films with confounders broken in a test.

    Rows: unet, unetpp, attention-unet, swin-unet, blind, lvit, clipseg, cris, plain, maskers, printed, ours.
    """
    from napari_clipmed.benchmark.accuracy.cxr import mask_contest, measure_cxr
    from napari_clipmed.benchmark.accuracy.cxr_data import films_of_phantoms, films_of_qata
    from napari_clipmed.benchmark.accuracy.cxr_rows import rows_named
    from napari_clipmed.benchmark.accuracy.cxr_table import cxr_section, cxr_words
    from napari_clipmed.benchmark.report import write_section
    from napari_clipmed.training.run_options import RunOptions

    if minutes is None and epochs is None:
        raise ClipmedError("The rows need a budget.", "Give --minutes or --epochs.")
    side = size or (128 if scale is Sizes.compact else 224)
    if side % 32:
        raise ClipmedError(f"{side} pixels do not fit the networks.", "Choose a multiple of 32.")
    run = RunOptions.model_validate({"device": device, "precision": precision, "threads": threads})
    contest = mask_contest(scale=scale.value, size=side, minutes=minutes, epochs=epochs, batch=batch, run=run)
    chosen, load = rows_named(rows), load_average()
    with progress_line("Starting") as progress:
        shown = (
            films_of_qata(data, patients, films)
            if data is not None
            else films_of_phantoms(out, films or 1000, 1, side, progress)
        )
        measured = measure_cxr(
            shown, out, chosen, range(seeds), contest, progress=progress,
            on_result=lambda key, result: errors.print(cxr_words(key, result), highlight=False),
        )  # fmt: skip
    source = {"data": "DIR"} if data is not None else {}
    given = source | {"films": films, "rows": rows, "seeds": seeds, "minutes": minutes, "epochs": epochs}
    given |= {"scale": scale.value, "size": side, "batch": batch}
    command = f"benchmark accuracy cxr --out DIR {_options(given)}"
    text = cxr_section(measured, command, machine(), load, f"{date.today():%d %B %Y}")
    if write is not None:
        write_section(write, f"accuracy cxr {'qata' if data is not None else 'simulated'}", text)
    if as_json:
        print_json(measured | {"machine": machine(), "load_before": load, "command": command})
    else:
        console.print(text, highlight=False)
