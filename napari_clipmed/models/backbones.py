"""CLIP backbones, all through open_clip: one specification in, one model out.

A specification is a string, ``NAME`` or ``NAME@WEIGHTS``:

==============================  =====================================================================
``clipmed-compact``             one of our configurations in ``resources/backbones``, random weights
``RN50-quickgelu``              a configuration of open_clip, random weights
``RN50-quickgelu@openai``       the same with a pre-trained tag of open_clip (downloaded once)
``RN50-quickgelu@/a/file``      the same with a local checkpoint (safetensors, or a plain state dict)
``hf-hub:timm/resnet50_clip…``  configuration and weights from the Hugging Face hub
``local-dir:/a/folder``         ``open_clip_config.json`` and weights in a folder
==============================  =====================================================================

or the configuration itself, as a mapping with open_clip's keys ``embed_dim``, ``vision_cfg``, ``text_cfg``:
that is what a model card stores, so that a network is rebuilt without a network connection.

Nothing here unpickles: open_clip reads checkpoints with ``weights_only=True``, and TorchScript archives are
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from napari_clipmed.errors import ModelError
from napari_clipmed.shipped import resource

Spec = str | Mapping[str, Any]
"""What names a backbone, see the module's text."""

Tokenizer = Callable[[list[str]], Tensor]
"""Sentences in, int64 tokens [n, context_length] out."""

_SCHEMES = ("hf-hub:", "local-dir:")


@cache
def _register_shipped_configs() -> None:
    open_clip.add_model_config(resource("backbones"))


def split_spec(spec: str) -> tuple[str, str | None]:
    """``NAME@WEIGHTS`` into its two parts; the hub and folder forms carry their own weights."""
    if spec.startswith(_SCHEMES):
        return spec, None
    name, _, weights = spec.partition("@")
    return name, weights or None


def clip_config(spec: Spec) -> dict[str, Any]:
    """open_clip's configuration of a backbone, ready to be stored in a model card.

    Raises
    ------
    ModelError
        When nothing of that name is known.
    """
    if not isinstance(spec, str):
        return deepcopy(dict(spec))
    _register_shipped_configs()
    name, _ = split_spec(spec)
    try:
        config = open_clip.get_model_config(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"The backbone {name!r} could not be read: {_first_line(error)}.") from error
    if config is None:
        raise ModelError(
            f"There is no backbone called {name!r}.",
            "Name a configuration of open_clip or of resources/backbones, hf-hub:…, or local-dir:….",
        )
    return config


def create_clip(spec: Spec, *, load_weights: bool = True) -> nn.Module:
    """Build an open_clip model (image and text tower) in fp32 on the CPU.

    Parameters
    ----------
    spec : str or mapping
        Which one; see the module's text.
    load_weights : bool
        False builds the architecture only, for weights that follow from elsewhere.

    Returns
    -------
    open_clip.CLIP or open_clip.CustomTextCLIP
        Freshly drawn (torch's global generator) where the specification names no weights.

    Raises
    ------
    ModelError
        Unknown name, unreadable, unsafe or unfitting checkpoint.
    """
    config = clip_config(spec)
    if not isinstance(spec, str):
        return _build(config)
    name, weights = split_spec(spec)
    if not load_weights or (weights is None and not spec.startswith(_SCHEMES)):
        return _build(config)
    if weights is not None and Path(weights).is_file():
        model = _build(config)
        _load_file(model, Path(weights), name)
        return model
    try:
        return open_clip.create_model(name, pretrained=weights, require_pretrained=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The pre-trained weights of {spec!r} could not be loaded: {_first_line(error)}.",
            "Name a tag of open_clip, a file that exists, or work online once so that they are cached.",
        ) from error


def tokenizer_for(spec: Spec) -> Tokenizer:
    """The tokenizer that belongs to a backbone; over-long sentences are cut, keeping the end token."""
    if isinstance(spec, str):
        _register_shipped_configs()
        return open_clip.get_tokenizer(split_spec(spec)[0])
    text = spec["text_cfg"]
    if text.get("hf_tokenizer_name"):
        return open_clip.HFTokenizer(text["hf_tokenizer_name"], context_length=text.get("context_length", 77))
    return open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))


def modified_resnet(model: nn.Module) -> ModifiedResNet:
    """The image tower of a model, which must be CLIP's ResNet (stem, layer1…4, attention pooling).

    Raises
    ------
    ModelError
        For another image tower, a vision transformer for instance.
    """
    visual = getattr(model, "visual", None)
    if not isinstance(visual, ModifiedResNet):
        raise ModelError(
            f"The image tower of this backbone is a {type(visual).__name__}, not CLIP's ResNet.",
            "Choose RN50, RN101, RN50x4 … or one of our own configurations.",
        )
    return visual


def _build(config: Mapping[str, Any]) -> nn.Module:
    arguments = deepcopy(dict(config))
    custom = arguments.pop("custom_text", False) or "hf_model_name" in arguments.get("text_cfg", {})
    try:
        return open_clip.CustomTextCLIP(**arguments) if custom else open_clip.CLIP(**arguments)
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(f"This is no backbone configuration of open_clip: {_first_line(error)}.") from error


def _load_file(model: nn.Module, path: Path, name: str) -> None:
    try:
        load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # a foreign file: torch, zipfile, pickle and safetensors raise what they like
        raise ModelError(
            f"The checkpoint {path.name} does not fit {name} or is not safe to read: {_first_line(error)}.",
            "Use a safetensors file or a plain state dict of the same architecture.",
        ) from error


def _first_line(error: BaseException) -> str:
    """The part of torch's error pages that a person can read."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".:")


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, trainable or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def sentence_features(model: open_clip.CLIP, tokenize: Tokenizer, sentences: list[str]) -> Tensor:
    """Unit text embeddings [n, d] of sentences; no gradient."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        device = next(model.parameters()).device
        features = model.encode_text(tokenize(sentences).to(device), normalize=True)
    model.train(was_training)
    return features.float()
