"""One DICOM file as one view: decode, grey, subtract, label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from napari_clipmed.io.dicom_headers import DicomFile, integer, items, number, numbers, text
from napari_clipmed.io.dicom_pixels import decode
from napari_clipmed.io.enhanced import flattened
from napari_clipmed.io.geometry import (
    angiogram_projection,
    angles_of,
    calibration_of,
    film_projection,
    orientation_warnings,
)
from napari_clipmed.io.grey import ANGIOGRAPHY, is_inverse, robust_window, to_grey
from napari_clipmed.io.shutters import Mask, overlays_of, shutter_of
from napari_clipmed.io.subtraction import (
    Intensity,
    MaskItem,
    Operation,
    flatness,
    looks_subtracted,
    subtract,
)
from napari_clipmed.io.timing import frame_timing, motion, timing_guess
from napari_clipmed.progress import Progress
from napari_clipmed.study import DisplayWindow, Guess, Kind, Overlay, Source, View

NOT_HASHED = "not hashed yet"
"""Keeps a view that may still be subtracted from being hashed twice."""

CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "RIB", "HEART")


def view_of(file: DicomFile, progress: Progress | None = None) -> View:
    """Decode a file and build its view.

    Raises
    ------
    UnreadableFileError
        When it holds no whole frame.
    """
    name = file.path.name
    dataset = flattened(file.dataset)
    decoded = decode(file, progress)
    grey = to_grey(decoded.frames, dataset, name)
    notes = [*file.warnings, *decoded.warnings, *grey.warnings]
    guesses = list(grey.guesses)
    angiogram = kind_of(file.dataset)[0] is Kind.ANGIOGRAM
    timing, time_notes = frame_timing(file.dataset, len(grey.frames), name)
    spacing, calibration = calibration_of(dataset)
    guesses += [guess for guess in (timing_guess(file.dataset, timing), calibration) if guess is not None]
    (shutter, level), (overlays, overlay_notes) = _drawn_over(file, dataset, grey.frames.shape)
    moving = motion(dataset)
    if moving:
        notes.append(
            f"{name} is a {moving} run, not a bolus time series: no time-to-peak and no AP or LA label."
        )
    projection, why = (angiogram_projection if angiogram else film_projection)(dataset)
    if why is not None:
        guesses.append(why)
    view = View(
        projection=projection,
        pixels=grey.frames,
        timing=timing,
        spacing=spacing,
        window=grey.windows[0],
        windows=grey.windows,
        source=source_of(file),
        angles=angles_of(dataset),
        motion=moving,
        shutter=shutter,
        shutter_level=level,
        overlays=overlays,
        guesses=tuple(guesses),
        warnings=(*notes, *time_notes, *overlay_notes, *orientation_warnings(dataset, name)),
        pixel_hash=NOT_HASHED,
    )
    view = recommended(view, dataset) if angiogram else view
    return replace(view, pixel_hash="") if view.pixel_hash == NOT_HASHED else view


def _drawn_over(
    file: DicomFile, dataset: Dataset, shape: tuple[int, ...]
) -> tuple[tuple[Mask | None, float], tuple[tuple[Overlay, ...], tuple[str, ...]]]:
    """Shutter and overlays of a file, on the grid of its frames."""
    count, *size = shape
    native = b"" if file.pixels is None or file.pixels.encapsulated else file.pixels.data
    grid = (size[0], size[1])
    return (
        shutter_of(dataset, grid, file.little_endian),
        overlays_of(dataset, grid, count, native, file.little_endian),
    )


def source_of(file: DicomFile) -> Source:
    """Path and identifiers of a file, without the patient."""
    dataset = file.dataset
    return Source(
        path=str(file.path),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        modality=text(dataset, "Modality"),
        transfer_syntax=file.transfer_syntax.name,
        image_type=tuple(part for part in text(dataset, "ImageType").split("\\") if part),
    )


def kind_of(dataset: Dataset) -> tuple[Kind, Guess | None]:
    """What sort of examination a header describes; a guess where no attribute says so."""
    modality = text(dataset, "Modality").upper()
    body = text(dataset, "BodyPartExamined").upper()
    several = (number(dataset, "NumberOfFrames") or 1) > 1
    if modality == "XA" or text(dataset, "SOPClassUID") in ANGIOGRAPHY[:2]:
        return Kind.ANGIOGRAM, None
    if modality in ("RF", "XRF") or text(dataset, "SOPClassUID") in ANGIOGRAPHY[2:]:
        kind = Kind.ANGIOGRAM if several else Kind.OTHER
        return kind, Guess(
            "kind", kind, f"radiofluoroscopy with {'several frames' if several else 'one frame'}"
        )
    if modality in ("CR", "DX", "RG") or any(word in body for word in CHEST_WORDS):
        if body and not any(word in body for word in CHEST_WORDS):
            return Kind.OTHER, Guess("kind", Kind.OTHER, "a film of another body part")
        if body or text(dataset, "ViewPosition"):
            return Kind.CHEST, None
        return Kind.CHEST, Guess("kind", Kind.CHEST, "a film whose body part is not given")
    if several and modality in ("", "OT", "SC") and (number(dataset, "SamplesPerPixel") or 1) == 1:
        return Kind.ANGIOGRAM, Guess("kind", Kind.ANGIOGRAM, "several grey frames of unknown modality")
    return Kind.OTHER, Guess("kind", Kind.OTHER, f"modality {modality or 'not given'}")


# -- subtraction -------------------------------------------------------------------------------------------


def recommended(view: View, dataset: Dataset) -> View:
    """The view as recommended for viewing: subtracted where a mask item says so, unless NAT overrules it."""
    wanted = [item for item in mask_items(dataset) if item.operation is not Operation.NONE]
    mode = text(dataset, "RecommendedViewingMode").upper()
    if wanted and mode != "NAT":
        return subtracted_view(view, wanted, intensity_of(dataset), falls_with_intensity(dataset))
    if wanted:
        view = _with_guess(view, Guess("subtraction", "not applied", "Recommended Viewing Mode is NAT"))
    if not looks_subtracted(view.pixels):
        return view
    share = flatness(view.pixels)
    reason = f"{share:.0%} of the field is flat ground and no mask item applies"
    view = _with_guess(
        replace(view, subtracted=True), Guess("subtraction", "subtracted by the scanner", reason)
    )
    sample = view.pixels[:, ::2, ::2].astype(np.float32)
    if float(sample.mean()) > float(np.median(sample)):
        note = "The run looks subtracted with bright vessels; models expect dark vessels on a bright ground."
        view = replace(view, warnings=(*view.warnings, note))
    return view


def subtracted_view(view: View, wanted: list[MaskItem], intensity: Intensity, falling: bool = False) -> View:
    """Subtract a view by its mask items; its raw frames stay in `native`.

    Frames that no item subtracts are shown unsubtracted, scaled to the window of the others. Where the pixels
    fall as the X-ray intensity grows, the result is negated, so that vessels are always dark.
    """
    result = subtract(view.pixels, wanted, intensity)
    if falling:
        np.negative(result.frames, out=result.frames)
    if not result.is_subtracted.any():
        note = "The mask items of this run apply to none of its frames; it is shown unsubtracted."
        return replace(view, warnings=(*view.warnings, note))
    window = robust_window(result.frames[result.is_subtracted], name="subtracted")
    guesses = [
        Guess("subtraction", "+".join(sorted({item.operation for item in wanted})), _how(wanted, intensity)),
    ]
    left = np.flatnonzero(~result.is_subtracted)
    if len(left):
        _scale_to(window, result.frames, left)
        numbers_ = ", ".join(str(index + 1) for index in left[:8]) + ("…" if len(left) > 8 else "")
        guesses.append(Guess("unsubtracted frames", numbers_, "no mask item subtracts them"))
    kept = tuple(guess for guess in view.guesses if guess.what != "window")
    return replace(
        view,
        pixels=result.frames,
        native=view.pixels,
        subtracted=True,
        window=window,
        windows=(window,),
        guesses=(*kept, *guesses),
        pixel_hash="",
    )


def _how(wanted: list[MaskItem], intensity: Intensity) -> str:
    """One phrase about the masks and the space of the subtraction."""
    masks = sorted({frame for item in wanted for frame in item.mask_frames})
    named = f"mask frame {', '.join(map(str, masks))}; " if masks else ""
    space = {
        Intensity.LINEAR: "linear pixels, logged first",
        Intensity.LOGARITHMIC: "logarithmic pixels",
        Intensity.DISPLAY: "pixels for display, subtracted as they are",
    }[intensity]
    return f"Mask Subtraction Sequence: {named}{space}"


def _scale_to(window: DisplayWindow, frames: NDArray[Any], indices: NDArray[Any]) -> None:
    """Bring unsubtracted frames into the grey range of the subtracted ones, in place."""
    own = robust_window(frames[indices])
    scale = (window.high - window.low) / (own.high - own.low)
    frames[indices] = (frames[indices] - own.low) * scale + window.low


def mask_items(dataset: Dataset) -> list[MaskItem]:
    """The items of the Mask Subtraction Sequence that can be understood, in file order."""
    found = []
    for item in items(dataset, "MaskSubtractionSequence"):
        try:
            operation = Operation(text(item, "MaskOperation").upper())
        except ValueError:
            continue
        ranges = [int(frame) for frame in numbers(item, "ApplicableFrameRange")]
        shift = numbers(item, "MaskSubPixelShift")
        found.append(
            MaskItem(
                operation=operation,
                mask_frames=tuple(int(frame) for frame in numbers(item, "MaskFrameNumbers")),
                ranges=tuple(zip(ranges[::2], ranges[1::2], strict=False)),
                averaging=max(integer(item, "ContrastFrameAveraging", 1), 1),
                shift=(shift[0], shift[1]) if len(shift) == 2 else (0.0, 0.0),
                tid_offset=integer(item, "TIDOffset", 1),
            )
        )
    return found


def intensity_of(dataset: Dataset) -> Intensity:
    """Pixel Intensity Relationship; DISP where it is not given."""
    try:
        return Intensity(text(dataset, "PixelIntensityRelationship").upper())
    except ValueError:
        return Intensity.DISPLAY


def falls_with_intensity(dataset: Dataset) -> bool:
    """Whether grey values, MONOCHROME1 turned over, fall where more X-rays arrive (0028,1041)."""
    sign = number(dataset, "PixelIntensityRelationshipSign")
    return sign is not None and (sign < 0) != is_inverse(dataset)


def _with_guess(view: View, guess: Guess) -> View:
    return replace(view, guesses=(*view.guesses, guess))
