"""Masks as one COCO file: run lengths, boxes and categories, for detection and segmentation programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed import __version__
from napari_clipmed.outputs.annotations import UNNAMED, held_masks, no_masks
from napari_clipmed.outputs.mask_files import SHORT, about, describe, unlike, view_names
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.whole_files import whole_file


def write_coco(
    store: Store, cases: Iterable[str], path: Path, *, replace: bool = False, progress: Progress | None = None
) -> Path:
    """Write the masks that hold as COCO: an image a frame, an annotation a mask, a category a name.

    Masks are uncompressed run lengths, column by column, which pycocotools reads. A frame whose mask was
    erased is an image without annotations. ``file_name`` is where `export frames` puts the frame, under the
    id of the case.

    Raises
    ------
    ClipmedError
        When there are no masks, the file exists, or it does not read back.
    """
    progress = progress or Progress()
    content, masks = _content(store, list(cases), progress)
    if not content["images"]:
        raise no_masks()
    with whole_file(path, replace=replace) as unfinished:
        unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
        _check(json.loads(unfinished.read_text(encoding="utf-8")), masks, path)
    return path


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of 0 and 1 in turns, column by column, the first of 0 (perhaps none)."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def from_run_lengths(counts: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) mask of `run_lengths`."""
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def box_of(mask: NDArray[np.bool_]) -> list[int]:
    """Left, top, width and height of what is drawn."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


def _content(
    store: Store, cases: list[str], progress: Progress
) -> tuple[dict[str, Any], dict[int, NDArray[np.bool_]]]:
    images: dict[tuple[str, int, int], dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    masks: dict[int, NDArray[np.bool_]] = {}
    synthetic = False
    for done, case_id in enumerate(cases):
        progress.step("Gathering masks", done, len(cases))
        case = store.case(case_id)
        for revision in held_masks(store, case_id):
            synthetic |= case.synthetic
            index, frame = revision.view_index or 0, revision.frame or 0
            view, name = case.views[index], revision.name or UNNAMED
            category = categories.setdefault(name, len(categories) + 1)
            image = images.setdefault(
                (case_id, index, frame),
                {
                    "id": len(images) + 1,
                    "file_name": f"{case_id[:SHORT]}/{view_names(case)[index]}/{frame + 1:04d}.png",
                    "height": view.rows,
                    "width": view.columns,
                },
            )
            mask = store.read_mask(revision)
            said = describe(case, revision, mask)
            for key in ("case", "synthetic", "view", "sop_instance_uid", "frame_number"):
                image[key] = said[key]
            if not mask.any():
                continue
            number = len(annotations) + 1
            masks[number] = mask
            annotations.append(
                {
                    "id": number,
                    "image_id": image["id"],
                    "category_id": category,
                    "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                    "bbox": box_of(mask),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    **{
                        key: said[key]
                        for key in (
                            "prompt",
                            "verdict",
                            "projected_over",
                            "model_id",
                            "model_version",
                            "revision",
                        )  # fmt: skip
                    },
                }
            )
    content = {
        "info": {"description": about(synthetic), "version": __version__, "contributor": "napari-clipmed"},
        "licenses": [],
        "images": list(images.values()),
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": UNNAMED} for name, number in categories.items()
        ],
    }
    return content, masks


def _check(read: dict[str, Any], masks: dict[int, NDArray[np.bool_]], path: Path) -> None:
    found = {one["id"]: one["segmentation"] for one in read["annotations"]}
    for number, mask in masks.items():
        kept = found[number]
        if not np.array_equal(from_run_lengths(kept["counts"], tuple(kept["size"])), mask):
            raise unlike(path)
