"""How a round learns; plain values, so that a plan can be made without loading torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

SIMULATED_REPLAY = 120
"""Simulated studies that are replayed for a diagnosis model that learned from such."""

Strategy = Literal["head", "adapter", "full"]


@dataclass(frozen=True)
class FinetuneConfig:
    """How a round learns; the defaults are meant to be left alone.

    Parameters
    ----------
    strategy : "head", "adapter" or "full"
        "head" trains what follows the image tower, on features computed once: seconds. "adapter" also
        teaches the layer that sums up each picture, by low-rank updates: a minute or more. "full" trains
        everything but the text tower of the diagnosis model, gently: minutes to hours.
    epochs : int
        At most; it stops earlier when it no longer helps.
    learning_rate : float
        Of AdamW.
    batch_size : int
        Studies or masks a step.
    pull : float
        Strength of the pull back to the base model (half the squared distance, times this).
    patience : int
        Epochs without a better validation loss before it stops.
    seed : int
        Of everything random.
    replay : float
        Share of what is trained on that comes from the base model's own kind of data, where there is some.
    balance : bool
        Repeat rare classes until every class weighs about the same.
    augment : bool
        Turn, shift and zoom pictures a little; for "full" only, the others compute them once.
    """

    strategy: Strategy = "head"
    epochs: int = 40
    learning_rate: float = 1e-3
    batch_size: int = 16
    pull: float = 0.01
    patience: int = 8
    seed: int = 0
    replay: float = 0.5
    balance: bool = True
    augment: bool = True

    @classmethod
    def default(cls, task: str, strategy: Strategy, epochs: int | None = None, seed: int = 0) -> Self:
        """Sensible values for a task and strategy; `epochs` overrules."""
        chosen = DEFAULTS[task, strategy] | ({"epochs": epochs} if epochs is not None else {})
        return cls(strategy=strategy, seed=seed, **chosen)

    def but(self, **changes: Any) -> Self:
        """The same with some values changed; None changes nothing."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("diagnosis", "head"): {
        "epochs": 40,
        "learning_rate": 1e-3,
        "batch_size": 16,
        "replay": 0.7,
        "pull": 0.05,
    },
    ("diagnosis", "adapter"): {"epochs": 30, "learning_rate": 1e-3, "batch_size": 8},
    ("diagnosis", "full"): {"epochs": 12, "learning_rate": 3e-5, "batch_size": 2},
    ("segmentation", "head"): {"epochs": 25, "learning_rate": 3e-4, "batch_size": 4},
    ("segmentation", "adapter"): {"epochs": 25, "learning_rate": 1e-3, "batch_size": 4},
    ("segmentation", "full"): {"epochs": 15, "learning_rate": 3e-5, "batch_size": 4},
}
"""Chosen on simulated studies of another hospital than those that docs/benchmarks.md reports."""
