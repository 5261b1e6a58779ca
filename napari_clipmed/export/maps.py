"""Maps of the bolus as files: values for programs, colours with a legend for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.stamp import RESEARCH_USE, SIMULATED, stamped
from napari_clipmed.inference.bolus import BolusMaps, study_maps
from napari_clipmed.inference.colour_maps import (
    Palette,
    Quantity,
    common_scale,
    draw_legend,
    legend,
    render,
    values_of,
)
from napari_clipmed.progress import Progress
from napari_clipmed.study import PixelSpacing, Study
from napari_clipmed.whole_files import whole_file

LEGEND_WIDTH = 320


def write_maps(
    study: Study,
    names: Sequence[str],
    folder: Path,
    *,
    palette: Palette = Palette.CLINICAL,
    replace: bool = False,
    progress: Progress | None = None,
    written: list[Path] | None = None,
) -> tuple[list[Path], list[ClipmedError]]:
    """Write all maps of all views: ``AP-time_to_peak.tif`` (float32) and ``.png`` (colours), and so on.

    Parameters
    ----------
    study : Study
        Views of one injection; all share one colour scale.
    names : sequence of str
        A name for the files of each view.
    palette : Palette
        Of times.
    written : list of Path, optional
        Receives every file as soon as it is there.

    Returns
    -------
    list of Path, list of ClipmedError
        The files, and why a view has no maps.

    Raises
    ------
    ClipmedError
        When no view has maps, or a file exists.
    Cancelled
    """
    progress = progress or Progress()
    found = study_maps(study, progress)
    refusals = [answer for answer in found if isinstance(answer, ClipmedError)]
    views = [
        (name, view, answer)
        for name, view, answer in zip(names, study.views, found, strict=True)
        if isinstance(answer, BolusMaps)
    ]
    if not views:
        raise refusals[0]
    written = [] if written is None else written
    for place, which in enumerate(Quantity):
        scale = common_scale([maps for _, _, maps in views], which)
        for name, view, maps in views:
            progress.step("Writing maps", place, len(Quantity))
            picture = render(maps, which, scale, palette)[..., :3]
            words = [*maps.notes, RESEARCH_USE, *([SIMULATED] if study.synthetic else [])]
            bar = draw_legend(legend(maps, which, scale, palette), max(LEGEND_WIDTH, picture.shape[1]), words)
            path = folder / f"{name}-{which.value}"
            with whole_file(path.with_suffix(".png"), replace=replace) as unfinished:
                _under_each_other(stamped(picture, study.synthetic), bar).save(unfinished)
            written.append(path.with_suffix(".png"))
            with whole_file(path.with_suffix(".tif"), replace=replace) as unfinished:
                _write_values(unfinished, maps, which, view.spacing, study.synthetic)
            written.append(path.with_suffix(".tif"))
    return written, refusals


def _under_each_other(picture: Image.Image, bar: NDArray[np.uint8]) -> Image.Image:
    """A picture above its legend."""
    sheet = Image.new("RGB", (max(picture.width, bar.shape[1]), picture.height + bar.shape[0]))
    sheet.paste(picture, ((sheet.width - picture.width) // 2, 0))
    sheet.paste(Image.fromarray(bar), (0, picture.height))
    return sheet


def _write_values(
    path: Path, maps: BolusMaps, which: Quantity, spacing: PixelSpacing, synthetic: bool
) -> None:
    """One map as OME-TIFF, NaN where no contrast was seen."""
    words = [
        f"{which.spoken} in {which.unit(maps)}",
        *maps.notes,
        *([SIMULATED] if synthetic else []),
        RESEARCH_USE,
    ]
    about: dict[str, object] = {"axes": "YX", "Name": which.spoken, "Description": ". ".join(words)}
    if spacing.known:
        about |= {"PhysicalSizeX": spacing.column_mm, "PhysicalSizeXUnit": "mm"}
        about |= {"PhysicalSizeY": spacing.row_mm, "PhysicalSizeYUnit": "mm"}
    tifffile.imwrite(
        path, values_of(maps, which).astype(np.float32), ome=True, photometric="minisblack", metadata=about
    )
