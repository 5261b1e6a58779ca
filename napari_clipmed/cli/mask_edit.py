"""``napari-clipmed mask-edit``: what the Edit section of the Segment dock does, on a mask file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import RESEARCH_USE, AsJson, Force, progress_line, writing_to
from napari_clipmed.cli.segment import FORMATS, write_mask
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_clipmed.inference.mask_edit import PixelSize, Point, Step

LARGEST_PIXELS = 16_384**2
"""Bound on what a file may ask memory for."""

MASK_VALUES = ({0, 1}, {0, 255})
"""Values of a file that holds one mask; other whole numbers are classes."""


@app.command("mask-edit")
def mask_edit(
    masks: Annotated[
        list[Path],
        typer.Argument(
            help="A mask or label image (.png, .tif, .npy); several are projected into one first."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The edited mask: .png, .tif or .npy.")],
    steps: Annotated[
        str,
        typer.Option(
            help="In order, with commas: smooth:2, grow:1.5mm, shrink:3, keep-largest[:N], remove-small:64, "
            "fill-holes[:64]. Lengths in pixels or mm, areas in pixels or mm2."
        ),
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Cut a grey picture or probability map first; 1 is its white."),
    ] = None,
    value: Annotated[
        int, typer.Option(min=0, max=255, help="Edit this class of a label image only; 0: all of them.")
    ] = 0,
    split: Annotated[
        bool, typer.Option("--split", help="A class for each piece, the largest first.")
    ] = False,
    move: Annotated[
        list[str] | None, typer.Option(metavar="FROM:TO", help="Give a class to another one: rename, merge.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="ROW,COLUMN", help="Leave out the piece at a pixel, from 0.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="The film or run behind the mask.")] = None,
    frame: Annotated[int, typer.Option(min=1, help="Frame of the run, counted from 1.")] = 1,
    only: Annotated[
        str,
        typer.Option(
            metavar="darker:LEVEL", help="Keep what is darker (or brighter:) in --image; 1 is white."
        ),
    ] = "",
    spacing: Annotated[
        str, typer.Option(metavar="ROW,COLUMN", help="Millimetres of a pixel; default: those of --image.")
    ] = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Correct a mask: smooth, grow, shrink, clean, split, move, drop pieces, or keep what is dark enough.

    Order: projection, threshold, dropped pieces, --only, --steps, --move, --split.
    """
    import numpy as np

    from napari_clipmed.inference import mask_edit as edit

    if out.suffix.lower() not in FORMATS:
        raise ClipmedError(f"A mask cannot be written as {out.suffix!r}.", f"Choose {', '.join(FORMATS)}.")
    if out.exists() and not force:
        raise ClipmedError(f"{out} exists already.", "Give another --out, or --force to replace it.")
    chosen: tuple[Step, ...] = edit.read_steps(steps) if steps else ()
    points = [_point(text) for text in drop or ()]
    moves = [_move(text) for text in move or ()]
    before = _projected([read_mask(path, threshold) for path in masks])
    allowed, size = _look_at(image, frame, only, before.shape)
    size = _spacing(spacing) or size
    labels: NDArray[Any] = before.astype(np.uint8)
    classes = [value] if value else [int(v) for v in np.unique(labels) if v]
    for point in points:
        labels = _dropped(labels, point)
    for one in classes:
        mask = labels == one
        mask = edit.run_steps(mask if allowed is None else mask & allowed, chosen, size)
        labels = edit.put(labels, one, mask)
    for old, new in moves:
        labels = edit.move(labels, labels == old, new)
    if split:
        for one in [value] if value else [int(v) for v in np.unique(labels) if v]:
            first_free = int(labels.max()) + 1
            labels = edit.split(labels, one, range(first_free, edit.LARGEST_VALUE + 1))
    one_mask = before.dtype == bool and not (split or moves)
    _write(labels > 0 if one_mask else labels, out)
    _tell(before, labels, out, chosen, as_json)


def read_mask(path: Path, threshold: float | None = None) -> NDArray[np.bool_ | np.uint8]:
    """A mask as booleans, a label image as bytes."""
    import numpy as np

    pixels = _pixels(path)
    if threshold is not None:
        white = float(np.iinfo(pixels.dtype).max) if np.issubdtype(pixels.dtype, np.integer) else 1.0
        return np.asarray(pixels >= threshold * white)
    if pixels.dtype == bool:
        return pixels
    found = {int(v) for v in np.unique(pixels)} if np.issubdtype(pixels.dtype, np.integer) else {-1}
    if any(found <= values for values in MASK_VALUES):
        return np.asarray(pixels > 0)
    if min(found) < 0 or max(found) > 255 or len(found) > MOST_CLASSES:
        raise ClipmedError(
            f"{path.name} is no mask but a picture.", "Give --threshold to cut it, from 0 to 1."
        )
    return np.asarray(pixels, np.uint8)


MOST_CLASSES = 65
"""A label image has fewer values than a picture has greys."""


def _pixels(path: Path) -> NDArray[Any]:
    import numpy as np

    try:
        if path.suffix.lower() == ".npy":
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_size(path, mapped.shape)
            return np.array(mapped)
        from PIL import Image

        with Image.open(path) as picture:
            _check_size(path, picture.size)
            return np.array(
                picture if picture.mode in ("1", "L", "I", "I;16", "F", "P") else picture.convert("L")
            )
    except FileNotFoundError as error:
        raise ClipmedError(f"There is no file {path}.", "Check the spelling of the path.") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ClipmedError(
            f"{path.name} cannot be read as a mask.", "Give a PNG, TIFF or npy file."
        ) from error


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= LARGEST_PIXELS:
        raise ClipmedError(f"{path.name} is no single mask; its shape is {shape}.", "Give one frame.")


def _projected(masks: list[NDArray[Any]]) -> NDArray[Any]:
    """The union of several masks; where classes meet, the higher value counts."""
    import numpy as np

    if len({mask.shape for mask in masks}) > 1:
        raise ClipmedError("The masks are not of one size.", "Give masks of frames of one run.")
    return np.asarray(np.maximum.reduce(masks))


def _look_at(
    image: Path | None, frame: int, only: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_] | None, PixelSize | None]:
    """Which pixels of the picture pass, and how large a pixel is."""
    from napari_clipmed.inference.mask_edit import PixelSize, passing, shade
    from napari_clipmed.io import open_study

    if image is None:
        if only:
            raise ClipmedError("--only needs the picture.", "Give --image.")
        return None, None
    with progress_line("Reading the image") as progress:
        view = open_study(image, progress).views[0]
    if view.pixels.shape[1:] != shape:
        raise ClipmedError(f"The mask is {shape}, the frames of {image.name} are {view.pixels.shape[1:]}.")
    if frame > view.n_frames:
        raise ClipmedError(f"There is no frame {frame} in {image.name}; it has {view.n_frames}.")
    spacing = view.spacing
    size = PixelSize(spacing.row_mm, spacing.column_mm) if spacing.known else None
    if not only:
        return None, size
    word, _, level = only.partition(":")
    try:
        share = float(level)
    except ValueError:
        share = -1.0
    if word not in ("darker", "brighter") or not 0 <= share <= 1:
        raise ClipmedError(f"{only!r} cannot be read.", "Write darker:0.4 or brighter:0.6.")
    shades = shade(view.pixels[frame - 1], view.window.low, view.window.high)
    return passing(shades, share, word == "darker"), size


def _spacing(text: str) -> PixelSize | None:
    from napari_clipmed.inference.mask_edit import PixelSize

    if not text:
        return None
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError:
        row = column = 0.0
    if not (0 < row < 1000 and 0 < column < 1000):
        raise ClipmedError(f"{text!r} is no spacing.", "Write millimetres, for example 0.3,0.3.")
    return PixelSize(row, column)


def _point(text: str) -> Point:
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ClipmedError(f"{text!r} is no pixel.", "Write ROW,COLUMN, counted from 0.") from error
    return row, column


def _move(text: str) -> tuple[int, int]:
    try:
        old, new = (int(part) for part in text.split(":"))
    except ValueError:
        old = new = -1
    if not (0 < old <= 255 and 0 <= new <= 255):
        raise ClipmedError(f"{text!r} moves nothing.", "Write FROM:TO, for example 3:2.")
    return old, new


def _dropped(labels: NDArray[Any], point: Point) -> NDArray[Any]:
    from napari_clipmed.inference.mask_edit import move, piece_at

    inside = all(0 <= at < length for at, length in zip(point, labels.shape, strict=True))
    own = int(labels[point]) if inside else 0
    if not own:
        raise ClipmedError(f"There is no piece at {point[0]},{point[1]}.", "Rows and columns count from 0.")
    return move(labels, piece_at(labels == own, point), 0)


def _write(mask: NDArray[Any], out: Path) -> None:
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_mask(mask, out)


def _tell(
    before: NDArray[Any], labels: NDArray[Any], out: Path, steps: tuple[Step, ...], as_json: bool
) -> None:
    import numpy as np

    answer = {
        "out": str(out),
        "steps": [str(step) for step in steps],
        "pixels_before": int((before > 0).sum()),
        "pixels": {str(v): int((labels == v).sum()) for v in np.unique(labels) if v},
    }
    if as_json:
        print_json(answer | {"use": RESEARCH_USE})
        return
    after = int((labels > 0).sum())
    console.print(
        f"{answer['pixels_before']} pixels before, {after} now, in {out}. {RESEARCH_USE}", highlight=False
    )
