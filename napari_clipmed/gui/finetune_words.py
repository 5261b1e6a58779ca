"""What the Fine-tune dock says, as plain functions of a plan and of a finished round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STRATEGIES = {
    "head": (
        "Last layers",
        "Trains what follows the image tower: seconds to minutes",
    ),
    "adapter": (
        "Adapter",
        "Also teaches how a picture is summed up, by small updates beside the weights: a minute or more",
    ),
    "full": ("Whole network", "Trains everything but the text tower, gently: minutes to hours on a CPU"),
}
"""Title and explanation of each strategy."""

TASKS = {"diagnosis": "Diagnosis", "segmentation": "Segmentation"}

MERIT = {"diagnosis": "accuracy", "segmentation": "Dice"}
"""Figure that is drawn live on the validation cases."""

FIGURES = {
    "macro_f1": "Macro F1",
    "accuracy": "Accuracy",
    "auc_ovr": "AUC (one against rest)",
    "dice_mean": "Dice, mean of images",
    "dice_pooled": "Dice, all pixels",
    "miou_mean": "IoU, mean of images",
    "iou_mean": "IoU, mean of images",
    "loss": "Loss",
}
"""Titles of the figures that a finished round reports."""


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Lines "Macro F1: 0.71 before, 0.82 after", for every known figure that both sides have."""
    lines = [
        f"{title}: {float(before[key]):.3f} before, {float(after[key]):.3f} after"
        for key, title in FIGURES.items()
        if isinstance(before.get(key), int | float) and isinstance(after.get(key), int | float)
    ]
    return "\n".join(lines)


def judged_on(event: Mapping[str, Any]) -> str:
    """On which cases the figures were measured, with what that means."""
    if event.get("on") == "validation":
        return "Measured on the cases kept for validation, which no model of this workspace trained on."
    return "Measured on the training cases themselves: too few patients to keep some. Do not trust it far."


def forgotten(event: Mapping[str, Any]) -> str:
    """What became of the base model's own kind of cases; empty where none were replayed."""
    replay = event.get("replay")
    if not isinstance(replay, Mapping):
        return ""
    for key, title in FIGURES.items():
        if key in replay:
            old, new = (float(replay[key][side]["value"]) for side in ("before", "after"))
            cases = f"{replay.get('n', '')} cases of the base model's own kind"
            return f"On {cases}: {title} {old:.3f} before, {new:.3f} after."
    return ""


def unfinished(facts: Mapping[str, Any]) -> str:
    """What is said about a round that stopped."""
    began = str(facts.get("started", ""))[:16].replace("T", " ")
    config = facts.get("config", {})
    title = STRATEGIES.get(str(config.get("strategy")), ("",))[0]
    return (
        f"A round ({title}) begun on {began} UTC stopped after epoch {facts.get('epoch')} of "
        f"{config.get('epochs')}. It can go on from there."
    )
