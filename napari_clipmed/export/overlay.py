"""Answers of the models as pictures: saliency on the frames of a run, a mask on a frame.

Colours are told apart by all common colour vision; the heat is transparent where it is low, so that vessels
keep their contrast. No identity is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, map_coordinates

from napari_clipmed.export.look import windowed
from napari_clipmed.export.stamp import font_of
from napari_clipmed.inference.colour_maps import VIRIDIS
from napari_clipmed.inference.results import Diagnosis, Saliency
from napari_clipmed.study import Study, View, view_names

TILE = 208
COLUMNS = 8
MARGIN = 8
LINE = 18

MASK_COLOUR = (230, 159, 0)
"""Orange of Okabe and Ito."""
_PAPER, _INK, _QUIET = (18, 18, 20), (235, 235, 235), (150, 155, 162)


def grey_frame(view: View, frame: int) -> NDArray[np.uint8]:
    """A frame in its display window, uint8 (H, W)."""
    return windowed(view.pixels[frame], view.window)


def heat_on(
    grey: NDArray[np.uint8], heat: NDArray[np.float32], box: tuple[float, float, float, float]
) -> NDArray[np.uint8]:
    """Blend an activation map over a frame.

    Parameters
    ----------
    grey : (H, W) uint8 array
    heat : (h, w) float32 array
        In [0, 1].
    box : (row0, column0, row1, column1)
        Where the map lies, in pixels of the frame.

    Returns
    -------
    (H, W, 3) uint8 array
    """
    rows, columns = (
        (np.arange(length) + 0.5 - box[axis]) / (box[axis + 2] - box[axis]) * heat.shape[axis] - 0.5
        for axis, length in enumerate(grey.shape)
    )
    level = map_coordinates(heat, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
    stops = np.linspace(0, 1, len(VIRIDIS))
    colour = np.stack([np.interp(level, stops, VIRIDIS[:, channel]) for channel in range(3)], axis=-1)
    alpha = 0.6 * np.clip((level - 0.1) / 0.5, 0, 1)[..., None]
    return np.asarray((1 - alpha) * grey[..., None] + alpha * colour, dtype=np.uint8)


def mask_on(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the outline of a mask over a frame, (H, W, 3) uint8; what lies inside stays visible."""
    picture = np.repeat(grey[..., None], 3, axis=-1)
    width = max(1, round(max(grey.shape) / 512))
    outline = binary_dilation(mask, iterations=width) & ~mask
    picture[outline] = MASK_COLOUR
    inside = picture[mask].astype(np.float32)
    picture[mask] = (0.85 * inside + 0.15 * np.array(MASK_COLOUR)).astype(np.uint8)
    return picture


def montage(study: Study, diagnosis: Diagnosis, saliency: Saliency) -> Image.Image:
    """All sampled frames of all views with their heat; the decisive frame of each view is framed."""
    title = dict(zip(diagnosis.labels, diagnosis.titles, strict=True))
    heat = f"{title[saliency.label]}  {diagnosis.combined[saliency.label]:.2f}    {saliency.method}"
    lines = [
        *([heat] if diagnosis.certainty.certain else [diagnosis.headline, f"Heat map of {heat}"]),
        f"Model {diagnosis.model_id}, one heat scale for all frames. Research use only, not for diagnosis.",
        *(["SIMULATED study"] if study.synthetic else []),
        *(
            ["UNLIKE THE TRAINING DATA: do not rely on the probabilities"]
            if diagnosis.unlike_training
            else []
        ),
    ]
    return _sheet(lines, {name: study.views[diagnosis.view_index[name]] for name in saliency.maps}, saliency)


def sentence_montage(study: Study, saliency: Saliency, backbone: str) -> Image.Image:
    """The same for the heat map of a sentence, by a backbone that was not trained on it."""
    lines = [
        f"“{saliency.label}”    {saliency.method}",
        f"Backbone {backbone}, one scale for all frames: the hottest place is red, present or not.",
        "UNCALIBRATED. Research use only, not for diagnosis.",
        *(["SIMULATED study"] if study.synthetic else []),
    ]
    return _sheet(lines, dict(zip(view_names(study), study.views, strict=True)), saliency)


def _sheet(lines: Sequence[str], views: Mapping[str, View], saliency: Saliency) -> Image.Image:
    """The lines above a block for each view."""
    blocks = [_block(view, name, saliency) for name, view in views.items()]
    width = max(block.width for block in blocks)
    parts = [_heading(lines, width), *blocks]
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)), _PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _heading(lines: Sequence[str], width: int) -> Image.Image:
    head = Image.new("RGB", (width, MARGIN + LINE * len(lines)), _PAPER)
    draw = ImageDraw.Draw(head)
    for number, line in enumerate(lines):
        place = (MARGIN, MARGIN // 2 + number * LINE)
        draw.text(place, line, fill=_QUIET if number else _INK, font=font_of(13))
    return head


def _block(view: View, name: str, saliency: Saliency) -> Image.Image:
    """One view: its frames in rows of `COLUMNS`."""
    frames, maps, box = saliency.frames[name], saliency.maps[name], saliency.boxes[name]
    height, width = view.pixels.shape[1:]
    scale = TILE / max(height, width)
    tile = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = (tile[0] + MARGIN, tile[1] + LINE + MARGIN)
    rows = -(-len(frames) // COLUMNS)
    block = Image.new("RGB", (MARGIN + COLUMNS * step[0], MARGIN + rows * step[1]), _PAPER)
    draw = ImageDraw.Draw(block)
    decisive = saliency.decisive_frame(name)
    for place, (frame, heat) in enumerate(zip(frames, maps, strict=True)):
        x, y = MARGIN + place % COLUMNS * step[0], MARGIN + place // COLUMNS * step[1]
        picture = Image.fromarray(heat_on(grey_frame(view, int(frame)), heat, box))
        block.paste(picture.resize(tile, Image.Resampling.BILINEAR), (x, y + LINE))
        draw.text((x, y), f"{name}  {_when(view, int(frame))}", fill=_QUIET, font=font_of(13))
        if frame == decisive and heat.max() > 0:
            edge = (x - 2, y + LINE - 2, x + tile[0] + 1, y + LINE + tile[1] + 1)
            draw.rectangle(edge, outline=MASK_COLOUR, width=2)
    return block


def _when(view: View, frame: int) -> str:
    """Frame number as people count, and its time where it is known."""
    time = f"  {view.timing.times_ms[frame] / 1000:.2f} s" if view.timing.known else ""
    return f"frame {frame + 1}{time}"
