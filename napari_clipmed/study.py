"""The words of the domain: a study, its views, their times, sizes and sources.

Everything here is frozen and knows numpy only; readers build these objects, every other room reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.subtraction_words import Intensity, MaskItem, MaskOperation, Subtraction

__all__ = [
    "Calibration",
    "DisplayWindow",
    "FrameTiming",
    "Frames",
    "Guess",
    "Intensity",
    "Kind",
    "MaskItem",
    "MaskOperation",
    "Overlay",
    "PatientIdentity",
    "PixelSpacing",
    "Projection",
    "Source",
    "Study",
    "Subtraction",
    "Topic",
    "View",
    "hash_frames",
]


class Frames(Protocol):
    """The frames of a run, (T, H, W): an ndarray, or an array that makes each frame when it is asked for.

    ``frames[i]`` is one cheap (H, W) frame; the first index may also be a slice or an array of frame numbers,
    and slices of rows and columns may follow. ``np.asarray(frames)`` makes the whole run: not on hot paths.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every frame."""

    @property
    def ndim(self) -> int:
        """3."""

    @property
    def size(self) -> int:
        """T × H × W."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, index: Any, /) -> Any: ...

    def __array__(self) -> NDArray[Any]: ...


class Projection(StrEnum):
    """From where the X-rays look."""

    AP = "AP"
    LA = "LA"
    PA = "PA"
    OBLIQUE = "OBLIQUE"
    UNKNOWN = "UNKNOWN"

    @property
    def side(self) -> int:
        """Where it hangs: 0 left (AP and PA), 2 right (LA), 1 between."""
        return {"AP": 0, "PA": 0, "LA": 2}.get(self.value, 1)


class Kind(StrEnum):
    """What sort of examination this is; decides which models apply."""

    ANGIOGRAM = "angiogram"
    CHEST = "chest"
    OTHER = "other"


class Calibration(StrEnum):
    """What a millimetre in this picture means (DICOM PS3.3 C.8.7.5, 10.7.1)."""

    PATIENT = "calibrated in the patient"
    GEOMETRY = "from detector spacing and magnification"
    DETECTOR = "at the detector, uncalibrated"
    NONE = "no spacing known"


@dataclass(frozen=True)
class PixelSpacing:
    """Size of a pixel in millimetres, and what that millimetre refers to."""

    row_mm: float = 1.0
    column_mm: float = 1.0
    calibration: Calibration = Calibration.NONE

    @property
    def known(self) -> bool:
        """Whether lengths may be shown in millimetres."""
        return self.calibration is not Calibration.NONE


DISPLAY_RATE = "Recommended Display Frame Rate"
"""Source of times that are no times of the acquisition (0008,2144)."""


@dataclass(frozen=True, eq=False)
class FrameTiming:
    """When each frame was taken.

    Parameters
    ----------
    times_ms : (T,) float64 array
        Milliseconds from the first frame of the study, not decreasing; the first value is above 0 for a plane
        that began later than the other one.
    source : str
        The rule that gave them ("Frame Time", "Frame Time Vector", "Cine Rate", "frame index"…).
    known : bool
        False when `times_ms` is only the frame index standing in for a missing time base.
    """

    times_ms: NDArray[np.float64]
    source: str
    known: bool

    @property
    def measured(self) -> bool:
        """Whether they are times of the acquisition; a recommended rate only says how fast to play a run."""
        return self.known and self.source != DISPLAY_RATE

    @property
    def length_ms(self) -> float:
        """From the first frame of the run to its last."""
        return float(self.times_ms[-1] - self.times_ms[0])

    @property
    def interval_ms(self) -> float:
        """Median interval between frames in ms; 0 for a single frame."""
        return float(np.median(np.diff(self.times_ms))) if len(self.times_ms) > 1 else 0.0


class Topic(StrEnum):
    """What a guess can be about; the keys by which a person overrules one (`io.overrule`)."""

    KIND = "kind"
    PAIRING = "pairing"
    PROJECTION = "projection"
    TIME_BASE = "time base"
    BEGIN = "begin"
    SUBTRACTION = "subtraction"
    CALIBRATION = "calibration"
    WINDOW = "window"


@dataclass(frozen=True)
class Guess:
    """Something that was concluded, not read: what (mostly a `Topic`), the value, and why."""

    what: str
    value: str
    reason: str


@dataclass(frozen=True)
class DisplayWindow:
    """Grey values shown from black to white: [low, high] in units of `View.pixels`."""

    low: float
    high: float
    name: str = ""

    def resembles(self, other: DisplayWindow, tolerance: float = 0.02) -> bool:
        """Whether nobody would see which of the two is used."""
        room = tolerance * (self.high - self.low)
        return abs(self.low - other.low) <= room and abs(self.high - other.high) <= room


@dataclass(frozen=True, eq=False)
class Overlay:
    """Graphics that the file draws over its frames (DICOM PS3.3 C.9.2), as data.

    Parameters
    ----------
    masks : (N, H, W) bool array
        True where something is drawn, on the grid of the frames. N = 1 for one plane over all its frames.
    label : str
        The label or description of the overlay; "overlay 1" and so on where it has none.
    first_frame : int or None
        Frame number (from 1) that `masks[0]` lies over; None for one plane over every frame.
    region : bool
        True for a region of interest, False for graphics.
    """

    masks: NDArray[np.bool_]
    label: str = "overlay"
    first_frame: int | None = None
    region: bool = False

    def over(self, frame: int) -> NDArray[np.bool_] | None:
        """The (H, W) plane over a frame number (from 1); None where nothing lies over it."""
        if self.first_frame is None:
            return self.masks[0]
        index = frame - self.first_frame
        return self.masks[index] if 0 <= index < len(self.masks) else None


@dataclass(frozen=True)
class Source:
    """Where a view came from. Paths and UIDs only; no patient identity."""

    path: str
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    transfer_syntax: str = ""
    image_type: tuple[str, ...] = ()


@dataclass(frozen=True)
class PatientIdentity:
    """Shown on screen, never written to logs, store, exports or models."""

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""

    @property
    def key(self) -> str:
        """What tells one patient from another: the ID, else the name; empty where the file names nobody."""
        return self.patient_id or self.name


@dataclass(frozen=True, eq=False)
class View:
    """One run (or film) seen from one direction, as recommended for viewing.

    Parameters
    ----------
    projection : Projection
        AP, LA, PA, oblique or unknown.
    pixels : (T, H, W) Frames, uint8, uint16 or float32
        Grey values after the grey pipeline and, where a mask item asks for it, after subtraction.
        Bright is bright: MONOCHROME1 has been inverted once. T = 1 for a film.
    timing : FrameTiming
        Acquisition time of each frame.
    spacing : PixelSpacing
        Millimetres a pixel and their calibration.
    window : DisplayWindow
        The grey window to open with.
    source : Source
        File and DICOM identifiers.
    subtracted : bool
        Whether `pixels` are a subtracted run (by us or by the scanner).
    native : (T, H, W) Frames or None
        The unsubtracted frames, where `pixels` were subtracted by us.
    windows : tuple of DisplayWindow
        All windows that the file offers.
    frame_windows : tuple of DisplayWindow
        One window a frame of the stored run, where the file gives them and they differ; else empty.
    angles : (float, float) or None
        Positioner primary and secondary angle in degrees.
    motion : str
        "rotational" or "stepping" where the positioner or the table moved during the run; then its frames are
        not a bolus time series. Else empty.
    shutter : (H, W) bool array or None
        True where the display shutter hides the picture (PS3.3 C.7.6.11); not burnt into `pixels`.
    shutter_level : float
        Grey of the covered part, 0 black to 1 white.
    overlays : tuple of Overlay
        Graphics that the file draws over its frames; not burnt into `pixels`.
    guesses, warnings
        What was concluded, and what was wrong with the file.
    subtraction : Subtraction or None
        What `pixels` were made with; None: as stored.
    file_subtraction : Subtraction or None
        What the file says about its subtraction, applied or not: its mask items (perhaps none) and how its
        grey values follow the X-ray intensity. None where nothing can be subtracted.
    native_windows : tuple of DisplayWindow
        The windows of `native`, where `pixels` were subtracted by us.
    log_table : (N,) float32 array or None
        For each grey value from 0 its place in the logarithmic space of the subtraction, where the file
        brings such a table (0028,9422); it then stands in for `Subtraction.intensity`.
    source_hash : str
        Hash of the stored frames after the grey pipeline, whatever subtraction, window or projection.
        Computed where it is not given; who replaces the frames themselves must reset it to "".
    """

    projection: Projection
    pixels: Frames
    timing: FrameTiming
    spacing: PixelSpacing
    window: DisplayWindow
    source: Source
    subtracted: bool = False
    native: Frames | None = None
    windows: tuple[DisplayWindow, ...] = ()
    frame_windows: tuple[DisplayWindow, ...] = ()
    angles: tuple[float, float] | None = None
    motion: str = ""
    shutter: NDArray[np.bool_] | None = None
    shutter_level: float = 0.0
    overlays: tuple[Overlay, ...] = ()
    guesses: tuple[Guess, ...] = ()
    warnings: tuple[str, ...] = ()
    subtraction: Subtraction | None = None
    file_subtraction: Subtraction | None = None
    native_windows: tuple[DisplayWindow, ...] = ()
    log_table: NDArray[np.float32] | None = None
    source_hash: str = ""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3:
            raise ValueError(f"View.pixels must be (T, H, W), not of shape {self.pixels.shape}")
        if len(self.timing.times_ms) != len(self.pixels):
            raise ValueError(f"{len(self.timing.times_ms)} frame times for {len(self.pixels)} frames")
        if not self.source_hash:
            object.__setattr__(self, "source_hash", hash_frames(self.stored))

    @property
    def stored(self) -> Frames:
        """The frames as stored, after the grey pipeline, before any subtraction of ours."""
        return self.pixels if self.native is None else self.native

    @cached_property
    def pixel_hash(self) -> str:
        """Names what `pixels` show: the stored frames and their subtraction; the key of model features."""
        if self.subtraction is None:  # as stored, or subtracted by somebody who does not say how
            return self.source_hash if self.native is None else hash_frames(self.pixels)
        table = b"" if self.log_table is None else self.log_table.tobytes()
        return sha256(f"{self.source_hash}|{self.subtraction.digest}|".encode() + table).hexdigest()

    @property
    def n_frames(self) -> int:
        """Number of frames, T."""
        return len(self.pixels)

    @property
    def is_bolus_series(self) -> bool:
        """Whether times to peak make sense: several frames, one projection, one table position."""
        return self.n_frames > 1 and not self.motion

    def relabelled(self, projection: Projection, reason: str = "set by the reader") -> View:
        """The same run under another projection, with the overrule on record."""
        return self.concluding(Guess(Topic.PROJECTION, projection, reason), projection=projection)

    def concluding(self, guess: Guess, **changes: Any) -> View:
        """The view with some fields changed and a guess that takes the place of the one on the same topic."""
        kept = tuple(known for known in self.guesses if known.what != guess.what)
        return replace(self, guesses=(*kept, guess), **changes)


@dataclass(frozen=True, eq=False)
class Study:
    """One examination: one or two (rarely more) views that belong together.

    Parameters
    ----------
    views : tuple of View
        AP before LA where both are known.
    kind : Kind
        Angiogram, chest film or other.
    pairing : Guess or None
        The rule by which two views were paired; None for a single view.
    identity : PatientIdentity
        For the screen only.
    synthetic : bool
        True for simulated studies; shown as SIMULATED wherever a person sees it.
    """

    views: tuple[View, ...]
    kind: Kind
    pairing: Guess | None = None
    identity: PatientIdentity = field(default_factory=PatientIdentity)
    synthetic: bool = False
    title: str = ""
    guesses: tuple[Guess, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError("A study has at least one view")

    @property
    def image_hash(self) -> str:
        """One hash for all stored frames, in view order, however subtracted; the key of the records."""
        return sha256("|".join(v.source_hash for v in self.views).encode()).hexdigest()

    def view(self, projection: Projection) -> View | None:
        """The first view of that projection, or None."""
        return next((v for v in self.views if v.projection is projection), None)

    def with_view(self, index: int, view: View) -> Study:
        """The same study with one view replaced."""
        views = tuple(view if i == index else v for i, v in enumerate(self.views))
        return replace(self, views=views)


def hash_frames(frames: Frames) -> str:
    """SHA-256 of shape, dtype and values, independent of memory layout and byte order; frame by frame."""
    native = frames.dtype.newbyteorder("=")
    digest = sha256(f"{tuple(frames.shape)}{native.name}".encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame, dtype=native).data)
    return digest.hexdigest()


def view_names(study: Study) -> tuple[str, ...]:
    """A short name for each view, unique within the study: "AP", "LA", "LA 2", "View 1"."""
    names: list[str] = []
    for index, view in enumerate(study.views):
        unknown = view.projection is Projection.UNKNOWN
        base = f"View {index + 1}" if unknown else str(view.projection)
        used = sum(1 for name in names if name.split(" ")[0] == base)
        names.append(base if unknown or not used else f"{base} {used + 1}")
    return tuple(names)
