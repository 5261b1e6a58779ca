"""What a person saw as DICOM Secondary Capture: frames with heat or outlines, and words in their pixels.

A run makes a multi-frame true colour capture (PS3.3 A.8.5), a film a single one (A.8.1). Any viewer shows
them, so "AI saliency, research use only" and SIMULATED are burned in and cannot be switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import shown
from napari_clipmed.export.overlay import heat_on, mask_on
from napari_clipmed.export.stamp import RESEARCH_USE, captioned, stamped
from napari_clipmed.inference.results import Diagnosis, Saliency
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.outputs.annotations import Segment, newest, views_with_masks
from napari_clipmed.outputs.sources import (
    ALWAYS_THERE,
    EXAMINATION,
    PATIENT,
    SourceImage,
    equipment,
    finish,
    finish_image,
    mode_word,
    series_words,
    sources_of,
    uid_of,
)
from napari_clipmed.records import Store
from napari_clipmed.study import Study, View

SERIES_NUMBER = 971
SMALLEST_SIDE = 256
"""Pixels; smaller pictures are enlarged by a whole factor, or the burned-in words could not be read."""

FRAME_TIME_VECTOR, PAGE_NUMBER_VECTOR = 0x00181065, 0x00182001


@dataclass(frozen=True, eq=False)
class Overlay:
    """Frames of one view as they were seen.

    Parameters
    ----------
    pictures : (N, H, W, 3) uint8 array
        With their words burned in.
    frames : tuple of int
        Index of the frame of each.
    what : str
        "AI saliency", for the series.
    derivation : str
        How they were made.
    """

    pictures: NDArray[np.uint8]
    frames: tuple[int, ...]
    what: str
    derivation: str


def mask_captures(store: Store, case: str, study: Study, *, with_identity: bool = False) -> list[Dataset]:
    """The frames that have masks, with their outlines, as one capture a view.

    Parameters
    ----------
    store, case, study, with_identity
        As for `segmentation.segmentations_of`.

    Raises
    ------
    ClipmedError
        When no mask holds, or the source is no DICOM image.
    """
    return [
        capture_of(
            outlines(segments, source.view, study.synthetic),
            source,
            study,
            newest([revision for segment in segments for revision in segment.revisions]),
        )
        for source, segments in views_with_masks(store, case, study, with_identity)
    ]


def saliency_captures(
    study: Study, diagnosis: Diagnosis, saliency: Saliency, moment: datetime, *, with_identity: bool = False
) -> list[Dataset]:
    """The frames that the model looked at, with their activation maps, as one capture a view.

    Parameters
    ----------
    diagnosis, saliency
        Of this study.
    moment : datetime
        When the model answered.
    """
    sources = sources_of(study, with_identity)
    return [
        capture_of(heat(study, diagnosis, saliency, name), sources[diagnosis.view_index[name]], study, moment)
        for name in saliency.maps
    ]


def outlines(segments: Sequence[Segment], view: View, synthetic: bool) -> Overlay:
    """Frames with the outlines of their masks."""
    drawn: dict[int, NDArray[np.bool_]] = {}
    for segment in segments:
        for frame, mask in zip(segment.frames, segment.masks, strict=True):
            drawn[frame] = drawn[frame] | mask if frame in drawn else mask
    helped = any(segment.by_model for segment in segments)
    what = "AI-assisted masks" if helped else "Masks drawn by hand"
    names = ", ".join(segment.name for segment in segments)
    frames = tuple(sorted(drawn))
    pictures = [
        _worded(mask_on(_grey(view, frame), drawn[frame]), [f"{what}, research use only", names], synthetic)
        for frame in frames
    ]
    models = sorted({s.by_model.model_id for s in segments if s.by_model})
    by = f" of {', '.join(models)}, judged by a reader" if models else ""
    return Overlay(np.stack(pictures), frames, what, f"Outlines of masks{by}. {RESEARCH_USE}")


def heat(study: Study, diagnosis: Diagnosis, saliency: Saliency, name: str) -> Overlay:
    """Frames of a view with their activation maps."""
    view = study.views[diagnosis.view_index[name]]
    probability = diagnosis.combined[saliency.label]
    lines = [
        "AI saliency, research use only",
        f"{saliency.label} {probability:.2f}, {saliency.method}, {diagnosis.model_id}",
    ]
    certainty = diagnosis.certainty
    if not certainty.certain:
        lines.insert(1, certainty.headline())
    frames = tuple(int(frame) for frame in saliency.frames[name])
    box = saliency.boxes[name]
    pictures = [
        _worded(heat_on(_grey(view, frame), level, box), lines, study.synthetic)
        for frame, level in zip(frames, saliency.maps[name], strict=True)
    ]
    how = f"AI saliency: {saliency.method} of class {saliency.label} by {diagnosis.model_id}"
    version = f" ({diagnosis.model_version})" if diagnosis.model_version else ""
    return Overlay(np.stack(pictures), frames, "AI saliency", f"{how}{version}. {RESEARCH_USE}")


@quiet_pydicom
def capture_of(overlay: Overlay, source: SourceImage, study: Study, moment: datetime) -> Dataset:
    """An overlay as DICOM Secondary Capture, with file meta information."""
    run = source.frame_numbers_matter
    words = (source.header.SOPInstanceUID, "sc", overlay.what, mode_word(source.with_identity))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = (
        MultiFrameTrueColorSecondaryCaptureImageStorage if run else SecondaryCaptureImageStorage
    )
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    content = sha256(overlay.pictures.tobytes()).hexdigest()
    dataset.SOPInstanceUID = uid_of(*words, content, moment.timestamp(), overlay.derivation)
    dataset.SeriesInstanceUID = uid_of(*words, "series")
    dataset.StudyInstanceUID = source.header.StudyInstanceUID
    for keyword in (*PATIENT, *EXAMINATION):
        if keyword in source.header or keyword in ALWAYS_THERE:
            setattr(dataset, keyword, source.header.get(keyword, ""))
    made_by = equipment()
    dataset.Manufacturer, dataset.ManufacturerModelName = (
        made_by["manufacturer"],
        made_by["manufacturer_model_name"],
    )
    dataset.SoftwareVersions = made_by["software_versions"]
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    dataset.SeriesDescription = series_words(overlay.what, study.synthetic)
    dataset.SeriesNumber, dataset.InstanceNumber = SERIES_NUMBER + source.view_index, 1
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = overlay.derivation
    dataset.SourceImageSequence = [_reference(source, overlay.frames if run else ())]
    # A picture may show a name unless its source says that it does not, or there is no patient.
    dataset.BurnedInAnnotation = source.burned_in or ("NO" if study.synthetic else "YES")
    dataset.LossyImageCompression = source.header.LossyImageCompression
    _enter_pixels(dataset, overlay.pictures)
    if run:
        _enter_frames(dataset, overlay.frames, source.view)
    finish(dataset, source, moment)
    finish_image(dataset, source, study)
    dataset.Laterality = ""  # asked for where nothing says that the body part is not one of a pair
    if study.synthetic:
        dataset.SyntheticData = "YES"
    return dataset


def check_capture(content: bytes | Dataset, wanted: Dataset) -> None:
    """Read a capture back and compare its pixels with what was meant.

    Raises
    ------
    ClipmedError
    """
    read = content if isinstance(content, Dataset) else dcmread(BytesIO(content))
    if not np.array_equal(read.pixel_array, wanted.pixel_array):
        raise ClipmedError("The capture does not read back; it was not kept.", "Please report this.")


def _grey(view: View, frame: int) -> NDArray[np.uint8]:
    return shown(view, view.pixels[frame], view.window)


def _worded(picture: NDArray[np.uint8], lines: Sequence[str], synthetic: bool) -> NDArray[np.uint8]:
    factor = -(-SMALLEST_SIDE // min(picture.shape[:2]))
    large = picture.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture
    return captioned(np.asarray(stamped(large, synthetic)), lines)


def _reference(source: SourceImage, frames: Sequence[int]) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.header.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.header.SOPInstanceUID
    if frames:
        reference.ReferencedFrameNumber = [frame + 1 for frame in frames]
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        purpose.value,
        purpose.scheme_designator,
        purpose.meaning,
    )
    reference.PurposeOfReferenceCodeSequence = [code]
    return reference


def _enter_pixels(dataset: Dataset, pictures: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = pictures.shape[1:3]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    raw = pictures.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _enter_frames(dataset: Dataset, frames: Sequence[int], view: View) -> None:
    """When each frame was taken, or, where nobody knows, its number."""
    dataset.NumberOfFrames = len(frames)
    if len(frames) == 1:
        return
    if view.timing.known:
        times = [float(view.timing.times_ms[frame]) for frame in frames]
        dataset.FrameIncrementPointer = FRAME_TIME_VECTOR
        dataset.FrameTimeVector = [round(float(step), 3) for step in np.diff(times, prepend=times[0])]
    else:
        dataset.FrameIncrementPointer = PAGE_NUMBER_VECTOR
        dataset.PageNumberVector = [frame + 1 for frame in frames]
