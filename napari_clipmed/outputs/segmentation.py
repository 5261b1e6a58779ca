"""Masks as DICOM Segmentation (PS3.3 A.51), frame by frame on the grid of their source.

highdicom 0.28.2 refuses every X-ray angiogram as source: it knows no image without a patient's coordinates
that has frames. So it builds the object from a one-frame twin of the header that calls itself a digital
X-ray, and the frames are entered here: each names the frame of the real image that it lies on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import DigitalXRayImageStorageForPresentation

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.stamp import RESEARCH_USE, SIMULATED
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.outputs.annotations import Segment, newest, views_with_masks
from napari_clipmed.outputs.code_book import segment_codes, side_of
from napari_clipmed.outputs.sources import (
    SourceImage,
    equipment,
    finish,
    finish_image,
    mode_word,
    series_words,
    uid_of,
)
from napari_clipmed.records import Revision, Store
from napari_clipmed.study import Study

TEMPORAL_POSITION_INDEX = Tag(0x0020, 0x9128)
FRAME_CONTENT_SEQUENCE = Tag(0x0020, 0x9111)
SERIES_NUMBER = 901
LONGEST_LABEL = 64


def segmentations_of(store: Store, case: str, study: Study, *, with_identity: bool = False) -> list[Dataset]:
    """The masks that hold now as DICOM SEG, one object for each view that has any.

    Parameters
    ----------
    store, case
        Whose masks; the case must be that of the study.
    study : Study
        Opened from its DICOM files.
    with_identity : bool
        Repeat the patient and study attributes of the source, as an archive needs it; else they stay empty.

    Returns
    -------
    list of Dataset
        With file meta information, ready to be saved or sent. Equal masks give equal UIDs.

    Raises
    ------
    ClipmedError
        When no mask holds, or the source is no DICOM image.
    """
    return [
        segmentation_of(segments, source, study)
        for source, segments in views_with_masks(store, case, study, with_identity)
    ]


@quiet_pydicom
def segmentation_of(segments: Sequence[Segment], source: SourceImage, study: Study) -> Dataset:
    """The masks of one view as DICOM SEG.

    Parameters
    ----------
    segments : sequence of Segment
        At least one; their masks are (H, W) on the grid of the source.
    """
    revisions = [revision for segment in segments for revision in segment.revisions]
    words = (source.header.SOPInstanceUID, "seg", mode_word(source.with_identity))
    rows, columns = source.view.pixels.shape[1:]
    author = next((r.author for r in sorted(revisions, key=lambda r: -r.id) if r.author), "")
    dataset = hd.seg.Segmentation(
        source_images=[_twin(source.header)],
        pixel_array=np.zeros((1, rows, columns, len(segments)), np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, segment, source, study) for number, segment in enumerate(segments, start=1)
        ],
        series_instance_uid=uid_of(*words, "series"),
        series_number=SERIES_NUMBER + source.view_index,
        sop_instance_uid=uid_of(*words, study.synthetic, *(r.uid for r in revisions)),
        instance_number=1,
        omit_empty_frames=False,
        content_label=SIMULATED if study.synthetic else "SEGMENTATION",
        content_description=RESEARCH_USE,
        content_creator_name=f"{author}^" if author else None,
        series_description=series_words("masks", study.synthetic),
        **equipment(),
    )
    _enter_frames(dataset, segments, source, uid_of(dataset.SOPInstanceUID, "dimensions"))
    finish(dataset, source, newest(revisions))
    finish_image(dataset, source, study)
    return dataset


def check_segmentation(content: bytes | Dataset, segments: Sequence[Segment], source: SourceImage) -> None:
    """Read a SEG with highdicom and compare every mask with the one of its source frame, bit for bit.

    Raises
    ------
    ClipmedError
        When one differs.
    """
    if isinstance(content, Dataset):
        stream = BytesIO()
        content.save_as(stream, enforce_file_format=True)
        content = stream.getvalue()
    read = hd.seg.segread(BytesIO(content))
    uid = source.header.SOPInstanceUID
    for number, segment in enumerate(segments, start=1):
        common: dict[str, Any] = {"segment_numbers": [number], "ignore_spatial_locations": True}
        if source.frame_numbers_matter:
            wanted = [frame + 1 for frame in segment.frames]
            found = read.get_pixels_by_source_frame(uid, wanted, **common)
        else:
            found = read.get_pixels_by_source_instance([uid], **common)
        if not np.array_equal(found[..., 0].astype(bool), np.stack(segment.masks)):
            raise ClipmedError(
                f"The segmentation does not read back as the mask {segment.name!r}; it was not kept.",
                "Please report this.",
            )


def _twin(header: Dataset) -> Dataset:
    """The header as that of a film of one frame."""
    twin = deepcopy(header)
    twin.SOPClassUID = DigitalXRayImageStorageForPresentation
    if "NumberOfFrames" in twin:
        del twin.NumberOfFrames
    return twin


def _description(
    number: int, segment: Segment, source: SourceImage, study: Study
) -> hd.seg.SegmentDescription:
    sentence = next((r for r in segment.revisions if r.prompt), segment.revisions[0])
    side = side_of(sentence.prompt, sentence.convention, source.rightwards)
    shown = segment_codes(study.kind, segment.name, sentence.prompt, side)
    model = segment.by_model
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:LONGEST_LABEL],
        segmented_property_category=shown.category,
        segmented_property_type=shown.property_type,
        algorithm_type="SEMIAUTOMATIC" if model else "MANUAL",
        algorithm_identification=_algorithm(model) if model else None,
        anatomic_regions=[shown.site] if shown.site else None,
        tracking_id=segment.name[:LONGEST_LABEL],
        tracking_uid=uid_of(source.header.SOPInstanceUID, "segment", segment.name),
    )
    said = [_said(revision) for revision in segment.revisions if revision.frame is not None]
    description.SegmentDescription = "; ".join(said)[:1024]
    return description


def _said(mask: Revision) -> str:
    """Verdict of a mask, and over which frames it is projected."""
    words = f"frame {(mask.frame or 0) + 1} {mask.verdict}"
    if mask.projected is None:
        return words
    first, last = mask.projected
    return f"{words}, projected over frames {first + 1} to {last + 1}"


def _algorithm(model: Revision) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=model.model_id[:LONGEST_LABEL],
        family=codes.cid7162.ArtificialIntelligence,
        version=model.model_version or "unknown",
    )


def _enter_frames(dataset: Dataset, segments: Sequence[Segment], source: SourceImage, uid: str) -> None:
    """Replace the empty frame of each segment by its masks, each bound to the frame of the source."""
    templates = list(dataset.PerFrameFunctionalGroupsSequence)
    place = {frame: n for n, frame in enumerate(sorted({f for s in segments for f in s.frames}), start=1)}
    frames, groups = [], []
    for number, (segment, template) in enumerate(zip(segments, templates, strict=True), start=1):
        for frame, mask in zip(segment.frames, segment.masks, strict=True):
            group = deepcopy(template)
            reference = group.DerivationImageSequence[0].SourceImageSequence[0]
            reference.ReferencedSOPClassUID = source.header.SOPClassUID
            content = group.FrameContentSequence[0]
            content.DimensionIndexValues = [number]
            if source.frame_numbers_matter:
                reference.ReferencedFrameNumber = frame + 1
                content.DimensionIndexValues = [number, place[frame]]
                content.TemporalPositionIndex = place[frame]
            groups.append(group)
            frames.append(mask)
    dataset.PerFrameFunctionalGroupsSequence = groups
    for series in dataset.ReferencedSeriesSequence:
        for instance in series.ReferencedInstanceSequence:
            instance.ReferencedSOPClassUID = source.header.SOPClassUID
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = _packed(frames)
    dataset.SegmentsOverlap = "YES" if _overlap(segments) else "NO"
    _name_dimensions(dataset, uid, source.frame_numbers_matter)


def _name_dimensions(dataset: Dataset, uid: str, in_time: bool) -> None:
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in dataset.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid
    if in_time:
        index = Dataset()
        index.DimensionOrganizationUID = uid
        index.DimensionIndexPointer = TEMPORAL_POSITION_INDEX
        index.FunctionalGroupPointer = FRAME_CONTENT_SEQUENCE
        index.DimensionDescriptionLabel = "Temporal Position Index"
        dataset.DimensionIndexSequence.append(index)


def _packed(masks: Sequence[NDArray[np.bool_]]) -> bytes:
    """Bits of all frames without a gap, the first one lowest (PS3.5 8.1.1), to an even number of bytes."""
    packed = np.packbits(np.concatenate([mask.ravel() for mask in masks]), bitorder="little").tobytes()
    return packed + b"\0" * (len(packed) % 2)


def _overlap(segments: Sequence[Segment]) -> bool:
    seen: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros((1, 1), bool))
    for segment in segments:
        for frame, mask in zip(segment.frames, segment.masks, strict=True):
            if (seen[frame] & mask).any():
                return True
            seen[frame] = seen[frame] | mask
    return False
