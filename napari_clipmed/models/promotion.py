"""Which model answers is a person's decision: promotion, refused where figures got worse, and the way back.

Every decision is a line in ``promotions.jsonl`` beside the models; none is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_clipmed.errors import ModelError
from napari_clipmed.models.card import ModelCard, ModelEntry, Task
from napari_clipmed.models.loading import load_network
from napari_clipmed.models.registry import Registry

HISTORY_FILE = "promotions.jsonl"
HEADLINE = {"diagnosis": ("macro_f1", "macro F1"), "segmentation": ("dice_mean", "mean Dice")}


class WorseModelError(ModelError):
    """The model did worse than its parent on the frozen cases; promoting it all the same needs a reason."""


def why_not(card: ModelCard) -> str:
    """One sentence on why a model should not be promoted; empty where nothing speaks against it."""
    outcome: Mapping[str, Any] = card.metrics.get("finetune") or {}
    name, title = HEADLINE[card.task]
    try:
        before, after = float(outcome["before"][name]), float(outcome["after"][name])
    except (KeyError, TypeError, ValueError):
        return ""
    if after >= before:
        return ""
    return f"{card.id} is worse than {card.parent}: {title} {after:.3f} after {before:.3f}."


def promote(registry: Registry, model_id: str, reason: str = "", root: Path | None = None) -> ModelEntry:
    """Let a model answer its task from now on, for all who read `root` (default: the registry's last).

    Parameters
    ----------
    reason : str
        Why, in the person's words; needed where `why_not` has something to say.

    Raises
    ------
    WorseModelError
        When the model did worse than its parent and no reason is given.
    ModelError
        When there is no such model, or its file is unsafe, altered or of another architecture.
    """
    entry = registry.get(model_id)
    doubt = why_not(entry.card)
    if doubt and not reason.strip():
        raise WorseModelError(
            f"{doubt} It was not promoted.", "To use it all the same, give a reason; it is put on record."
        )
    _choose(registry, entry, "promoted", reason.strip(), doubt, root)
    return entry


def roll_back(registry: Registry, task: Task, to: str = "", root: Path | None = None) -> ModelEntry:
    """Let an earlier model answer again: the named one, or the one before the present.

    Raises
    ------
    ModelError
        When nothing was promoted yet, or the model is gone or damaged.
    """
    root = root or registry.roots[-1]
    target = to or previous(registry, task, root)
    if not target:
        raise ModelError(
            f"No other {task} model has answered here before.", "Name one: `models rollback --to ID`."
        )
    entry = registry.get(target)
    if entry.card.task != task:
        raise ModelError(f"{target!r} is a {entry.card.task} model, not a {task} model.")
    _choose(registry, entry, "rolled back", "", "", root)
    return entry


def previous(registry: Registry, task: Task, root: Path | None = None) -> str:
    """Id of the model that answered before the present one; empty where there is none."""
    now = registry.default(task).id
    for row in reversed(promotions(root or registry.roots[-1])):
        if row.get("task") == task and row.get("model") == now and row.get("before") != now:
            return str(row.get("before", ""))
    return ""


def promotions(root: Path) -> list[dict[str, Any]]:
    """Every decision of a root, the oldest first; a damaged line is passed over."""
    rows = []
    try:
        lines = (root / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _choose(
    registry: Registry, entry: ModelEntry, how: str, reason: str, doubt: str, root: Path | None
) -> None:
    load_network(entry)  # an altered, unsafe or foreign file is refused now, by name, not at the next study
    root = root or registry.roots[-1]
    task = entry.card.task
    row = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": task,
        "how": how,
        "model": entry.id,
        "sha256": entry.card.sha256,
        "before": registry.default(task).id,
    }
    row |= {key: value for key, value in (("reason", reason), ("doubt", doubt)) if value}
    registry.set_default(task, entry.id, root)
    try:
        with (root / HISTORY_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise ModelError(
            f"{entry.id} answers now, but the decision could not be put on record ({error.strerror}).",
            "Free some space and promote it again.",
        ) from error
