"""What an expert may set about a round of fine-tuning, behind a fold; left alone, the defaults hold."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QLineEdit, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_clipmed.gui.theme import named

FIELDS = {
    "epochs": ("Epochs at most", "Passes over the data; it stops earlier when it no longer helps"),
    "learning-rate": ("Learning rate", "Of AdamW"),
    "batch-size": ("Batch size", "Studies or masks a step"),
    "pull": ("Pull to the base", "Strength with which the parameters are held where they started"),
    "patience": ("Patience", "Epochs without gain before it stops"),
    "replay-share": (
        "Replay share",
        "How much of what it trains on comes from the base model's own data, 0 to 0.9",
    ),
    "seed": ("Seed", "Of everything random"),
    "replay": ("Replay", "auto, none, or a folder of simulated studies or of QaTa-COV19"),
}
"""Option of the command line, title and explanation; empty fields are left to the defaults."""

SWITCHES = {
    "balance": ("Balance classes", "Rare classes are repeated until every class weighs about the same"),
    "augment": ("Vary pictures", "Pictures are turned, shifted and zoomed a little (whole network only)"),
}


class ExpertPanel(QWidget):
    """Fields behind a fold.

    Attributes
    ----------
    fields : dict of str to QLineEdit
        By option.
    switches : dict of str to QCheckBox
        By option.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("expert_panel")
        self.fold = named(QToolButton(), "expert_fold")
        self.fold.setText("For experts")
        self.fold.setToolTip("Values that nobody has to set")
        self.fold.setCheckable(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setArrowType(Qt.ArrowType.RightArrow)
        self.fold.toggled.connect(self._unfold)
        self._body = QWidget()
        form = QFormLayout(self._body)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.fields: dict[str, QLineEdit] = {}
        for option, (title, tip) in FIELDS.items():
            field = named(QLineEdit(), f"expert_{option}")
            field.setPlaceholderText("as suits")
            field.setToolTip(tip)
            field.setMinimumWidth(60)
            field.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            form.addRow(title, field)
            self.fields[option] = field
        self.switches: dict[str, QCheckBox] = {}
        for option, (title, tip) in SWITCHES.items():
            box = named(QCheckBox(title), f"expert_{option}")
            box.setToolTip(tip)
            box.setChecked(True)
            form.addRow(box)
            self.switches[option] = box
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.fold)
        column.addWidget(self._body)
        self._unfold(False)

    def arguments(self) -> list[str]:
        """What was set, as options of ``napari-clipmed finetune``, which refuses what makes no sense."""
        said = []
        for option, field in self.fields.items():
            if field.text().strip():
                said += [f"--{option}", field.text().strip()]
        return said + [f"--no-{option}" for option, box in self.switches.items() if not box.isChecked()]

    def _unfold(self, shown: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self._body.setVisible(shown)
