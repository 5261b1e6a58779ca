"""``napari-clipmed classify``: what CLIP-DSA makes of studies, with overlays that show why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._common import (
    RESEARCH_USE,
    AsJson,
    Device,
    ModelId,
    Precision,
    Workspace,
    model_of,
    progress_line,
    registry_of,
    writing_to,
)
from napari_clipmed.errors import Cancelled, ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.results import Diagnosis, Saliency
    from napari_clipmed.progress import Progress
    from napari_clipmed.study import Study

BAR = 24


@app.command()
def classify(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; a folder gives all its studies.")],
    model: ModelId = "",
    explain: Annotated[
        str, typer.Option(help="gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam, or none.")
    ] = "layercam",
    out: Annotated[Path, typer.Option(help="Folder for a JSON file and an overlay of each study.")] = Path(
        "clipmed-classified"
    ),
    as_json: AsJson = False,
    workspace: Workspace = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Name the disease of angiograms, per view and combined, and show which pixels said so.

    A file that cannot be read is reported and does not stop the others; the exit code is then 1.
    """
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.explain import raw_method

    method = "" if explain == "none" else explain
    if method:
        raw_method(method)
    registry = registry_of(workspace)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    entry = model_of(registry, "diagnosis", model)
    engine = Engine(entry, device=device, precision=precision)
    answers = []
    with progress_line("Reading headers") as progress:
        for number, source in enumerate(find_sources(paths, progress), start=1):
            answers.append(_answer(engine, source, method, out, number, progress))
            if not as_json:
                _show(answers[-1])
    failed = sum(answer["status"] == "failed" for answer in answers)
    if as_json:
        print_json({"studies": answers, "failed": failed, "out": str(out), "device": engine.compute.reason})
    else:
        console.print(f"{len(answers) - failed} answered by {entry.id}, {failed} failed. Files are in {out}.")
        console.print(RESEARCH_USE, style="dim")
    if failed:
        raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True)
class StudySource:
    """Files that make one study, or the reason why there is none."""

    paths: tuple[Path, ...]
    problem: ClipmedError | None = None

    @property
    def title(self) -> str:
        """File names, for the screen."""
        names = [path.name for path in self.paths]
        return " + ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"


def find_sources(paths: Sequence[Path], progress: Progress) -> Iterator[StudySource]:
    """The studies that paths stand for, in their order.

    A folder or archive gives every study in it. Files of one folder that belong together (the two planes of
    a biplane run) are one study; each other file is one of its own.
    """
    from napari_clipmed.io import holds_several, list_studies

    given = {path.resolve() for path in paths if not holds_several(path)}
    taken: set[Path] = set()
    for path in paths:
        if path.resolve() in taken:
            continue
        try:
            if holds_several(path):
                for entry in list_studies(path, progress):
                    yield StudySource(entry.paths)
            else:
                group = _companions(path, given, progress)
                taken.update(part.resolve() for part in group)
                yield StudySource(group)
        except Cancelled:
            raise
        except ClipmedError as problem:
            yield StudySource((path,), problem)


def _companions(path: Path, given: Iterable[Path], progress: Progress) -> tuple[Path, ...]:
    """The file, and those of the given files in its folder that are read with it."""
    from napari_clipmed.io import list_studies

    beside = [other for other in given if other.parent == path.resolve().parent]
    if len(beside) < 2 or not path.is_file():
        return (path,)
    for entry in list_studies(path.parent, progress):
        parts = {part.resolve() for part in entry.paths}
        if path.resolve() in parts and parts <= set(beside):
            return entry.paths
    return (path,)


def _answer(
    engine: Engine, source: StudySource, method: str, out: Path, number: int, progress: Progress
) -> dict[str, Any]:
    """Everything about one study as plain values; a study that fails gives its sentence."""
    from napari_clipmed.io import open_study

    row: dict[str, Any] = {"input": [str(path) for path in source.paths], "status": "ok"}
    try:
        if source.problem is not None:
            raise source.problem
        study = open_study(list(source.paths) if len(source.paths) > 1 else source.paths[0], progress)
        diagnosis = engine.classify(study, progress)
        saliency = engine.explain(diagnosis, diagnosis.predicted, method, progress) if method else None
        return row | _write(study, diagnosis, saliency, out, number)
    except Cancelled:
        raise
    except ClipmedError as problem:
        return row | {"status": "failed", "error": problem.message, "hint": problem.hint}
    except Exception as defect:  # noqa: BLE001  a defect of ours on one study must not cost the others
        return row | {
            "status": "failed",
            "error": f"Unexpected {type(defect).__name__}: {defect}",
            "hint": "",
        }


def _write(
    study: Study, diagnosis: Diagnosis, saliency: Saliency | None, out: Path, number: int
) -> dict[str, Any]:
    """Save the answer and its overlay; file names and contents carry no identity."""
    from napari_clipmed.cli._overlay import montage

    name = f"{number:03d}-{study.image_hash[:8]}"
    answer = describe(study, diagnosis, saliency)
    with writing_to(out):
        if saliency is not None:
            answer["overlay"] = f"{name}-{saliency.method}.png"
            montage(study, diagnosis, saliency).save(out / answer["overlay"])
        (out / f"{name}.json").write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    return answer | {"file": f"{name}.json"}


def describe(study: Study, diagnosis: Diagnosis, saliency: Saliency | None) -> dict[str, Any]:
    """An answer as plain values. Frames are counted from 0."""
    return {
        "model": diagnosis.model_id,
        "image_hash": diagnosis.image_hash,
        "kind": study.kind.value,
        "synthetic": study.synthetic,
        "pairing": None if study.pairing is None else study.pairing.value,
        "views": {
            name: {"index": i, "frames": study.views[i].n_frames} for name, i in diagnosis.view_index.items()
        },
        "predicted": diagnosis.predicted,
        "probabilities": {name: dict(answer) for name, answer in diagnosis.probabilities.items()},
        "unlike_training": diagnosis.unlike_training,
        "notes": list(diagnosis.notes),
        "warnings": list(study.warnings),
        "attention": {
            name: {"frames": part.frames.tolist(), "weights": [round(float(w), 5) for w in part.weights]}
            for name, part in diagnosis.attention.items()
        },
        "saliency": None
        if saliency is None
        else {
            "method": saliency.method,
            "label": saliency.label,
            "decisive_frame": {name: saliency.decisive_frame(name) for name in saliency.maps},
            "peaks": {name: [round(float(p), 4) for p in saliency.peaks(name)] for name in saliency.maps},
        },
        "use": RESEARCH_USE,
    }


def _show(answer: dict[str, Any]) -> None:
    """One study on the terminal: a row a class, a column a view."""
    from rich.markup import escape
    from rich.table import Table

    title = escape(" + ".join(Path(path).name for path in answer["input"]))
    if answer["status"] == "failed":
        errors.print(f"[bold red]Failed:[/] {title}: {escape(answer['error'])}", highlight=False)
        if answer["hint"]:
            errors.print(f"  {escape(answer['hint'])}", highlight=False)
        return
    simulated = "  [bold yellow]SIMULATED[/]" if answer["synthetic"] else ""
    console.print(f"[bold]{title}[/]{simulated}", highlight=False)
    table = Table(box=None, pad_edge=False)
    probabilities = answer["probabilities"]
    shown = probabilities.get("both") or next(iter(probabilities.values()))
    for heading in ("class", *probabilities, ""):
        table.add_column(heading, justify="right" if heading in probabilities else "left")
    for label, value in sorted(shown.items(), key=lambda item: -item[1]):
        style = "bold" if label == answer["predicted"] else ""
        bar = "█" * round(BAR * value) or "▏"
        table.add_row(
            label, *(f"{p[label]:.3f}" for p in probabilities.values()), f"[#56B4E9]{bar}[/]", style=style
        )
    console.print(table)
    for note in answer["notes"]:
        console.print(f"  [#E69F00]•[/] {escape(note)}", highlight=False)
    console.print()
