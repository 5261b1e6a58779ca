"""The only door through which weights enter the program.

Weights are read as safetensors only and checked against the hash on their card; formats that can run code
when they are opened (pickle, torch archives) are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import ModelError
from napari_clipmed.models.card import STATISTICS_PREFIX, ModelCard, ModelEntry

if TYPE_CHECKING:
    from torch import Tensor, nn

_UNSAFE = {
    b"PK\x03\x04": "a torch archive (pickle inside a zip)",
    b"\x80": "a Python pickle",
    b"\x1f\x8b": "a gzip archive",
}


def load_network(entry: ModelEntry) -> nn.Module:
    """The network of a model in eval mode, float32, on the CPU, with verified weights.

    Raises
    ------
    ModelError
        As `load_tensors`, and when the weights belong to another architecture than the card says.
    """
    tensors = load_tensors(entry)
    network = build_network(entry.card)
    state = {key: value for key, value in tensors.items() if not key.startswith(STATISTICS_PREFIX)}
    _check_architecture(entry, network.state_dict(), state)
    network.load_state_dict(state)
    return network.eval()


def build_network(card: ModelCard) -> nn.Module:
    """The network that a card describes, with fresh weights.

    Raises
    ------
    ModelError
        When the card's configuration does not describe such a network.
    """
    try:
        if card.architecture == "clip-dsa":
            from napari_clipmed.models.clip_dsa import ClipDSA

            return ClipDSA.from_config(card.config)
        from napari_clipmed.models.causal_clipseg import CausalCLIPSeg

        return CausalCLIPSeg.from_config(card.config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The configuration on the card of {card.id!r} does not describe a {card.architecture} network: "
            f"{str(error)[:200]}."
        ) from error


def load_tensors(entry: ModelEntry) -> dict[str, Tensor]:
    """All tensors of a model, its statistics (``ood.``) included, verified, on the CPU.

    Raises
    ------
    ModelError
        For an unsafe format, an altered or a damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    refuse_unsafe(entry.weights)
    verify_hash(entry)
    try:
        return load_file(entry.weights)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{entry.weights} is not a whole safetensors file.") from error


def verify_hash(entry: ModelEntry) -> None:
    """Compare the weights with the hash on the card.

    Raises
    ------
    ModelError
        When they differ or the card has none: the file was altered, or is another model's.
    """
    if hash_file(entry.weights) != entry.card.sha256:
        raise ModelError(
            f"The weights of {entry.id!r} do not match the hash on their card; they were altered or damaged.",
            "Get the model again from where it came.",
        )


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def refuse_unsafe(path: Path) -> None:
    """Refuse every format that could run code when it is opened.

    Raises
    ------
    ModelError
        Naming the format, for pickles, torch archives and anything that is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    # A safetensors file opens with the length of its JSON header, eight bytes little-endian: any first byte,
    # a pickle's too, may stand there, so what it is comes before what it is not.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return
    found = next((name for magic, name in _UNSAFE.items() if head.startswith(magic)), "")
    if found:
        raise ModelError(
            f"{path.name} is {found}; such a file can run any program when it is opened, so it is refused.",
            "Ask its author for safetensors, or convert it on a machine where that does no harm.",
        )
    raise ModelError(f"{path.name} is not a safetensors file.", "Models are read from safetensors only.")


def _check_architecture(entry: ModelEntry, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Say in one sentence, not in a page of keys, that weights and network do not fit."""
    from napari_clipmed.models.checkpoints import compare_keys

    misfit = compare_keys(wanted, found)
    if not misfit:
        return
    raise ModelError(
        f"The weights of {entry.id!r} do not fit the {entry.card.architecture} network on its card: "
        f"{misfit}.",
        "The card and the weights belong to different models.",
    )
