"""Export what is shown: a menu in the Study dock, a worker, and a sentence when it is done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.export_results import ResultsMenu
from napari_clipmed.gui.theme import RESEARCH_USE, named
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.export.look import Look
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.study import Study, View

EXPORT_KEY = "export"
"""Key of the job that writes files; a newer one supersedes it."""

ENTRIES = {
    "frames": "Frames as PNG pictures …",
    "stack": "Values as TIFF stack …",
    "film": "Film as MP4 …",
    "maps": "Bolus maps with legend …",
}
"""Products of `export.products`, as a person reads them."""

FILES = {"stack": ("TIFF stack (*.tif)", ".tif"), "film": ("Film (*.mp4)", ".mp4")}
"""Products that are files; the others fill a folder."""


class ExportButton(QPushButton):
    """A button with a menu; hidden while no study is open.

    What is written is what is shown: the views subtracted or native as on the canvas, in the grey windows set
    there. The TIFF stack holds the values themselves.

    Parameters
    ----------
    session : ReviewSession
    tell_failure : callable
        Receives the `ClipmedError` of an export that failed.
    say : callable
        Receives the sentence about one that is done.
    """

    def __init__(
        self,
        session: ReviewSession,
        tell_failure: Callable[[ClipmedError], None],
        say: Callable[[str], None],
    ) -> None:
        super().__init__("Export …")
        named(self, "export")
        self.setToolTip("Write what is shown, or what was saved; without identity unless asked")
        self._session, self._tell_failure, self._say = session, tell_failure, say
        menu = QMenu(self)
        for product, title in ENTRIES.items():
            menu.addAction(title, partial(self.ask, product)).setObjectName(f"export_{product}")
        menu.addSeparator()
        menu.addMenu(ResultsMenu(session, tell_failure, say, menu))
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self._dress)
        self.setMenu(menu)
        session.study_changed.connect(lambda study: self.setVisible(study is not None))
        self.setVisible(session.study is not None)

    def ask(self, product: str) -> None:
        """Let the person choose where, then write there."""
        if product in FILES:
            kind, suffix = FILES[product]
            suggested = str(Path.home() / f"run{suffix}")
            chosen, _ = QFileDialog.getSaveFileName(self, ENTRIES[product], suggested, kind)
            path = Path(chosen).with_suffix(suffix) if chosen else None
        else:
            chosen = QFileDialog.getExistingDirectory(self, ENTRIES[product], str(Path.home()))
            path = Path(chosen) / product if chosen else None
        if path is not None:
            self.write(product, path)

    def write(self, product: str, path: Path) -> None:
        """Write a product of the open study off the GUI thread."""
        study = self._session.study
        if study is None:
            return
        values = product == "stack"
        looks = [self._look_of(index, as_it_is=values) for index in range(len(study.views))]
        native = self._session.showing_native
        # The dialog has asked whether to replace this very file, but not those with AP and LA in their names.
        replace = product in FILES and len(study.views) == 1

        def work(progress: Progress) -> str:
            from napari_clipmed.export.products import Product, write_product

            kind = Product(product)
            written, refusals = write_product(
                kind, study, _shown(study, native), path, looks, replace=replace, progress=progress
            )
            left_out = " ".join(refusal.message for refusal in refusals)
            count = f"{len(written)} files" if len(written) > 1 else written[0].name
            return f"Written to {written[0].parent}: {count}. {RESEARCH_USE}. {left_out}".strip()

        self._session.jobs.start(
            work,
            title=ENTRIES[product].removesuffix(" …"),
            on_done=self._say,
            on_error=self._tell_failure,
            key=EXPORT_KEY,
        )

    def _look_of(self, index: int, as_it_is: bool) -> Look:
        """The grey window that a view has on the canvas; none where values are wanted as they are."""
        from napari_clipmed.export.look import Look

        layer = self._session.image_layer(index)
        if layer is None or as_it_is:
            return Look()
        low, high = map(float, layer.contrast_limits)
        return Look(f"{low},{high}", inverted=str(layer.colormap.name).endswith("_r"))

    def _dress(self) -> None:
        """Say why maps cannot be made, where they cannot."""
        study = self._session.study
        run = study is not None and any(view.is_bolus_series for view in study.views)
        for action in self.menu().actions():
            if action.objectName() == "export_maps":
                action.setEnabled(run)
                action.setToolTip("" if run else "Maps need a run of several frames in one direction")


def _shown(study: Study, native: bool) -> list[tuple[str, View]]:
    """The views as they are shown, with names for files."""
    from napari_clipmed.export.look import as_native, named_views

    return [
        (name, as_native(view) if native and view.native is not None else view)
        for name, view in named_views(study)
    ]
