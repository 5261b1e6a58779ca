"""Legal DICOM for simulated runs and films: X-Ray Angiographic (PS3.3 A.14) and Digital X-Ray (A.26) images.

Written for phantoms and tests. Everything that identifies is an argument, so the same arguments give the same
file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    XRayAngiographicImageStorage,
    generate_uid,
)

from napari_clipmed.study import Intensity, MaskItem, MaskOperation, PatientIdentity

Compression = Literal["rle", "jpegls", "jpeg2000", "jpeglossless"]
Plane = Literal["SINGLE PLANE", "BIPLANE A", "BIPLANE B"]

SYNTAXES: dict[Compression, UID] = {
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
    "jpeglossless": JPEGLosslessSV1,
}

ENCODERS: dict[Compression, str] = {"rle": "pylibjpeg", "jpegls": "pyjpegls", "jpeg2000": "pylibjpeg"}

VIEW_CODES: dict[str, Code] = {
    "PA": codes.CID4010.PosteroAnterior,
    "AP": codes.CID4010.AnteroPosterior,
    "LL": codes.CID4010.LeftLateral,
    "RL": codes.CID4010.RightLateral,
}


@dataclass(frozen=True)
class Uids:
    """The three identifiers of an instance."""

    study: str = field(default_factory=generate_uid)
    series: str = field(default_factory=generate_uid)
    sop: str = field(default_factory=generate_uid)

    @classmethod
    def seeded(cls, seed: object, study: str, instance: str = "") -> Uids:
        """The same identifiers for the same words; instances of one study share the study and series UIDs.

        Examples
        --------
        >>> ap, la = Uids.seeded(7, "case-1", "AP"), Uids.seeded(7, "case-1", "LA")
        >>> ap.study == la.study and ap.sop != la.sop
        True
        """
        words = ["napari-clipmed", str(seed), study]
        return cls(
            study=generate_uid(entropy_srcs=[*words, "study"]),
            series=generate_uid(entropy_srcs=[*words, "series"]),
            sop=generate_uid(entropy_srcs=[*words, "instance", instance]),
        )


def write_xa(
    path: str | Path,
    frames: NDArray[np.generic],
    *,
    timing_ms: float | Sequence[float],
    angles: tuple[float, float] | None = None,
    uids: Uids | None = None,
    patient: PatientIdentity | None = None,
    mask: MaskItem | Sequence[MaskItem] = (),
    viewing_mode: Literal["SUB", "NAT"] | None = None,
    intensity: Intensity = Intensity.LOGARITHMIC,
    bits_stored: int | None = None,
    imager_spacing_mm: tuple[float, float] | None = None,
    distances_mm: tuple[float, float] | None = None,
    plane: Plane = "SINGLE PLANE",
    partner_sop: str = "",
    acquired: datetime | None = None,
    window: tuple[float, float] | None = None,
    synthetic: bool = False,
    instance_number: int = 1,
    description: str = "",
    compress: Compression | None = None,
) -> Uids:
    """Write a multi-frame X-ray angiography run.

    Parameters
    ----------
    path : str or Path
        The file to write.
    frames : (T, H, W) uint8 or uint16 array
        Stored values, bright where many X-rays arrive (MONOCHROME2).
    timing_ms : float or sequence of T floats
        The constant frame time, or the time of each frame from the first (written as Frame Time Vector).
    angles : (float, float), optional
        Positioner primary (0 frontal, +90 patient's left) and secondary (+ cranial) angle in degrees.
    uids : Uids, optional
        Random where absent.
    mask : MaskItem or sequence of MaskItem
        Written as Mask Subtraction Sequence; numbers count from 1.
    viewing_mode : {"SUB", "NAT"}, optional
        Recommended Viewing Mode; SUB where absent and a mask is given.
    imager_spacing_mm, distances_mm
        Row and column spacing at the detector; distances source–detector and source–patient.
    plane, partner_sop
        Image Type value 3, and the SOP Instance UID of the other plane (BIPLANE requires it).
    acquired : datetime, optional
        Date and time of study and acquisition; left empty where absent.
    window : (float, float), optional
        Window centre and width in stored values.
    compress : {"rle", "jpegls", "jpeg2000", "jpeglossless"}, optional
        A lossless compression; explicit little endian where absent.

    Returns
    -------
    Uids
        The identifiers that were written.
    """
    if frames.ndim != 3:
        raise ValueError(f"frames must be (T, H, W), not of shape {frames.shape}")
    if plane != "SINGLE PLANE" and not partner_sop:
        raise ValueError("A biplane image must name its partner (Referenced Image Sequence)")
    uids = uids or Uids()
    items = (mask,) if isinstance(mask, MaskItem) else tuple(mask)
    dataset = _common(XRayAngiographicImageStorage, "XA", uids, patient, acquired, synthetic)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", plane]
    dataset.SeriesDescription = description
    dataset.InstanceNumber = instance_number
    dataset.AcquisitionNumber = instance_number
    _pixel_module(dataset, frames, bits_stored)
    _cine_module(dataset, len(frames), timing_ms)
    _xray_modules(dataset, angles, imager_spacing_mm, distances_mm, intensity)
    if items:
        dataset.MaskSubtractionSequence = [_mask_dataset(item) for item in items]
        dataset.RecommendedViewingMode = viewing_mode or "SUB"
    elif viewing_mode:
        dataset.RecommendedViewingMode = viewing_mode
    if partner_sop:
        dataset.ReferencedImageSequence = [_reference(dataset.SOPClassUID, partner_sop)]
    if window:
        dataset.WindowCenter, dataset.WindowWidth = window
    _save(dataset, Path(path), frames, compress)
    return uids


def write_dx(
    path: str | Path,
    image: NDArray[np.generic],
    *,
    uids: Uids | None = None,
    patient: PatientIdentity | None = None,
    view_position: Literal["PA", "AP", "LL", "RL"] = "PA",
    spacing_mm: tuple[float, float] = (0.14, 0.14),
    bits_stored: int | None = None,
    window: tuple[float, float] | None = None,
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2",
    acquired: datetime | None = None,
    synthetic: bool = False,
    description: str = "",
    compress: Compression | None = None,
) -> Uids:
    """Write a chest film as Digital X-Ray Image, For Presentation.

    Parameters
    ----------
    path : str or Path
        The file to write.
    image : (H, W) uint8 or uint16 array
        Stored values; bright is bright for MONOCHROME2, dark for MONOCHROME1.
    spacing_mm : (float, float)
        Imager Pixel Spacing, rows and columns, at the detector.
    window : (float, float), optional
        Window centre and width; the whole range of the stored bits where absent.

    Returns
    -------
    Uids
        The identifiers that were written. The other parameters are those of `write_xa`.
    """
    if image.ndim != 2:
        raise ValueError(f"image must be (H, W), not of shape {image.shape}")
    uids = uids or Uids()
    dataset = _common(DigitalXRayImageStorageForPresentation, "DX", uids, patient, acquired, synthetic)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SeriesDescription = description
    dataset.InstanceNumber = 1
    _pixel_module(dataset, image[None], bits_stored)
    dataset.PhotometricInterpretation = photometric
    dataset.PresentationLUTShape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    # High values are bright bone: the grey falls as the X-ray intensity grows, unless stored inverted.
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1 if photometric == "MONOCHROME2" else 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    full = 2 ** int(dataset.BitsStored)
    dataset.WindowCenter, dataset.WindowWidth = window or (full / 2, full)
    dataset.ImagerPixelSpacing = list(spacing_mm)
    dataset.DetectorType = ""
    dataset.PositionerType = ""
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = view_position
    dataset.ImageLaterality = "U"
    frontal = view_position in ("PA", "AP")
    dataset.PatientOrientation = ["L", "F"] if frontal else ["A", "F"]
    dataset.AnatomicRegionSequence = [_code(codes.SCT.Chest)]
    view = _code(VIEW_CODES[view_position])
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]
    dataset.AcquisitionContextSequence = []
    _save(dataset, Path(path), image[None], compress)
    return uids


def _common(
    sop_class: UID,
    modality: str,
    uids: Uids,
    patient: PatientIdentity | None,
    acquired: datetime | None,
    synthetic: bool,
) -> Dataset:
    """Patient, study, series, equipment, general image and SOP common modules."""
    patient = patient or PatientIdentity()
    date = acquired.strftime("%Y%m%d") if acquired else ""
    time = acquired.strftime("%H%M%S.%f") if acquired else ""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uids.sop
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids.study, uids.series
    dataset.PatientName, dataset.PatientID = patient.name, patient.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, patient.sex
    dataset.StudyDate, dataset.StudyTime = patient.study_date or date, time
    dataset.AcquisitionDate, dataset.AcquisitionTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality = modality
    dataset.SeriesNumber = 1
    dataset.Manufacturer = "napari-clipmed"
    if synthetic:
        dataset.SyntheticData = "YES"
        dataset.ImageComments = "Simulated, not a patient"
    return dataset


def _pixel_module(dataset: Dataset, frames: NDArray[np.generic], bits_stored: int | None) -> None:
    """Image pixel module (PS3.3 C.7.6.3) of unsigned grey frames."""
    if frames.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"frames must be uint8 or uint16, not {frames.dtype}")
    allocated = 8 * frames.dtype.itemsize
    needed = max(int(frames.max()).bit_length(), 1)
    # Angiographs store 8, 10, 12 or 16 bits; the smallest that holds the run is the honest default.
    stored = bits_stored or next(bits for bits in (8, 10, 12, 16) if needed <= bits and bits >= allocated - 8)
    if not needed <= stored <= allocated:
        raise ValueError(f"The values need {needed} bits; {stored} of {allocated} were asked for")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.PixelRepresentation = 0


def _cine_module(dataset: Dataset, count: int, timing_ms: float | Sequence[float]) -> None:
    """Multi-frame and cine modules (PS3.3 C.7.6.5, C.7.6.6)."""
    dataset.NumberOfFrames = count
    if isinstance(timing_ms, int | float):
        dataset.FrameTime = float(timing_ms)
        dataset.FrameIncrementPointer = 0x00181063
        dataset.CineRate = max(round(1000 / timing_ms), 1)
        return
    if len(timing_ms) != count:
        raise ValueError(f"{len(timing_ms)} times for {count} frames")
    # The vector holds the steps, each from the frame before; its first value is 0.
    dataset.FrameTimeVector = [round(float(step), 3) for step in np.diff(timing_ms, prepend=timing_ms[0])]
    dataset.FrameIncrementPointer = 0x00181065


def _xray_modules(
    dataset: Dataset,
    angles: tuple[float, float] | None,
    imager_spacing_mm: tuple[float, float] | None,
    distances_mm: tuple[float, float] | None,
    intensity: Intensity,
) -> None:
    """X-ray image, X-ray acquisition, XA positioner and contrast modules (PS3.3 C.8.7)."""
    dataset.PixelIntensityRelationship = intensity.value
    if intensity is Intensity.LOGARITHMIC:
        dataset.ModalityLUTSequence = [_exponential_lut(int(dataset.BitsStored))]
    dataset.LossyImageCompression = "00"
    dataset.PatientOrientation = ""
    dataset.BodyPartExamined = "HEAD"
    dataset.ContrastBolusAgent = ""
    dataset.KVP = dataset.XRayTubeCurrent = dataset.ExposureTime = None
    dataset.RadiationSetting = "GR"
    dataset.PositionerMotion = "STATIC"
    primary, secondary = angles if angles is not None else (None, None)
    dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = primary, secondary
    if imager_spacing_mm:
        dataset.ImagerPixelSpacing = list(imager_spacing_mm)
    if distances_mm:
        dataset.DistanceSourceToDetector, dataset.DistanceSourceToPatient = distances_mm


def _mask_dataset(item: MaskItem) -> Dataset:
    """One item of the Mask Subtraction Sequence (PS3.3 C.7.6.10)."""
    dataset = Dataset()
    dataset.MaskOperation = item.operation.value
    if item.ranges:
        dataset.ApplicableFrameRange = [number for pair in item.ranges for number in pair]
    if item.operation is MaskOperation.AVG_SUB:
        dataset.MaskFrameNumbers = list(item.mask_frames)
        dataset.ContrastFrameAveraging = item.averaging
    elif item.operation is not MaskOperation.NONE:
        dataset.TIDOffset = item.tid_offset
    if any(item.shift):
        dataset.MaskSubPixelShift = list(item.shift)
    return dataset


def _exponential_lut(bits: int) -> Dataset:
    """Modality LUT from LOG back to the beam intensity (A.14.3 requires it): log2(1 + I) is linear in P."""
    entries = 2**bits
    intensity = np.exp2(np.linspace(0, 16, entries)) - 1
    dataset = Dataset()
    dataset.LUTDescriptor = [entries % 65536, 0, 16]
    dataset["LUTDescriptor"].VR = "US"
    dataset.ModalityLUTType = "US"
    dataset.LUTData = np.round(intensity).astype("<u2").tobytes()
    dataset["LUTData"].VR = "OW"
    return dataset


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    """A reference to the other plane."""
    dataset = Dataset()
    dataset.ReferencedSOPClassUID, dataset.ReferencedSOPInstanceUID = sop_class, sop_instance
    dataset.PurposeOfReferenceCodeSequence = [_code(codes.DCM.OtherImageOfBiplanePair)]
    return dataset


def _code(code: Code) -> Dataset:
    """A code sequence item."""
    dataset = Dataset()
    dataset.CodeValue = code.value
    dataset.CodingSchemeDesignator = code.scheme_designator
    dataset.CodeMeaning = code.meaning
    return dataset


def _save(dataset: Dataset, path: Path, frames: NDArray[np.generic], compress: Compression | None) -> None:
    """Attach the pixels, compressed where asked, and write the file."""
    syntax = SYNTAXES[compress] if compress else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    little_endian = np.ascontiguousarray(frames, dtype=frames.dtype.newbyteorder("<"))
    raw = little_endian.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    if syntax == JPEGLosslessSV1:
        _compress_jpeg_lossless(dataset, little_endian)
    elif compress:
        dataset.compress(syntax, encoding_plugin=ENCODERS[compress], generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _compress_jpeg_lossless(dataset: Dataset, frames: NDArray[Any]) -> None:
    """JPEG lossless, first-order prediction: what angiographs write, and what pydicom has no encoder for."""
    bits = max(int(dataset.BitsStored), 8 * (frames.itemsize - 1) + 1)  # the encoder wants more than 8 of 16
    streams = [
        bytes(imagecodecs.jpeg_encode(frame, lossless=True, predictor=1, bitspersample=bits))
        for frame in frames
    ]
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
