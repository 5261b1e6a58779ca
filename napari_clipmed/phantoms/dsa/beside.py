"""A page that sets simulated strips beside real ones, so that the eye can judge what figures do not say.

The page holds the real pictures: it stays where they may be.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.io import is_dicom, open_study
from napari_clipmed.phantoms.dsa.acquisition import window_to_bytes
from napari_clipmed.phantoms.dsa.anatomy import draw_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.diseases import LABELS
from napari_clipmed.phantoms.dsa.study import simulate_study
from napari_clipmed.progress import Progress

SHOWN = 16
TILE = 104
"""Frames of a strip, and side of a frame on the page in pixels."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>Simulated beside real angiograms</title>
<style>body{{font:14px sans-serif;margin:1.5em;background:#fff;color:#111}}img{{display:block}}
figure{{margin:0 0 .6em}}figcaption{{margin:.1em 0}}.real figcaption{{color:#a00;font-weight:bold}}
.simulated figcaption{{color:#00a}}</style>
<h1>Simulated beside real angiograms</h1>
<p><b>This page holds pictures of real people: it stays on this machine.</b> Blue rows are SIMULATED ({made}).
Each run is windowed by its own 0.5 and 99.5 percentiles and shown by {shown} evenly spaced frames of {tile}
pixels, on which it is also measured. Background: median grey. Ink: largest share of pixels darker than that
by a fifth of the range. First: frame in which a tenth of that is there. Bright: largest share of pixels
brighter than the background by a tenth, which motion leaves. Grain: fine structure in the middle of the first
frame.</p>
{rows}</html>
"""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Strip:
    """A run as the page shows it.

    Parameters
    ----------
    title : str
    label, view : str
        Class and "AP" or "LA"; empty where not known.
    frames : (t, H, W) uint8 array
        Windowed over the whole run, dark vessels on bright ground.
    real : bool
    """

    title: str
    label: str
    view: str
    frames: Bytes
    real: bool


@dataclass(frozen=True)
class Look:
    """Figures of a strip, greys from 0 to 1.

    Parameters
    ----------
    background : float
        Median grey.
    ink : float
        Largest share, over frames, of pixels darker than the background by a fifth of the range.
    first : int
        Frame in which a tenth of that ink is there, counted from 1.
    bright : float
        Largest share of pixels brighter than the background by a tenth: what motion leaves.
    grain : float
        Standard deviation of the fine structure in the middle of the first frame.
    """

    background: float
    ink: float
    first: int
    bright: float
    grain: float


def look_of(frames: Bytes) -> Look:
    """Measure a strip (t, H, W), at the size of the page so that runs of any size compare."""
    greys = np.stack([np.asarray(tile, np.float32) for tile in _tiles(frames)]) / 255
    background = float(np.median(greys))
    ink = (greys < background - 0.2).mean(axis=(1, 2))
    edge = greys.shape[1] // 4
    middle = greys[0, edge:-edge, edge:-edge]
    grain = float((middle - gaussian_filter(middle, 1.5)).std())
    first = int(np.argmax(ink >= 0.1 * ink.max())) + 1
    bright = float((greys > background + 0.1).mean(axis=(1, 2)).max())
    return Look(background, float(ink.max()), first, bright, grain)


def real_strips(folder: Path, progress: Progress | None = None) -> list[Strip]:
    """The angiograms of a folder, evenly spaced frames of each.

    A class and a view are known where the file name has them as words (``MMD-AP.dcm``), the view also where
    the file says so.

    Raises
    ------
    ClipmedError
        When there is no run of several frames.
    """
    progress = progress or Progress()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path))
    strips = []
    for number, path in enumerate(files):
        progress.step("reading real runs", number, len(files))
        try:
            views = open_study(path).views
        except UnreadableFileError:
            continue
        words = re.split(r"[^A-Za-z]+", path.stem)
        label = next((known for known in LABELS if known in words), "")
        for view in views:
            if len(view.pixels) < 2:
                continue
            name = next((word for word in words if word in ("AP", "LA")), str(view.projection.value))
            frames = np.asarray(view.pixels[0 : len(view.pixels)], np.float32)
            strips.append(Strip(path.stem, label, name, window_to_bytes(_spaced(frames)), True))
    if not strips:
        raise ClipmedError(f"{folder} holds no angiogram of several frames.", "Name a folder of DICOM runs.")
    return strips


def simulated_strips(label: str, n: int, seed: int, size: int, preset: str) -> list[Strip]:
    """`n` simulated studies of a class, AP and LA of each.

    Parameters
    ----------
    label : str
        Class; any of them, in turn, where it is empty.
    n, seed, size, preset
        As `writer.write_dsa_phantoms`.
    """
    ambient = load_ambient(preset)
    strips = []
    for k in range(n):
        what = label or LABELS[k % len(LABELS)]
        rng = np.random.default_rng([seed, k, LABELS.index(what)])
        anatomy = draw_anatomy(rng, ambient)
        own = (seed * 1009 + k) * len(LABELS) + LABELS.index(what)  # classes are not each other's twins
        study = simulate_study(anatomy, what, own, ambient, size)
        for view in study.views:
            frames = window_to_bytes(_spaced(study.subtracted(view)))
            strips.append(Strip(f"SIMULATED {what}, {k + 1}", what, view, frames, False))
    return strips


def beside_page(
    folder: Path,
    out: Path,
    n: int = 3,
    seed: int = 0,
    size: int = 224,
    preset: str = "training",
    progress: Progress | None = None,
) -> list[tuple[Strip, list[Strip]]]:
    """Write the page: under each real strip `n` simulated ones of the same class and view.

    Returns
    -------
    list of (real strip, simulated strips)
        What stands on the page.

    Raises
    ------
    ClipmedError
        When the folder holds no runs or the page cannot be written.
    """
    progress = progress or Progress()
    real = real_strips(folder, progress)
    made: dict[str, list[Strip]] = {}
    groups = []
    for number, strip in enumerate(real):
        progress.step("simulating", number, len(real))
        if strip.label not in made:
            made[strip.label] = simulated_strips(strip.label, n, seed, size, preset)
        like = [one for one in made[strip.label] if strip.view not in ("AP", "LA") or one.view == strip.view]
        groups.append((strip, like))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(
            page_of(groups, f"{n} a run, seed {seed}, {size} px, preset {preset}"), encoding="utf-8"
        )
    except OSError as error:
        raise ClipmedError(f"{out} cannot be written ({error.strerror}).", "Choose another --out.") from error
    return groups


def page_of(groups: Sequence[tuple[Strip, Sequence[Strip]]], made: str) -> str:
    """The page as one HTML document that needs no other file."""
    rows = []
    for real, simulated in groups:
        rows.append(f"<h2>{html.escape(real.label or 'unknown class')}, {html.escape(real.view)}</h2>")
        rows += [_row(strip) for strip in (real, *simulated)]
    return _PAGE.format(made=html.escape(made), shown=SHOWN, tile=TILE, rows="".join(rows))


def _row(strip: Strip) -> str:
    look = look_of(strip.frames)
    words = (
        f"{strip.title}, {strip.view}: background {look.background:.2f}, ink {look.ink:.1%}, first frame "
        f"{look.first}, bright {look.bright:.1%}, grain {look.grain:.3f}"
    )
    kind = "real" if strip.real else "simulated"
    picture = b64encode(_png(strip.frames)).decode()
    title = html.escape(("REAL " if strip.real else "") + words)
    return (
        f'<figure class="{kind}"><figcaption>{title}</figcaption>'
        f'<img alt="{kind} strip" src="data:image/png;base64,{picture}"></figure>\n'
    )


def _png(frames: Bytes) -> bytes:
    """Frames side by side."""
    tiles = _tiles(frames)
    strip = Image.new("L", (TILE * len(tiles), TILE))
    for k, tile in enumerate(tiles):
        strip.paste(tile, (k * TILE, 0))
    data = BytesIO()
    strip.save(data, "PNG")
    return data.getvalue()


def _tiles(frames: Bytes) -> list[Image.Image]:
    return [Image.fromarray(frame).resize((TILE, TILE), Image.Resampling.BOX) for frame in frames]


def _spaced(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most `SHOWN` frames, evenly spaced, first and last among them."""
    return frames[np.linspace(0, len(frames) - 1, min(SHOWN, len(frames))).round().astype(int)]
