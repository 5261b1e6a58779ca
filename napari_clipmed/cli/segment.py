"""``napari-clipmed segment``: a mask from a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, print_json
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
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_clipmed.inference.results import MaskProposal

FORMATS = (".png", ".tif", ".tiff", ".npy")


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="A film or a run: DICOM, PNG, JPEG or TIFF.")],
    prompt: Annotated[str, typer.Option(help='Where to look, for example "lower left lung".')],
    out: Annotated[Path, typer.Option(help="The mask: .png and .tif hold 0 and 255, .npy holds booleans.")],
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
    as_json: AsJson = False,
    workspace: Workspace = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Mark what a sentence describes. A JSON file beside the mask says how the sentence was read."""
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.io import open_study

    if out.suffix.lower() not in FORMATS:
        raise ClipmedError(
            f"A mask cannot be written as {out.suffix!r}.", f"Choose one of {', '.join(FORMATS)}."
        )
    entry = model_of(registry_of(workspace), "segmentation", model)
    with progress_line("Reading the image") as progress:
        view = open_study(image, progress).views[0]
        if frame > view.n_frames:
            raise ClipmedError(f"There is no frame {frame} in {image.name}; it has {view.n_frames}.")
        engine = Engine(None, entry, device=device, precision=precision)
        proposal = engine.segment(view, frame - 1, prompt, convention, progress)
    mask = proposal.mask(threshold)
    answer = describe(proposal, mask, frame, proposal.threshold if threshold is None else threshold)
    side = out.with_suffix(".json")
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask, out)
        side.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
        if overlay is not None:
            from PIL import Image

            from napari_clipmed.cli._overlay import grey_frame, mask_on

            Image.fromarray(mask_on(grey_frame(view, frame - 1), mask)).save(overlay)
    if as_json:
        print_json(answer | {"out": str(out), "details": str(side)})
        return
    _show(answer)
    console.print(f"Mask in {out}, details in {side}. {RESEARCH_USE}", highlight=False)


def describe(proposal: MaskProposal, mask: NDArray[np.bool_], frame: int, threshold: float) -> dict[str, Any]:
    """A mask's side information as plain values."""
    return {
        "model": proposal.model_id,
        "image_hash": proposal.image_hash,
        "frame": frame,
        "prompt": proposal.prompt,
        "read_as": proposal.normalised_prompt,
        "convention": proposal.convention,
        "threshold": threshold,
        "score": round(float(proposal.probability[mask].mean()), 4) if mask.any() else 0.0,
        "pixels": int(mask.sum()),
        "share": round(float(mask.mean()), 5),
        "rows": mask.shape[0],
        "columns": mask.shape[1],
        "notes": list(proposal.notes),
        "use": RESEARCH_USE,
    }


def write_mask(mask: NDArray[np.bool_], path: Path) -> None:
    """Write a mask in the format that the file's name asks for."""
    import numpy as np

    if path.suffix.lower() == ".npy":
        np.save(path, mask)
        return
    greys = mask.astype(np.uint8) * 255
    if path.suffix.lower() == ".png":
        from PIL import Image

        Image.fromarray(greys).save(path)
    else:
        import tifffile

        tifffile.imwrite(path, greys, compression="zlib")


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
