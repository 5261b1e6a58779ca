"""The card that travels with every set of weights: what it is, what made it, how good it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_clipmed.errors import ModelError

Task = Literal["diagnosis", "segmentation"]
Architecture = Literal["clip-dsa", "causal-clipseg"]

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
STATISTICS_PREFIX = "ood."
"""Tensors under this prefix are not parameters: statistics of the training features, for `inference`."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _software() -> dict[str, str]:
    """Versions of the packages that decide what a network computes."""
    found = {}
    for name in ("napari-clipmed", "torch", "open-clip-torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


class ModelCard(BaseModel):
    """Everything about a model but its numbers; stored as ``card.json`` beside ``model.safetensors``.

    Parameters
    ----------
    id : str
        Name of the model's folder: letters, digits, dot, dash, underscore.
    title : str
        Name for people.
    task, architecture : str
        What it answers, and which network class rebuilds it.
    config : dict
        Enough for ``from_config`` to rebuild the network before its weights are loaded.
    label_set : dict or None
        The full label set (classes and sentences) that a diagnosis model answers with.
    preprocessing : dict
        How its input is made (``size``, ``n_frames``, ``fit``, ``mean``, ``std``…); read by `inference`.
    calibration : dict
        ``temperature`` of the probabilities, the thresholds of the ``prediction_sets`` and those of what lies
        out of distribution.
    agreement : dict
        How far its probabilities in ``bf16`` and ``int8`` were from those in float32 at most.
    data, licence, seed, command : str, str, int or None, str
        What it learned from, under which terms, and how to make it again.
    metrics : dict
        Figures on data it never saw, with their counts.
    limits : list of str
        Sentences that a person must know before relying on it.
    simulated_only : bool
        Whether it has seen simulated studies only: every real study is then unlike its training data.
    parent : str or None
        The model that it was fine-tuned from.
    created : str
        ISO 8601 time, UTC.
    sha256 : str
        Of the safetensors file; filled by `Registry.register`.
    software : dict
        Versions that made it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    id: str
    title: str
    task: Task
    architecture: Architecture
    config: dict[str, Any]
    label_set: dict[str, Any] | None = None
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    calibration: dict[str, Any] = Field(default_factory=dict)
    agreement: dict[str, float] = Field(default_factory=dict)
    data: str = ""
    licence: str = ""
    seed: int | None = None
    command: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)
    limits: list[str] = Field(default_factory=list)
    simulated_only: bool = False
    parent: str | None = None
    created: str = Field(default_factory=_now)
    sha256: str = ""
    software: dict[str, str] = Field(default_factory=_software)

    @field_validator("id")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError("use up to 100 letters, digits, dots, dashes or underscores")
        return value


@dataclass(frozen=True)
class ModelEntry:
    """A model on disk: its card and its folder."""

    card: ModelCard
    folder: Path

    @property
    def id(self) -> str:
        """The model's id, for short."""
        return self.card.id

    @property
    def weights(self) -> Path:
        """Path of the safetensors file."""
        return self.folder / WEIGHTS_FILE


def read_entry(folder: Path) -> ModelEntry:
    """Read the card of a model folder, without touching its weights.

    Raises
    ------
    ModelError
        When the card is missing, unreadable or incomplete, or the weights are missing.
    """
    card_file = folder / CARD_FILE
    try:
        card = ModelCard.model_validate_json(card_file.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{folder} holds no readable {CARD_FILE} ({error.strerror}).",
            "A model is a folder with card.json and model.safetensors.",
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ModelError(f"The card {card_file} is broken: {where}: {first['msg']}.") from error
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelError(f"The model {card.id!r} in {folder} has no {WEIGHTS_FILE}.")
    return ModelEntry(card, folder)
