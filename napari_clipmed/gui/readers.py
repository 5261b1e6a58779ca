"""napari's reader: DICOM files and the folder of an examination, side by side at once.

What is dropped on a window at work goes to its session, which reads off the GUI thread and shows the first
picture while the rest arrives. napari hands several dropped files over one by one; they are gathered, so that
AP and LA dropped as two files are one study. A script that opens a file before the window runs gets layers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import napari

LayerData = tuple[Any, dict[str, Any], str]

NO_LAYERS: list[Any] = [(None,)]
"""What a reader answers when it has dealt with the file and napari has nothing to add."""

GATHER_MS = 100
"""A drop is whole when no further file came for so long; napari lets events pass between two files."""

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

    viewer = _window_at_work()
    if viewer is not None:
        _hand_over(viewer, path if isinstance(path, list) else [path])
        return NO_LAYERS
    return study_layers(open_study([Path(one) for one in path] if isinstance(path, list) else Path(path)))


_dropped: WeakKeyDictionary[napari.Viewer, list[str]] = WeakKeyDictionary()
"""Paths of one drop, until all of them have been handed over."""


def _window_at_work() -> napari.Viewer | None:
    """The viewer of the window in use; None without one, and in a script whose window does not run yet."""
    if "qtpy" not in sys.modules:
        return None
    import napari
    from qtpy.QtCore import QThread
    from qtpy.QtWidgets import QApplication

    application, here = QApplication.instance(), QThread.currentThread()
    if application is None or here is not application.thread() or here.loopLevel() == 0:
        return None
    viewer = napari.current_viewer()
    return viewer if getattr(viewer, "window", None) is not None else None


def _hand_over(viewer: napari.Viewer, paths: list[str]) -> None:
    """Give a path to the session of a window, together with the others of the same drop."""
    from qtpy.QtCore import QTimer

    gathered = _dropped.setdefault(viewer, [])
    gathered.extend(paths)
    so_far = len(gathered)
    QTimer.singleShot(GATHER_MS, lambda: _open_dropped(viewer, so_far))


def _open_dropped(viewer: napari.Viewer, so_far: int) -> None:
    """Open what was dropped, with the Study dock beside, where progress and faults are told."""
    if len(_dropped.get(viewer, ())) != so_far:
        return  # another file of the drop came since
    from napari_clipmed.gui.commands import show_study_dock
    from napari_clipmed.gui.session import session_for

    paths = _dropped.pop(viewer)
    show_study_dock(viewer)
    session_for(viewer).open_paths(paths)


def study_layers(study: Any) -> list[LayerData]:
    """A study as napari layer tuples, already hung side by side."""
    from napari_clipmed.gui.layers import STUDY, image_layer, place_views
    from napari_clipmed.study import view_names

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
