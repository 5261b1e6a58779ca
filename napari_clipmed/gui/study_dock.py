"""The Study dock: open, see what was understood, overrule it, choose what to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui import keys
from napari_clipmed.gui.export_menu import EXPORT_KEY, ExportButton
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.layers import Role
from napari_clipmed.gui.overrules_pane import OverrulesPane
from napari_clipmed.gui.pacs_dialog import PacsButton
from napari_clipmed.gui.playback import ensure_strip
from napari_clipmed.gui.records_banners import RecordsBanners
from napari_clipmed.gui.samples import SAMPLES, make_sample
from napari_clipmed.gui.session import OPEN_KEY, session_for
from napari_clipmed.gui.study_words import identity_line, warnings_of
from napari_clipmed.gui.subtraction_pane import SubtractionPane
from napari_clipmed.gui.theme import (
    DOCK_WIDTH,
    SPACING,
    banner,
    fill_dock,
    hint_label,
    named,
    say,
    section,
    wrapped_label,
)
from napari_clipmed.gui.view_card import ViewCard
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.workspace_menu import WorkspaceMenu
from napari_clipmed.study import Kind

if TYPE_CHECKING:
    import napari

    from napari_clipmed.study import Study

EMPTY = (
    "No study is open.\n\n"
    "Open a DICOM run, a folder with AP and LA, or a chest film; drop one onto the window; "
    "or try a simulated sample."
)
SIMULATED_WORDS = "SIMULATED: no patient. The truth is known."
FILTER = "Images (*.dcm *.ima *.dicom *.png *.jpg *.jpeg *.tif *.tiff *.zip DICOMDIR);;All files (*)"


class StudyDock(QWidget):
    """Study dock of one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose session is shown; the time strip is put under its image.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.session = session_for(viewer)
        self.setObjectName("study_dock")
        self.cards: list[ViewCard] = []
        self.failure = FailureNote()
        self.note = banner(kind="info", name="note")
        self.simulated = banner(kind="info", name="simulated")
        self.warnings = banner(kind="warning", name="warnings")
        self.empty = hint_label(EMPTY, "empty")
        self.shelf = named(QComboBox(), "shelf")
        self.title = wrapped_label(name="title")
        self.identity = wrapped_label(name="identity")
        self.conclusions = OverrulesPane(self.session)
        self.subtraction = SubtractionPane(self.session)
        self._build()
        self._connect()
        ensure_strip(viewer)
        self._on_study(self.session.study)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """A comfortable dock."""
        return QSize(340, 600)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Give the corners to the side docks: the time strip stays as wide as the image."""
        super().showEvent(event)
        window = self.window()
        if isinstance(window, QMainWindow):
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)

    def _build(self) -> None:
        self.title.setStyleSheet("font-weight: 600;")
        self.shelf.setToolTip("All studies of this folder")
        self.shelf.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.shelf.activated.connect(self.session.open_entry)
        self.cards_column = QVBoxLayout()
        self.views_box = section("Views", _holding(self.cards_column))
        self.subtraction_row = self._subtraction_buttons()
        self.look_box = section("Look", self._look_buttons(), self._drawn_buttons())
        self.subtraction_box = section("Subtraction", self.subtraction_row, self.subtraction)
        self.understood_box = section("How it was read", self.conclusions)
        fill_dock(
            self,
            self._open_buttons(),
            PacsButton(self.session),
            JobBar(self.session.jobs, [OPEN_KEY, EXPORT_KEY]),
            self.failure,
            self.note,
            self.empty,
            self.shelf,
            self.title,
            self.identity,
            self.simulated,
            self.warnings,
            RecordsBanners(self.session),
            section("Workspace", WorkspaceMenu(self.session)),
            self.look_box,
            self.subtraction_box,
            self.views_box,
            self.understood_box,
            ExportButton(self.session, self.failure.tell, partial(say, self.note)),
        )
        self.setMinimumWidth(DOCK_WIDTH[0])

    def _open_buttons(self) -> QWidget:
        self.open_file = _button(
            "Open file …", "open_file", "One run or film, or several files", self.ask_files
        )
        self.open_folder = _button(
            "Open folder …",
            "open_folder",
            "A folder with the AP and LA run of one examination",
            self.ask_folder,
        )
        self.samples = named(QPushButton("Samples"), "samples")
        self.samples.setToolTip("Simulated studies with known truth, and a simulated chest film")
        menu = QMenu(self.samples)
        for key, title in SAMPLES.items():
            menu.addAction(title, partial(self.open_sample, key))
        self.samples.setMenu(menu)
        return _row(self.open_file, self.open_folder, self.samples)

    def _look_buttons(self) -> QWidget:
        session = self.session
        self.frame_buttons = [
            _button("AP", "frame_0", "", lambda: session.frame_view(0)),
            _button("LA", "frame_1", "", lambda: session.frame_view(1)),
            _button(
                f"Both ({keys.spoken(keys.FRAME_BOTH)})", "frame_both", "", lambda: session.frame_view(None)
            ),
        ]
        return _row(*self.frame_buttons)

    def _drawn_buttons(self) -> QWidget:
        """Linked zoom, and what the file lays over its frames."""
        session = self.session
        self.linked_button = _button(
            f"Linked zoom ({keys.spoken(keys.LINK_ZOOM)})",
            "linked_zoom",
            "Each view in a pane of its own, moved and zoomed together",
            lambda: session.link_zoom(self.linked_button.isChecked()),
        )
        self.drawn_buttons = {
            role: _button(text, str(role), tip, partial(self._show_drawn, role))
            for role, text, tip in (
                (Role.SHUTTER, "Shutter", "Cover what the equipment's shutter hides"),
                (Role.GRAPHICS, "Graphics", "Show the overlay planes of the file"),
            )
        }
        for button in (self.linked_button, *self.drawn_buttons.values()):
            button.setCheckable(True)
        return _row(self.linked_button, *self.drawn_buttons.values())

    def _show_drawn(self, role: Role) -> None:
        self.session.show_layers(role, self.drawn_buttons[role].isChecked())

    def _subtraction_buttons(self) -> QWidget:
        self.subtracted = _button("Subtracted", "subtracted", "", lambda: self.session.show_native(False))
        self.unsubtracted = _button(
            f"Unsubtracted ({keys.spoken(keys.TOGGLE_NATIVE)})",
            "unsubtracted",
            "",
            lambda: self.session.show_native(True),
        )
        group = QButtonGroup(self)
        for button in (self.subtracted, self.unsubtracted):
            button.setCheckable(True)
            group.addButton(button)
        self.subtracted.setChecked(True)
        return _row(self.subtracted, self.unsubtracted)

    def _connect(self) -> None:
        session = self.session
        session.study_changed.connect(self._on_study)
        session.study_arriving.connect(self._on_arriving)
        session.native_changed.connect(self._on_native)
        session.subtraction_changed.connect(self._on_subtraction)
        session.linked_changed.connect(self.linked_button.setChecked)
        session.grey_changed.connect(self._show_grey)
        session.open_failed.connect(self.failure.tell)
        session.message.connect(lambda text: say(self.note, text))
        session.active_view_changed.connect(lambda name: say(self.note, ""))

    def open_sample(self, key: str) -> None:
        """Make (or find) a sample study off the GUI thread, then show it."""
        self.failure.clear()
        self.session.jobs.start(
            lambda progress: make_sample(key, progress),
            title=f"Prepare {SAMPLES[key]}",
            on_done=self.session.show_study,
            on_error=self.failure.tell,
            key=OPEN_KEY,
        )

    def ask_files(self) -> None:
        """Let the person choose runs or films."""
        paths, _ = QFileDialog.getOpenFileNames(self, "Open a run or a film", str(Path.home()), FILTER)
        self._open(paths)

    def ask_folder(self) -> None:
        """Let the person choose the folder of an examination."""
        folder = QFileDialog.getExistingDirectory(self, "Open the folder of an examination", str(Path.home()))
        self._open([folder] if folder else [])

    def _open(self, paths: list[str]) -> None:
        self.failure.clear()
        self.session.open_paths(paths)

    def _on_study(self, study: Study | None) -> None:
        for card in self.cards:
            card.setParent(None)
            card.deleteLater()
        self.cards = []
        self.empty.setVisible(study is None)
        say(self.note, "")
        self._show_shelf()
        if study is None:
            for label in (self.title, self.identity, self.simulated, self.warnings):
                say(label, "")
            for part in (self.look_box, self.subtraction_box, self.views_box, self.understood_box):
                part.setVisible(False)
            return
        self.failure.clear()
        names = self.session.view_names
        say(self.title, study.title or " · ".join((str(study.kind).capitalize(), ", ".join(names))))
        say(self.identity, identity_line(study.identity))
        say(self.simulated, SIMULATED_WORDS if study.synthetic else "")
        say(self.warnings, "\n".join(warnings_of(study, names)))
        self._dress_buttons(study, names)
        self._on_native(self.session.showing_native)
        self.session.turns.run_or_do(self._fill(study, names))

    def _fill(self, study: Study, names: tuple[str, ...]) -> Iterator[None]:
        """Cards and boxes one by one: to lay out and draw all of them is a long wait."""
        cards = self.cards  # another list as soon as something else is told of
        self.views_box.setVisible(True)
        for index, (name, view) in enumerate(zip(names, study.views, strict=True)):
            grey = self.session.grey
            if self.cards is not cards or grey is None:
                return
            card = ViewCard(name, view, index, grey)
            card.relabelled.connect(lambda projection, i=index: self.session.relabel_view(i, projection))
            self.cards_column.addWidget(card)
            self.cards.append(card)
            yield
        for box in (self.look_box, self.subtraction_box, self.understood_box):
            if self.cards is not cards:
                return
            box.setVisible(box is not self.subtraction_box or study.kind is Kind.ANGIOGRAM)
            yield

    def _on_arriving(self, study: Study) -> None:
        """Who is on the canvas already; everything else follows when all frames are there."""
        self.empty.setVisible(False)
        say(self.title, f"{study.title}: still being read")
        say(self.identity, identity_line(study.identity))
        say(self.simulated, SIMULATED_WORDS if study.synthetic else "")

    def _on_subtraction(self, index: int) -> None:
        study = self.session.study
        if study is not None and index < len(self.cards):
            self.cards[index].tell(study.views[index])
            self._dress_buttons(study, self.session.view_names)
            self._on_native(self.session.showing_native)

    def _show_shelf(self) -> None:
        opened = self.session.opened
        shelf = opened.shelf if opened is not None else ()
        self.shelf.clear()
        self.shelf.addItems([f"{i} of {len(shelf)}: {entry.title}" for i, entry in enumerate(shelf, 1)])
        if opened is not None and shelf:
            self.shelf.setCurrentIndex(opened.position)
        self.shelf.setVisible(len(shelf) > 1)

    def _dress_buttons(self, study: Study, names: tuple[str, ...]) -> None:
        for index, key in enumerate((keys.FRAME_AP, keys.FRAME_LA)):
            button = self.frame_buttons[index]
            button.setVisible(index < len(names) and len(names) > 1)
            if index < len(names):
                button.setText(f"{names[index]} ({keys.spoken(key)})")
                button.setToolTip(f"Show the {names[index]} view alone")
        both = "Both" if len(names) > 1 else "Fit"
        self.frame_buttons[2].setText(f"{both} ({keys.spoken(keys.FRAME_BOTH)})")
        self.frame_buttons[2].setToolTip("Fit everything into the window")
        self.linked_button.setVisible(len(names) > 1)
        self.linked_button.setChecked(self.session.zoom_linked)
        for role, button in self.drawn_buttons.items():
            layers = self.session.layers_of(role)
            button.setVisible(bool(layers))
            button.setChecked(any(layer.visible for layer in layers))
        has_both = any(view.native is not None for view in study.views)
        for button in (self.subtracted, self.unsubtracted):
            button.setEnabled(has_both)
            button.setToolTip("" if has_both else "This study holds only one of the two")
        self.subtraction_row.setVisible(has_both or any(view.subtracted for view in study.views))

    def _on_native(self, native: bool) -> None:
        (self.unsubtracted if native else self.subtracted).setChecked(True)

        self._show_grey()

    def _show_grey(self, index: int | None = None) -> None:
        """Tell the window of one view, or of all."""
        for card in self.cards if index is None else self.cards[index : index + 1]:
            card.show_grey(self.session.showing_native)


def _button(text: str, name: str, tip: str, action: Callable[[], object]) -> QPushButton:
    button = named(QPushButton(text), name)
    button.setToolTip(tip)
    button.clicked.connect(lambda: action())
    return button


def _holding(layout: QVBoxLayout) -> QWidget:
    box = QWidget(layout.parentWidget())
    layout.setContentsMargins(0, 0, 0, 0)
    box.setLayout(layout)
    return box


def _row(*parts: QWidget) -> QWidget:
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(SPACING // 2)
    for part in parts:
        row.addWidget(part, 1)
    return box
