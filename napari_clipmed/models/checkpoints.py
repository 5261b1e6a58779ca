"""CLIP checkpoints from elsewhere: which format a file has, its tensors without running it, what they say.

==========================================  ==========================================================
safetensors                                 read as it is; a file of half precision too
``torch.save`` of a state dict              read with ``weights_only=True``
``torch.save`` of a training checkpoint     its ``state_dict``, without ``module.`` or ``_orig_mod.``
OpenAI's TorchScript archive                a program: refused, until a person has it converted once
pickles of anything else                    refused
==========================================  ==========================================================
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from napari_clipmed.errors import ModelError

Format = Literal["safetensors", "torch", "archive"]

OPENAI_ONLY = ("input_resolution", "context_length", "vocab_size")
"""Entries beside the weights that OpenAI's archives have, and nobody else's files."""

GELU_ENTRY = "quick_gelu"
"""Entry of a safetensors header in which we say with which GELU the towers were trained."""

_PREFIXES = ("module.", "_orig_mod.")
_BLOWN_UP = 1.2
"""Torch stores tensors uncompressed; a zip that unfolds to more than this multiple of its size is refused."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file and what it says about them.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        On the CPU, in the names of open_clip.
    quick_gelu : bool or None
        Whether the towers were trained with QuickGELU, where the file proves it; None where it does not say.
    """

    tensors: Mapping[str, Tensor]
    quick_gelu: bool | None = None


def format_of(path: Path) -> Format:
    """What a file is, by its first bytes and, of a zip, the names in it; nothing of it is run.

    Raises
    ------
    ModelError
        When it cannot be read, or unfolds to far more than its size.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
            return "safetensors"
        if not zipfile.is_zipfile(path):
            return "torch"
        with zipfile.ZipFile(path) as archive:
            names, unfolded = archive.namelist(), sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"The checkpoint {path} cannot be read: {str(error)[:200]}.") from error
    if unfolded > _BLOWN_UP * path.stat().st_size + 2**20:
        raise ModelError(f"{path.name} unfolds to far more than its size, so it is refused.")
    scripted = any(name.endswith("/constants.pkl") or "/code/" in name for name in names)
    return "archive" if scripted else "torch"


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of any safe format.

    Raises
    ------
    ModelError
        Naming what is wrong with the file, and what to do.
    """
    kind = format_of(path)
    if kind == "archive":
        raise ModelError(
            f"{path.name} is a TorchScript archive, as OpenAI published CLIP; opening it runs a program.",
            f"If you trust where it comes from, convert it once: napari-clipmed models convert {path}",
        )
    return _read_safetensors(path) if kind == "safetensors" else _read_torch(path)


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a checkpoint; of safetensors, from the header alone."""
    if format_of(path) == "safetensors":
        with _safetensors(path) as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: tuple(tensor.shape) for name, tensor in read_checkpoint(path).tensors.items()}


def read_archive(path: Path) -> dict[str, Tensor]:
    """The weights of OpenAI's TorchScript archive, in float32. This runs it: only once a person agreed.

    Raises
    ------
    ModelError
        When it is no such archive.
    """
    if format_of(path) != "archive":
        raise ModelError(
            f"{path.name} is no TorchScript archive.", "Name it as NAME@FILE; it needs no conversion."
        )
    try:
        state = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"The archive {path.name} could not be opened: {first_line(error)}.") from error
    tensors = {name: value for name, value in state.items() if name not in OPENAI_ONLY}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def compare_keys(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """In one clause how weights do not fit a network; empty when they fit."""
    missing = wanted.keys() - found.keys()
    extra = found.keys() - wanted.keys()
    shapes = [key for key in wanted.keys() & found.keys() if wanted[key].shape != found[key].shape]
    if not (missing or extra or shapes):
        return ""
    example = min(shapes or missing or extra)
    return (
        f"{len(missing)} tensors missing, {len(extra)} unknown, {len(shapes)} of another shape, "
        f"for example {example}"
    )


def first_line(error: BaseException) -> str:
    """The part of torch's error pages that a person can read."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".:")


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is not a whole safetensors file.") from error


def _read_safetensors(path: Path) -> Checkpoint:
    with _safetensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = (file.metadata() or {}).get(GELU_ENTRY)
    return _cleaned(tensors, None if said is None else said == "true")


def _read_torch(path: Path) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name} holds more than weights, or is no checkpoint; reading it could run a program, so "
            "it is refused.",
            "Ask its author for safetensors or a plain state dict.",
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path.name} holds no state dict.", "Give a checkpoint of a CLIP model.")
    return _cleaned({str(name): v for name, v in state.items() if isinstance(v, Tensor)})


def _cleaned(tensors: Mapping[str, Tensor], quick_gelu: bool | None = None) -> Checkpoint:
    """Without the prefixes of wrappers and without OpenAI's extra entries, which prove QuickGELU."""
    if any(name in tensors for name in OPENAI_ONLY):
        quick_gelu = True
    kept = {name: value for name, value in tensors.items() if name not in OPENAI_ONLY}
    for prefix in _PREFIXES:
        if kept and all(name.startswith(prefix) for name in kept):
            kept = {name.removeprefix(prefix): value for name, value in kept.items()}
    return Checkpoint(cast("Mapping[str, Tensor]", kept), quick_gelu)
