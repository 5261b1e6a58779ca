"""Which model answers: the registry's models of one task, read off the GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_clipmed.errors import ClipmedError, ModelError
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.models.card import ModelEntry, Task

NO_MODEL = "No model installed"


class ModelChooser(QComboBox):
    """A list of models; choosing one tells the session, and the session's choice shows here.

    Parameters
    ----------
    session : ReviewSession
        Whose registry is read.
    task : str
        "diagnosis" or "segmentation".
    """

    def __init__(self, session: ReviewSession, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(f"model_{task}")
        self.setAccessibleName(f"{task.capitalize()} model")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._session = session
        self._task = task
        self.activated.connect(self._on_activated)
        session.models_changed.connect(self._on_models_changed)
        self.refresh()

    @property
    def model_id(self) -> str:
        """Id of the model that is shown; empty when there is none."""
        return str(self.currentData() or "")

    def refresh(self) -> None:
        """Read the registry again (new models appear at once)."""
        session, task = self._session, self._task

        def read(progress: Progress) -> tuple[Sequence[ModelEntry], str]:
            registry = session.registry()
            entries = registry.list(task)
            try:
                default = registry.default(task).id
            except ModelError:
                default = ""
            return entries, default

        # The key is this list's own: two docks may show the models of one task.
        session.jobs.start(
            read,
            title="Read the models",
            on_done=self._show,
            on_error=self._show_error,
            key=f"models:{task}:{id(self)}",
        )

    def _show(self, answer: tuple[Sequence[ModelEntry], str]) -> None:
        entries, default = answer
        self.clear()
        for index, entry in enumerate(entries):
            self.addItem(entry.card.title, entry.id)
            self.setItemData(index, describe_model(entry), Qt.ItemDataRole.ToolTipRole)
        if not entries:
            self.addItem(NO_MODEL, "")
        self.setEnabled(bool(entries))
        self._mark(self._session.model_id(self._task) or default)

    def _show_error(self, error: ClipmedError) -> None:
        self.clear()
        self.addItem(NO_MODEL, "")
        self.setEnabled(False)
        self.setToolTip(str(error))

    def _mark(self, model_id: str) -> None:
        self.setCurrentIndex(max(0, self.findData(model_id)))
        tip = self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(tip or "Import a model with `napari-clipmed models import`, or train one.")

    def _on_activated(self, index: int) -> None:
        self._mark(self.model_id)
        self._session.choose_model(self._task, self.model_id)

    def _on_models_changed(self, task: str) -> None:
        if task == self._task:
            self.refresh()


def describe_model(entry: ModelEntry) -> str:
    """What a person should know of a model before choosing it, as a few lines."""
    card = entry.card
    figures = ", ".join(
        f"{name} {value:.3f}" for name, value in card.metrics.items() if isinstance(value, int | float)
    )
    lines = [
        card.title,
        f"Id: {card.id}",
        f"Learned from: {card.data}" if card.data else "",
        f"Fine-tuned from: {card.parent}" if card.parent else "",
        f"On data it never saw: {figures}" if figures else "",
        f"Licence: {card.licence}" if card.licence else "",
        *card.limits,
    ]
    return "\n".join(line for line in lines if line)
