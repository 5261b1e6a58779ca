"""Options that every training command has, in the same words; they override what the recipe says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from napari_clipmed.training.run_options import Overrides

_Whole = int | None


def _options(
    epochs: Annotated[_Whole, typer.Option(help="Passes over the data.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Computing time after which it ends.")] = None,
    batch: Annotated[
        _Whole, typer.Option(help="Studies or films a batch, over all processes together.")
    ] = None,
    seed: Annotated[_Whole, typer.Option(help="Of everything that is drawn at random.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, mps or cpu.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    accumulate: Annotated[_Whole, typer.Option(help="Batches whose gradients make one step.")] = None,
    recompute: Annotated[
        bool | None,
        typer.Option("--recompute/--keep", help="Gradient checkpointing: less memory, a third more time."),
    ] = None,
    patience: Annotated[
        _Whole, typer.Option(help="Stop after so many validations without a better score.")
    ] = None,
    processes: Annotated[
        _Whole, typer.Option(help="GPUs, or processes on the CPU, that share a batch.")
    ] = None,
    threads: Annotated[_Whole, typer.Option(help="Processor threads of each; 0 leaves it to torch.")] = None,
    workers: Annotated[_Whole, typer.Option(help="Processes that prepare batches.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of an earlier training whose weights this one begins with."),
    ] = None,
) -> None:
    """What `with_run_options` adds to a command."""


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a typer command the options above; it receives `overrides`, `asked` and `start` instead.

    `asked` is what was typed, without paths: ``--epochs 5 --precision bf16``.
    """
    shared = inspect.signature(_options).parameters
    own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.KEYWORD_ONLY]

    @wraps(command)
    def with_them(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        start = options.pop("start")
        typed = {name: value for name, value in options.items() if value is not None}
        top = {name: typed.pop(name) for name in ("epochs", "minutes", "batch", "seed") if name in typed}
        asked = _words(top | typed) + (" --start CHECKPOINT" if start else "")
        command(**given, overrides=Overrides(**top, run=typed), asked=asked, start=start)

    hints = get_type_hints(command, include_extras=True) | get_type_hints(_options, include_extras=True)
    parameters = [p.replace(annotation=hints[p.name]) for p in (*own, *shared.values())]
    with_them.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_them.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_them


def _words(options: dict[str, Any]) -> str:
    flags = {True: " --recompute", False: " --keep"}
    return "".join(
        flags[value] if isinstance(value, bool) else f" --{name} {value}" for name, value in options.items()
    )
