"""One DICOM file as one view: decode, grey, subtract, label."""

from __future__ import annotations

from dataclasses import replace

from pydicom import Dataset

from napari_clipmed.io.dicom_headers import DicomFile
from napari_clipmed.io.dicom_pixels import Decoded
from napari_clipmed.io.dicom_values import number, text
from napari_clipmed.io.enhanced import flattened
from napari_clipmed.io.geometry import (
    angiogram_projection,
    angles_of,
    calibration_of,
    film_projection,
    orientation_warnings,
)
from napari_clipmed.io.grey import ANGIOGRAPHY, to_grey
from napari_clipmed.io.mask_module import file_subtraction, log_table, recommended_subtraction
from napari_clipmed.io.run_decoder import decode
from napari_clipmed.io.shutters import Mask, overlays_of, shutter_of
from napari_clipmed.io.subtraction import flatness, has_bright_vessels, looks_subtracted, resubtracted
from napari_clipmed.io.timing import frame_timing, motion, timing_guess
from napari_clipmed.progress import Progress
from napari_clipmed.study import Guess, Kind, Overlay, Source, Topic, View

CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "RIB", "HEART")


def view_of(file: DicomFile, progress: Progress | None = None) -> View:
    """Decode a file and build its view.

    Raises
    ------
    UnreadableFileError
        When it holds no whole frame.
    """
    return view_from(file, decode(file, progress))


def view_from(file: DicomFile, decoded: Decoded, source_hash: str = "") -> View:
    """The view of a file whose frames are decoded.

    Parameters
    ----------
    source_hash : str
        Given for frames that are not all there yet, and so are not worth hashing.
    """
    name = file.path.name
    dataset = flattened(file.dataset)
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
        frame_windows=grey.frame_windows,
        source=source_of(file),
        angles=angles_of(dataset),
        motion=moving,
        shutter=shutter,
        shutter_level=level,
        overlays=overlays,
        guesses=tuple(guesses),
        warnings=(*notes, *time_notes, *overlay_notes, *orientation_warnings(dataset, name)),
        source_hash=source_hash,
    )
    return recommended(view, dataset) if angiogram else view


def _drawn_over(
    file: DicomFile, dataset: Dataset, shape: tuple[int, ...]
) -> tuple[tuple[Mask | None, float], tuple[tuple[Overlay, ...], tuple[str, ...]]]:
    """Shutter and overlays of a file, on the grid of its frames."""
    count, *size = shape
    native = b"" if file.pixels is None or file.pixels.encapsulated else file.pixels.read()
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
    offered = file_subtraction(dataset)
    view = replace(view, file_subtraction=offered, log_table=log_table(dataset))
    if recommended_subtraction(dataset) is not None:
        return resubtracted(view, offered)
    if offered.active:
        view = view.concluding(Guess(Topic.SUBTRACTION, "not applied", "Recommended Viewing Mode is NAT"))
    if not looks_subtracted(view.pixels):
        return view
    reason = f"{flatness(view.pixels):.0%} of the field is flat ground and no mask item applies"
    view = view.concluding(Guess(Topic.SUBTRACTION, "subtracted by the scanner", reason), subtracted=True)
    if has_bright_vessels(view.pixels):
        note = "The run looks subtracted with bright vessels; models expect dark vessels on a bright ground."
        view = replace(view, warnings=(*view.warnings, note))
    return view
