"""What is kept of a picture once a network has read it, and the name under which it is kept.

A key holds everything that a feature depends on, and nothing that it does not: change any ingredient and it
is another key, so no entry can ever be stale. Neither class, method, prompt, threshold nor label set is in
it, so changing those never reads the picture again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from napari_clipmed.inference.preprocess import Box, ModelInput, Preprocessing
from napari_clipmed.study import View

FORMAT = 1
"""Raise it when preprocessing or networks compute something else for the same key."""


@dataclass(frozen=True)
class FeatureKey:
    """The name of a feature.

    Parameters
    ----------
    what : "view" or "film"
        An `EncodedView` or an `EncodedFilm`.
    picture : str
        `name_picture` of the view.
    frame : int
        Frame of a film's feature; -1 for all of a view.
    preprocessing : Preprocessing
        How pixels become the network's input.
    model : str
        SHA-256 of the weights.
    device, precision : str
        Where and in which number format it was computed.
    """

    what: str
    picture: str
    frame: int
    preprocessing: Preprocessing
    model: str
    device: str
    precision: str

    @cached_property
    def text(self) -> str:
        """Every ingredient, as canonical JSON; the versions that could compute differently included."""
        content = asdict(self) | {"format": FORMAT, "torch": torch.__version__, "package": _package()}
        return json.dumps(content, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `text`, hexadecimal; the name of its file on disk."""
        return sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class EncodedView:
    """One view as a diagnosis network has read it.

    Parameters
    ----------
    prepared : ModelInput
        The frames that it read, and how they map back.
    maps : (u, C, h, w) Tensor
        Last feature map of the trunk for each of those frames, in the number format of the trunk.
    """

    prepared: ModelInput
    maps: Tensor

    def placed(self) -> Tensor:
        """Maps at the network's t places, repeated frames repeated: (t, C, h, w) float32."""
        return self.maps[torch.from_numpy(self.prepared.repeats)].float()

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors on the CPU, for a file."""
        prepared = self.prepared
        return {
            "maps": self.maps.cpu().contiguous(),
            "frames": prepared.frames.cpu().contiguous(),
            "index": torch.from_numpy(prepared.index),
            "repeats": torch.from_numpy(prepared.repeats),
            "boxes": torch.tensor([*prepared.box, *prepared.field], dtype=torch.float64),
            "inverted": torch.tensor([prepared.inverted]),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], device: str) -> Self:
        """Undo `to_tensors`.

        Raises
        ------
        KeyError, ValueError
            When the tensors are not those of a view.
        """
        frames, maps = tensors["frames"], tensors["maps"]
        index, repeats = (tensors[name].numpy().astype(np.int64) for name in ("index", "repeats"))
        fits = frames.ndim == 3 and maps.ndim == 4 and len(frames) == len(maps) == len(index) > 0
        if not fits or repeats.min() < 0 or repeats.max() >= len(maps) or len(tensors["boxes"]) != 8:
            raise ValueError("the tensors of a view do not fit each other")
        box, field = Box(*tensors["boxes"][:4].tolist()), Box(*tensors["boxes"][4:].tolist())
        prepared = ModelInput(frames, index, repeats, box, field, bool(tensors["inverted"][0]))
        return cls(prepared, maps.to(device))


@dataclass(frozen=True, eq=False)
class EncodedFilm:
    """One film or frame as a segmentation network has read it: X, (1, C, h, w); both ways (2, C, h, w)."""

    features: Tensor

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors on the CPU, for a file."""
        return {"features": self.features.cpu().contiguous()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], device: str) -> Self:
        """Undo `to_tensors`.

        Raises
        ------
        KeyError, ValueError
            When the tensors are not those of a film.
        """
        features = tensors["features"]
        if features.ndim != 4 or len(features) not in (1, 2):
            raise ValueError("the tensor of a film is not (1 or 2, C, h, w)")
        return cls(features.to(device, memory_format=torch.channels_last))


def name_picture(view: View) -> str:
    """Everything of a view that a network's input depends on.

    Its pixels, and whether they are subtracted: dark and bright may be swapped in subtracted runs only.
    """
    return view.pixel_hash + ("-subtracted" if view.subtracted else "")


KINDS: dict[str, Any] = {"view": EncodedView, "film": EncodedFilm}
"""The class of each kind of feature."""


def _package() -> str:
    return version("napari-clipmed")
