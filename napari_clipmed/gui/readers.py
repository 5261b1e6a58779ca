"""napari's reader: DICOM files and the folder of an examination, side by side at once.

A dropped folder becomes one study; napari hands several dropped files over one by one, so AP and LA that are
dropped as two files are two studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]

LOOK_AT_MOST = 64
"""Files of a folder that are looked at before it is called foreign."""

SUFFIXES = {".dcm", ".ima", ".dicom"}
DICOM_PREFIX_AT = 128


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Say quickly whether a path is for us: a DICOM file, several, or a folder or archive holding some."""
    paths = [Path(one) for one in (path if isinstance(path, list) else [path])]
    if paths and all(_is_ours(one) for one in paths):
        return read_study
    return None


def read_study(path: str | list[str]) -> list[LayerData]:
    """Open a study for napari; a session takes it over as soon as one of our docks is open."""
    from napari_clipmed.io import open_study

    return study_layers(open_study([Path(one) for one in path] if isinstance(path, list) else Path(path)))


def study_layers(study: Any) -> list[LayerData]:
    """A study as napari layer tuples, already hung side by side."""
    from napari_clipmed.gui.layers import STUDY, image_layer, place_views, view_names

    names, placements = view_names(study), place_views(study)
    answer = []
    for index, view in enumerate(study.views):
        layer = image_layer(view, index, names[index], placements[index], study.image_hash)
        if index == 0:
            layer.metadata[STUDY] = study
        answer.append(layer.as_layer_data_tuple())
    return answer


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return any(looks_like_dicom(file) for file in islice(_files(path), LOOK_AT_MOST))
    if path.suffix.lower() == ".zip":
        from napari_clipmed.io.archives import holds_dicom

        return holds_dicom(path)
    return path.suffix.lower() in SUFFIXES or looks_like_dicom(path)


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder, then those of its folders: an examination is often a folder a view."""
    here = sorted(folder.iterdir())
    yield from (one for one in here if one.is_file())
    for inner in (one for one in here if one.is_dir() and not one.name.startswith(".")):
        yield from (one for one in sorted(inner.iterdir()) if one.is_file())


def looks_like_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM prefix (PS3.10, 7.1); reads 132 bytes."""
    try:
        with path.open("rb") as file:
            file.seek(DICOM_PREFIX_AT)
            return file.read(4) == b"DICM"
    except OSError:
        return False
