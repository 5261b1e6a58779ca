"""Everything that can be made of a study, by one call: for the command line and the window alike."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.film import Codec, write_film
from napari_clipmed.export.look import Look
from napari_clipmed.export.pictures import write_pictures
from napari_clipmed.export.request import as_study
from napari_clipmed.export.stack import write_stack
from napari_clipmed.inference.colour_maps import Palette
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study, View
from napari_clipmed.whole_files import all_or_none


class Product(StrEnum):
    """What is made."""

    FRAMES = "frames"
    STACK = "stack"
    FILM = "film"
    MAPS = "maps"

    @property
    def suffix(self) -> str:
        """Of its file; empty for what fills a folder."""
        return {Product.STACK: ".tif", Product.FILM: ".mp4"}.get(self, "")


def write_product(
    product: Product,
    study: Study,
    views: Sequence[tuple[str, View]],
    out: Path,
    looks: Sequence[Look],
    *,
    bits: int = 8,
    codec: Codec = Codec.MPEG4,
    palette: Palette = Palette.CLINICAL,
    replace: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Path], list[ClipmedError]]:
    """Write a product of some views of a study; all its files, or none where it fails or is cancelled.

    Parameters
    ----------
    views : sequence of (str, View)
        With names for their files, as `export.request.requested` gives them.
    out : Path
        File of a stack or film (with several views their names are added to it), folder of frames or maps.
    looks : sequence of Look
        One a view; of no account for maps.

    Returns
    -------
    list of Path, list of ClipmedError
        The files, and why a view has no maps.

    Raises
    ------
    ClipmedError
        When a file exists and may not be replaced, or nothing can be made.
    Cancelled
    """
    alone = len(views) == 1
    with all_or_none() as written:
        if product is Product.MAPS:
            from napari_clipmed.export.maps import write_maps

            names = [name for name, _ in views]
            shown = as_study(study, list(views))
            files, refusals = write_maps(
                shown, names, out, palette=palette, replace=replace, progress=progress, written=written
            )
            return files, refusals
        for (name, view), look in zip(views, looks, strict=True):
            path = out if alone else out.with_name(f"{out.stem}-{name}{out.suffix}")
            common = {"synthetic": study.synthetic, "replace": replace}
            if product is Product.FRAMES:
                folder = out if alone else out / name
                write_pictures(view, folder, look, bits=bits, progress=progress, written=written, **common)
            elif product is Product.STACK:
                written.append(write_stack(view, path, look, progress=progress, **common))
            else:
                write_film(view, path, look, name=name, codec=codec, progress=progress, **common)
                written.append(path)
        return list(written), []
