"""Menu commands of the manifest, and the window with everything in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari

    from napari_clipmed.gui.study_dock import StudyDock

PLUGIN = "napari-clipmed"
DOCKS = ("Study", "Measure", "Diagnosis", "Segment", "Worklist", "Fine-tune")
"""Display names in the manifest, in the order of the tabs."""


def open_files(viewer: napari.Viewer) -> None:
    """Ask for runs or films and open them, with the Study dock beside."""
    show_study_dock(viewer).ask_files()


def open_folder(viewer: napari.Viewer) -> None:
    """Ask for the folder of an examination and open it, with the Study dock beside."""
    show_study_dock(viewer).ask_folder()


def open_archive(viewer: napari.Viewer) -> None:
    """Open the dialog of the hospital's archive, with the Study dock beside."""
    from napari_clipmed.gui.pacs_dialog import PacsButton

    button = show_study_dock(viewer).findChild(PacsButton)
    if button is not None:
        button.show_dialog()


def add_docks(viewer: napari.Viewer) -> dict[str, object]:
    """Put all docks as tabs on the right and the time strip under the image, Study in front.

    Returns
    -------
    dict of str to widget
        By display name.
    """
    from qtpy.QtCore import QTimer

    from napari_clipmed.gui.playback import ensure_strip
    from napari_clipmed.gui.rehearsal import rehearse
    from napari_clipmed.gui.session import session_for

    docks: dict[str, object] = {}
    first = None
    for name in DOCKS:
        dock, docks[name] = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
        first = first or dock
    ensure_strip(viewer)
    if first is not None:
        QTimer.singleShot(0, first.raise_)  # tabs order themselves only when the window is drawn
    session_for(viewer).turns.run(rehearse(viewer))
    return docks


def show_study_dock(viewer: napari.Viewer) -> StudyDock:
    """The Study dock of a window, opened where it is not."""
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS[0])
    return dock
