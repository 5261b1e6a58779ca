"""What several commands share: options, the registry, a line of progress, safe writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clipmed.cli._app import errors
from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress, Step

if TYPE_CHECKING:
    from napari_clipmed.models.card import ModelEntry, Task
    from napari_clipmed.models.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
ModelId = Annotated[str, typer.Option("--model", help="Id of the model; see `models list`.")]
Workspace = Annotated[
    Path | None, typer.Option("--workspace", help="Also use the models fine-tuned in this workspace.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cuda, mps or cpu.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or int8.")]

Force = Annotated[bool, typer.Option("--force", help="Replace files that exist already.")]

RESEARCH_USE = "Research use only, not for diagnosis."


def registry_of(workspace: Path | None) -> Registry:
    """All models that a command may use.

    Raises
    ------
    ClipmedError
        When the workspace is not a folder.
    """
    from napari_clipmed.models.registry import default_registry

    if workspace is not None and not workspace.is_dir():
        raise ClipmedError(f"There is no workspace folder {workspace}.", "Check the spelling of the path.")
    return default_registry(workspace)


def model_of(registry: Registry, task: Task, model_id: str) -> ModelEntry:
    """The named model, or the default of the task."""
    return registry.get(model_id) if model_id else registry.default(task)


@contextmanager
def progress_line(start: str) -> Iterator[Progress]:
    """A line on the terminal that follows a job and vanishes with it; silent where nobody watches."""
    with errors.status(start) as status:

        def show(step: Step) -> None:
            count = f"  {step.done} of {step.total}" if step.total else ""
            status.update(f"{step.what}{count}")

        yield Progress(show)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a sentence.

    Raises
    ------
    ClipmedError
    """
    try:
        yield
    except OSError as error:
        raise ClipmedError(
            f"Nothing could be written to {path} ({error.strerror or error}).",
            "Choose another place with --out, or free some space.",
        ) from error
