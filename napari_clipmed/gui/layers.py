"""How the views of a study become napari layers: where they lie, how they are recognised, what they share.

A layer is recognised by `layer.metadata["clipmed"]`, a `LayerTag`, never by its name or position. Every layer
carries `axis_labels`, `units` and `scale`; napari drops the units of all layers when one lacks them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.theme import MASK_COLOURS
from napari_clipmed.gui.time_base import slider_begin, time_in_ms, time_scale
from napari_clipmed.lazy_frames import WHOLE, LazyFrames, Region
from napari_clipmed.study import DisplayWindow, Frames, Projection, Study, View

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels, Layer

TAG = "clipmed"
STUDY = "clipmed_study"
"""Under this key a reader hands the `Study` over, on its first image layer; the session takes it there."""

TIME_MS, TIME_INDEX = "time", "frame"
"""Label of the time axis in milliseconds, and of one that only counts frames."""

GAP = 0.04
"""Room between two views, as a fraction of the wider one."""


class Role(StrEnum):
    """What a layer is for."""

    IMAGE = "image"
    CAM = "cam"
    LABELS = "labels"
    PREVIEW = "preview"
    PROJECTED = "projected"
    WORDING = "wording"
    TITLES = "titles"
    BORDER = "border"
    MAP = "map"
    ROI = "roi"
    MEASURE = "measure"
    SPACER = "spacer"
    SHUTTER = "shutter"
    GRAPHICS = "graphics"


NAMED = {
    Role.IMAGE: "",
    Role.LABELS: " mask",
    Role.CAM: " CAM",
    Role.PREVIEW: " proposal",
    Role.WORDING: " wording",
    Role.SHUTTER: " shutter",
    Role.MAP: " map",
    Role.ROI: " regions",
    Role.MEASURE: " measures",
}
"""What follows the name of the view in the name of a layer."""


@dataclass(frozen=True)
class LayerTag:
    """What `layer.metadata["clipmed"]` holds.

    Parameters
    ----------
    role : Role
        What the layer is for.
    view_index : int
        Entry of `Study.views`; -1 for a layer that belongs to the canvas as a whole.
    study_hash : str
        `Study.image_hash` of the study that the layer belongs to.
    projection : Projection
        From where the view was taken; a relabelled view gets a new tag.
    """

    role: Role
    view_index: int
    study_hash: str
    projection: Projection = Projection.UNKNOWN


@dataclass(frozen=True)
class Placement:
    """Where a view lies on the canvas, in world units.

    Parameters
    ----------
    scale, translate : tuple of float
        For (time, y, x) of the image layer.
    units, axis_labels : tuple of str
        Same for all views of a study.
    shape : (int, int)
        Height and width in pixels.
    n_shown : int
        Frames of the image layer: those of the view, and blank ones where `reachable_frames` asks for them.
    """

    scale: tuple[float, float, float]
    translate: tuple[float, float, float]
    units: tuple[str, str, str]
    axis_labels: tuple[str, str, str]
    shape: tuple[int, int]
    n_shown: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Outer edges (y0, x0, y1, x1) of the picture in world units."""
        y0, x0 = self.translate[1] - self.scale[1] / 2, self.translate[2] - self.scale[2] / 2
        return y0, x0, y0 + self.shape[0] * self.scale[1], x0 + self.shape[1] * self.scale[2]

    def contains(self, y: float, x: float) -> bool:
        """Whether a world point lies in the picture."""
        y0, x0, y1, x1 = self.box
        return y0 <= y < y1 and x0 <= x < x1

    def pixel_at(self, y: float, x: float) -> tuple[int, int]:
        """Row and column of the pixel under a world point, kept within the picture."""
        row = round((y - self.translate[1]) / self.scale[1])
        column = round((x - self.translate[2]) / self.scale[2])
        return min(max(row, 0), self.shape[0] - 1), min(max(column, 0), self.shape[1] - 1)

    def sub_box(
        self, box: tuple[float, float, float, float], grid: tuple[int, int]
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Scale and translate of a coarse grid of cells laid over a box of the picture.

        Parameters
        ----------
        box : (row0, column0, row1, column1)
            Edges in pixels of the view; parts outside the picture are allowed.
        grid : (h, w)
            Cells over the box.
        """
        row0, column0, row1, column1 = box
        y0, x0, _, _ = self.box
        cell_y = (row1 - row0) * self.scale[1] / grid[0]
        cell_x = (column1 - column0) * self.scale[2] / grid[1]
        scale = (self.scale[0], cell_y, cell_x)
        corner = (y0 + row0 * self.scale[1] + cell_y / 2, x0 + column0 * self.scale[2] + cell_x / 2)
        return scale, (self.translate[0], *corner)


def place_views(study: Study) -> tuple[Placement, ...]:
    """Lay the views side by side, AP left of LA, centred on one line.

    The placements come in the order of the views: a view that was given another projection keeps its place in
    the study, which records go by, and changes the side on which it hangs.
    Millimetres are used only when every view knows its own, milliseconds likewise.
    """
    in_mm = all(view.spacing.known for view in study.views)
    in_ms = time_in_ms(study)
    units = ("ms" if in_ms else "pixel", *(("mm", "mm") if in_mm else ("pixel", "pixel")))
    labels = (TIME_MS if in_ms else TIME_INDEX, "y", "x")
    scales = [
        (
            time_scale(study, view),
            view.spacing.row_mm if in_mm else 1.0,
            view.spacing.column_mm if in_mm else 1.0,
        )
        for view in study.views
    ]
    shapes = [(view.pixels.shape[1], view.pixels.shape[2]) for view in study.views]
    gap = GAP * max(shape[1] * scale[2] for shape, scale in zip(shapes, scales, strict=True))
    begins = [slider_begin(study, view) for view in study.views]
    n_shown = reachable_frames(
        [view.n_frames for view in study.views], [scale[0] for scale in scales], begins
    )
    placements: dict[int, Placement] = {}
    left = 0.0
    for index in sorted(range(len(study.views)), key=lambda index: study.views[index].projection.side):
        shape, scale = shapes[index], scales[index]
        corner = (begins[index], scale[1] / 2 - shape[0] * scale[1] / 2, left + scale[2] / 2)
        placements[index] = Placement(scale, corner, units, labels, shape, n_shown[index])
        left += shape[1] * scale[2] + gap
    return tuple(placements[index] for index in range(len(study.views)))


def reachable_frames(
    n_frames: Sequence[int], intervals: Sequence[float], begins: Sequence[float] = ()
) -> list[int]:
    """How many frames each layer must have so that the slider reaches every frame of every view.

    napari's slider goes in steps of the shortest interval and not beyond the last whole step, so that the
    last frame of a slower, longer run could not be chosen; blank frames behind the faster run lengthen it.

    Parameters
    ----------
    n_frames : sequence of int
        Frames of each view.
    intervals : sequence of float
        World units from frame to frame of each view.
    begins : sequence of float, optional
        Where the first frame of each view stands; 0 where not given.
    """
    begins = begins or [0.0] * len(n_frames)
    step = min(intervals)
    lengths = [(n - 1) * interval for n, interval in zip(n_frames, intervals, strict=True)]
    last = max(begin + length for begin, length in zip(begins, lengths, strict=True))
    stop = np.floor(last / step + 1e-9) * step
    reached = all(
        round(min(stop - begin, length) / interval) == n - 1
        for n, interval, begin, length in zip(n_frames, intervals, begins, lengths, strict=True)
    )
    shown = list(n_frames)
    if not reached:
        fastest = list(intervals).index(step)
        shown[fastest] = int(np.ceil((last - begins[fastest]) / step)) + 1
    return shown


class PaddedFrames(LazyFrames):
    """Frames with blank ones behind them, which take no memory.

    Parameters
    ----------
    frames : (T, H, W) Frames
        The run.
    n_shown : int
        Frames with the blank ones.
    blank : float
        Grey of the blank ones.
    """

    def __init__(self, frames: Frames, n_shown: int, blank: float) -> None:
        super().__init__((n_shown, *frames.shape[1:]), frames.dtype)
        self._frames = frames
        self._blank = np.broadcast_to(np.asarray(blank).astype(frames.dtype), self.shape[1:])

    def frame(self, index: int, region: Region = WHOLE) -> NDArray[Any]:
        """A part of a frame, blank behind the last one."""
        part: NDArray[Any] = (
            self._frames[(index, *region)] if index < len(self._frames) else self._blank[region]
        )
        return part


def padded(frames: Frames, n_shown: int) -> Frames:
    """Frames with blank ones, as dark as the first, behind them; the same frames where none are missing."""
    missing = n_shown - len(frames)
    return frames if missing <= 0 else PaddedFrames(frames, n_shown, float(frames[0].min()))


def window_is_open(viewer: napari.Viewer) -> bool:
    """Whether a viewer has a window that napari has not closed."""
    return hasattr(getattr(viewer, "window", None), "_qt_window")


def make_ready_for_layers() -> None:
    """Have napari load what its first layer needs: units and colours, half a second."""
    from napari.layers import Image

    Image(np.zeros((1, 2, 2), np.uint8))


def layer_name(view_name: str, role: Role) -> str:
    """Name shown in napari's layer list."""
    return view_name + NAMED[role]


def describe_angles(view: View) -> str:
    """Positioner angles as they are spoken: "RAO 30° CRA 15°"; empty where unknown."""
    if view.angles is None:
        return ""
    primary, secondary = (round(angle) for angle in view.angles)
    first = f"{'LAO' if primary > 0 else 'RAO'} {abs(primary)}°" if primary else "0°"
    second = f"{'CRA' if secondary > 0 else 'CAU'} {abs(secondary)}°" if secondary else "0°"
    return f"{first} / {second}"


def tag_of(layer: Layer) -> LayerTag | None:
    """The tag of one of our layers; None for any other."""
    tag = layer.metadata.get(TAG)
    return tag if isinstance(tag, LayerTag) else None


def handed_over(viewer: napari.Viewer, shown: Collection[Layer]) -> tuple[Study, list[Image]] | None:
    """A study whose layers a napari reader has put on the canvas and no session has taken over yet.

    Parameters
    ----------
    shown : collection of Layer
        Image layers of the study already open, which may be the same study.
    """
    for layer in viewer.layers:
        study = layer.metadata.get(STUDY)
        if not isinstance(study, Study):
            continue
        images = [
            other
            for other in viewer.layers
            if (tag := tag_of(other))
            and (tag.role, tag.study_hash) == (Role.IMAGE, study.image_hash)
            and other not in shown
        ]
        if len(images) == len(study.views):
            del layer.metadata[STUDY]
            return study, sorted(images, key=lambda image: image.metadata[TAG].view_index)
    return None


def copy_spatial(layer: Layer) -> dict[str, Any]:
    """Keyword arguments that lay a new layer of the same shape exactly over an existing one."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def spatial(placement: Placement, flat: bool = False) -> dict[str, Any]:
    """Keyword arguments for a layer at a placement; `flat` for drawings that show at every time."""
    if flat:
        return {"units": placement.units[1:], "axis_labels": placement.axis_labels[1:]}
    return {
        "scale": placement.scale,
        "translate": placement.translate,
        "units": placement.units,
        "axis_labels": placement.axis_labels,
    }


def contrast_limits(window: DisplayWindow) -> tuple[float, float]:
    """Window as contrast limits, never empty (napari refuses low >= high)."""
    low, high = float(window.low), float(window.high)
    return (low, high) if high > low else (low, low + 1.0)


def native_window(view: View) -> DisplayWindow:
    """The file's window for the unsubtracted frames, or the 0.5 to 99.5 percentile of a thinned sample."""
    if view.native_windows:
        return view.native_windows[0]
    source = view.native if view.native is not None else view.pixels
    sample = source[:: max(1, len(source) // 4), ::4, ::4]
    low, high = np.percentile(sample.astype(np.float32), (0.5, 99.5))
    return DisplayWindow(float(low), float(high), "unsubtracted")


def image_layer(view: View, index: int, name: str, placement: Placement, study_hash: str) -> Image:
    """The layer that shows a run or film with its own window; `rgb` is never guessed."""
    from napari.layers import Image

    layer = Image(
        padded(view.pixels, placement.n_shown),
        name=name,
        rgb=False,
        contrast_limits=contrast_limits(view.window),
        interpolation2d="linear",
        metadata={TAG: LayerTag(Role.IMAGE, index, study_hash, view.projection)},
        **spatial(placement),
    )
    low, high = layer.contrast_limits
    room = high - low
    layer.contrast_limits_range = (low - room, high + room)
    return layer


def labels_layer(image: Image, name: str) -> Labels:
    """An empty, editable mask layer lying exactly over an image layer."""
    from napari.layers import Labels

    tag = image.metadata[TAG]
    layer = Labels(
        np.zeros(image.data.shape, dtype=np.uint8),
        name=name,
        opacity=0.6,
        metadata={TAG: LayerTag(Role.LABELS, tag.view_index, tag.study_hash, tag.projection)},
        **copy_spatial(image),
    )
    layer.brush_size = max(3, min(image.data.shape[-2:]) // 64)
    return layer


def mask_colours(classes: dict[int, str]) -> Any:
    """Colormap of mask classes: fixed colours, background and unknown values transparent or grey."""
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, Any] = {None: "#BBBBBB", 0: "transparent"}
    for value in range(1, max([*classes, len(MASK_COLOURS)]) + 1):
        table[value] = MASK_COLOURS[(value - 1) % len(MASK_COLOURS)]
    return DirectLabelColormap(color_dict=table)
