"""Which CLIP answers by sentences: those offered by name, a file, a folder, or any name of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QInputDialog,
    QMessageBox,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.settings import write_setting
from napari_clipmed.gui.theme import hint_label, named, say
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.errors import ClipmedError
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.models.backbone_list import KnownBackbone

BACKBONE = "backbone"
"""Key of its jobs."""

NONE_YET = "Choose a backbone …"
FILE, FOLDER, OTHER = "Checkpoint file …", "Folder (local-dir) …", "Another name …"
FILTER = "CLIP checkpoints (*.safetensors *.pt *.pth *.bin *.ckpt);;All files (*)"
NAME_HELP = (
    "RN50:openai, hf-hub:OWNER/NAME, NAME@FILE, local-dir:FOLDER.\n"
    "What is not on this computer is downloaded from the hub when it is first used."
)


class BackboneChooser(QWidget):
    """A list of backbones and a line about the chosen one; the choice is a preference.

    Attributes
    ----------
    chosen : Signal(str)
        Another specification.
    failed : Signal(object)
        The `ClipmedError` of a conversion.
    """

    chosen = Signal(str)
    failed = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._known: dict[str, tuple[KnownBackbone, bool]] = {}
        self._spec = session.settings.backbone
        self.list = named(QComboBox(), "backbone")
        self.list.setAccessibleName("Backbone")
        self.list.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.list.setMinimumContentsLength(10)
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.about = hint_label("", "backbone_about")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.list)
        column.addWidget(self.about)
        self.list.activated.connect(self._on_activated)
        self._fill()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Look what is offered when somebody looks here: this imports torch, which most sessions spare."""
        super().showEvent(event)
        if not self._known:
            self.refresh()

    @property
    def spec(self) -> str:
        """The chosen backbone; empty while there is none."""
        return self._spec

    def refresh(self) -> None:
        """Read what is offered, and whether it is on this computer."""
        self._session.jobs.start(
            _read_known,
            title="Read the backbones",
            on_done=self._list,
            on_error=self.failed.emit,
            key="backbones",
        )

    def choose(self, spec: str) -> None:
        """Take a specification that was typed, picked or offered."""
        spec = spec.strip()
        if spec and spec != self._spec:
            self._spec = spec
            write_setting("backbone", spec)
            self._fill()
            self.chosen.emit(spec)
        else:
            self._fill()

    # -- inside -------------------------------------------------------------------------------------------

    def _list(self, known: Sequence[tuple[KnownBackbone, bool]]) -> None:
        self._known = {entry.spec: (entry, here) for entry, here in known}
        self._fill()

    def _fill(self) -> None:
        self.list.clear()
        if not self._spec:
            self.list.addItem(NONE_YET, "")
        elif self._spec not in self._known:
            self.list.addItem(_short(self._spec), self._spec)
            self.list.setItemData(0, self._spec, Qt.ItemDataRole.ToolTipRole)
        for entry, here in self._known.values():
            self.list.addItem(entry.title, entry.spec)
            at = self.list.count() - 1
            self.list.setItemData(at, f"{entry.spec}\n{entry.describe(here)}", Qt.ItemDataRole.ToolTipRole)
        self.list.insertSeparator(self.list.count())
        for text in (FILE, FOLDER, OTHER):
            self.list.addItem(text, text)
        self.list.setCurrentIndex(max(0, self.list.findData(self._spec)))
        known = self._known.get(self._spec)
        say(self.about, known[0].describe(known[1]) if known is not None else "")

    def _on_activated(self, index: int) -> None:
        asked = str(self.list.itemData(index) or "")
        if asked == FILE:
            self._pick_file()
        elif asked == FOLDER:
            found = QFileDialog.getExistingDirectory(
                self, "Folder with open_clip_config.json", str(Path.home())
            )
            self.choose(f"local-dir:{found}" if found else "")
        elif asked == OTHER:
            typed, agreed = QInputDialog.getText(self, "Backbone", NAME_HELP)
            self.choose(typed if agreed else "")
        else:
            self.choose(asked)

    def _pick_file(self) -> None:
        """Take a file as it is; a program only after the person was told and agreed."""
        found, _ = QFileDialog.getOpenFileName(self, "CLIP checkpoint", str(Path.home()), FILTER)
        self._fill()
        if not found:
            return
        path = Path(found)

        def look(progress: Progress) -> bool:
            from napari_clipmed.models.backbone_source import converted_folder
            from napari_clipmed.models.checkpoints import format_of

            return format_of(path) == "archive" and not converted_folder(path).is_dir()

        def looked(must_ask: bool) -> None:
            if not must_ask:
                self.choose(found)
            elif self._agrees(path):
                self._convert(path)

        self._start(look, looked, "Look at the checkpoint")

    def _agrees(self, path: Path) -> bool:
        from napari_clipmed.models.archive_words import RISK

        answer = QMessageBox.question(
            self, f"Open {path.name}?", RISK, QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )  # fmt: skip
        return answer == QMessageBox.StandardButton.Yes

    def _convert(self, path: Path) -> None:
        def work(progress: Progress) -> Path:
            from napari_clipmed.models.archive_conversion import convert_archive

            return convert_archive(path, trusted=True, progress=progress)

        self._start(work, lambda folder: self.choose(f"local-dir:{folder}"), f"Convert {path.name}")

    def _start(self, work: object, done: object, title: str) -> None:
        def refused(error: ClipmedError) -> None:
            self.failed.emit(error)

        self._session.jobs.start(work, title=title, on_done=done, on_error=refused, key=BACKBONE)  # type: ignore[arg-type]


def _read_known(progress: Progress) -> list[tuple[KnownBackbone, bool]]:
    from napari_clipmed.gui.garbage import importing_much
    from napari_clipmed.gui.torch_guard import guard_torch_import

    guard_torch_import()
    with importing_much():
        from napari_clipmed.models.backbone_list import known_backbones
        from napari_clipmed.models.backbone_source import is_here

    return [(entry, is_here(entry.spec)) for entry in known_backbones()]


def _short(spec: str) -> str:
    """A specification without its folders, for a narrow list; the whole is in its tooltip."""
    head, mark, tail = spec.rpartition("@") if "@" in spec else spec.rpartition(":")
    is_path = "/" in tail or "\\" in tail
    return f"{head}{mark}{Path(tail).name}" if is_path and not spec.startswith("hf-hub:") else spec
