"""``napari-clipmed segment``: a mask from a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.batch.words import describe_mask
from napari_clipmed.cli._app import EXIT_FAILED, app, console, print_json
from napari_clipmed.cli._batch import BatchOptions, Results, Resume, Scheduler, WithPaths, answer_all
from napari_clipmed.cli._common import (
    RESEARCH_USE,
    AsJson,
    Device,
    Force,
    ModelId,
    Precision,
    Workspace,
    model_of,
    progress_line,
    registry_of,
    writing_to,
)
from napari_clipmed.cli.classify import show_failure, title_of
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_clipmed.batch.case import Question
    from napari_clipmed.models.card import ModelEntry

MOST_SENTENCES = 255
FORMATS = (".png", ".tif", ".tiff", ".npy")


@app.command()
def segment(
    images: Annotated[
        list[Path],
        typer.Argument(help="A film or a run: DICOM, PNG, JPEG or TIFF; or several, or folders of them."),
    ],
    prompt: Annotated[
        list[str],
        typer.Option(
            help='Where to look, for example "lower left lung". Given several times for one image, the file '
            "holds 1 for the first sentence, 2 for the second and so on."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The mask: .png and .tif hold 0 and 255, .npy holds booleans. A folder for several images."
        ),
    ],
    model: ModelId = "",
    convention: Annotated[
        str, typer.Option(help='Whose left is "left": of the "picture", or of the "patient".')
    ] = "picture",
    frame: Annotated[int, typer.Option(min=1, help="Frame of a run, counted from 1.")] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Least probability inside the mask; default: the model's."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also draw the mask's outline on the frame, as PNG.")
    ] = None,
    results: Results = None,
    resume: Resume = False,
    with_paths: WithPaths = False,
    scheduler: Scheduler = "",
    force: Force = False,
    as_json: AsJson = False,
    workspace: Workspace = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Mark what a sentence describes. A JSON file beside the mask says how the sentence was read.

    A folder, several images, or --results make a batch: a mask, an outline and a JSON file of each image.
    """
    from napari_clipmed.batch.case import Question
    from napari_clipmed.io import holds_several
    from napari_clipmed.models.prompts import normalise

    for text in prompt:
        normalise(text, convention)  # type: ignore[arg-type]  # a sentence that says nothing stops here
    many = len(images) > 1 or holds_several(images[0]) or results is not None or bool(scheduler)
    if not many and out.suffix.lower() not in FORMATS:
        raise ClipmedError(
            f"A mask cannot be written as {out.suffix!r}.", f"Choose one of {', '.join(FORMATS)}."
        )
    if many and len(prompt) > 1:
        raise ClipmedError("A batch answers one sentence.", "Give one --prompt, or one image.")
    if len(prompt) > MOST_SENTENCES:
        raise ClipmedError(f"At most {MOST_SENTENCES} sentences fit into one label image.")
    entry = model_of(registry_of(workspace), "segmentation", model)
    question = Question(
        "segmentation",
        entry.id,
        entry.card.sha256,
        str(workspace.resolve()) if workspace else "",
        device,
        precision,
        prompt=prompt[0],
        convention=convention,
        frame_number=frame,
        threshold=threshold,
    )
    if many:
        _segment_all(
            images, question, BatchOptions(out, results, resume, with_paths, scheduler, force), as_json
        )
    else:
        _segment_one(images[0], question, prompt, entry, out, overlay, as_json)


def _segment_all(images: list[Path], question: Question, options: BatchOptions, as_json: bool) -> None:
    tally = answer_all(images, question, options, None if as_json else _show_row)
    if as_json:
        print_json(
            {
                "images": tally.records,
                "failed": tally.failed,
                "skipped": tally.skipped,
                "out": str(options.out),
            }
        )
    else:
        skipped = f", {tally.skipped} known already" if tally.skipped else ""
        console.print(f"{tally.answered} masks, {tally.failed} failed{skipped}. Files are in {options.out}.")
        console.print(RESEARCH_USE, style="dim")
    if tally.failed:
        raise typer.Exit(EXIT_FAILED)


def _segment_one(
    image: Path,
    question: Question,
    sentences: list[str],
    entry: ModelEntry,
    out: Path,
    overlay: Path | None,
    as_json: bool,
) -> None:
    from napari_clipmed.export.overlay import grey_frame, mask_on
    from napari_clipmed.export.stamp import stamped
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.segment import label_values
    from napari_clipmed.io import open_study

    frame = question.frame_number
    with progress_line("Reading the image") as progress:
        study = open_study(image, progress)
        view = study.views[0]
        if frame > view.n_frames:
            raise ClipmedError(f"There is no frame {frame} in {image.name}; it has {view.n_frames}.")
        engine = Engine(None, entry, device=question.device, precision=question.precision)
        proposals = engine.segment_many(view, frame - 1, sentences, question.convention, progress)
    threshold = proposals[0].threshold if question.threshold is None else question.threshold
    answers = [describe_mask(study, p, p.mask(threshold), frame, threshold) for p in proposals]
    values = label_values(proposals, threshold)
    mask = values > 0
    answer = answers[0]
    if len(answers) > 1:
        answer = {"labels": [{"value": n} | one for n, one in enumerate(answers, start=1)]}
    side = out.with_suffix(".json")
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask if len(answers) == 1 else values, out)
        side.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
        if overlay is not None:
            stamped(mask_on(grey_frame(view, frame - 1), mask), study.synthetic).save(overlay)
    if as_json:
        print_json(answer | {"out": str(out), "details": str(side)})
        return
    for one in answers:
        _show(one)
    console.print(f"Mask in {out}, details in {side}. {RESEARCH_USE}", highlight=False)


def write_mask(mask: NDArray[np.bool_ | np.uint8], path: Path) -> None:
    """Write a mask (as 0 and 255) or label values in the format that the file's name asks for."""
    import numpy as np

    if path.suffix.lower() == ".npy":
        np.save(path, mask)
        return
    greys = mask.astype(np.uint8) * (255 if mask.dtype == bool else 1)
    if path.suffix.lower() == ".png":
        from PIL import Image

        Image.fromarray(greys).save(path)
    else:
        import tifffile

        tifffile.imwrite(path, greys, compression="zlib")


def _show_row(answer: dict[str, Any]) -> None:
    """One image of a batch, one line."""
    title = title_of(answer)
    if answer["status"] == "failed":
        show_failure(answer, title)
        return
    simulated = "  [bold yellow]SIMULATED[/]" if answer["synthetic"] else ""
    console.print(f"{title}{simulated}: {100 * answer['share']:.1f} % of the frame", highlight=False)
    _show_contradictions(answer)


def _show(answer: dict[str, Any]) -> None:
    from rich.markup import escape

    console.print(f"Read as: [bold]{escape(answer['read_as'])}[/] (left of the picture)", highlight=False)
    console.print(
        f"{answer['pixels']} pixels, {100 * answer['share']:.1f} % of the frame, "
        f"mean probability {answer['score']:.2f} at threshold {answer['threshold']:g}",
        highlight=False,
    )
    for note in answer["notes"]:
        console.print(f"  [#E69F00]•[/] {escape(note)}", highlight=False)
    _show_contradictions(answer)


def _show_contradictions(answer: dict[str, Any]) -> None:
    """Where mask and sentence disagree, for the person to judge."""
    from rich.markup import escape

    for text in answer["contradictions"]:
        console.print(f"  [bold #E69F00]Mask and sentence disagree:[/] {escape(text)}", highlight=False)
