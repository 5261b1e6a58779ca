"""CLIP backbones, all through open_clip: one specification in, one model out.

A specification is a string:

==============================  =====================================================================
``clipmed-compact``             one of our configurations in ``resources/backbones``, random weights
``RN50-quickgelu``              a configuration of open_clip, random weights
``RN50:openai``                 the same with a pre-trained tag of open_clip (downloaded once)
``RN50-quickgelu@/a/file``      the same with a local checkpoint; see `models.checkpoints` for the formats
``/a/file``                     a local checkpoint whose architecture its tensors tell
``hf-hub:owner/name``           configuration and weights from the Hugging Face hub (downloaded once)
``local-dir:/a/folder``         ``open_clip_config.json`` and weights in a folder; or just the folder
==============================  =====================================================================

or the configuration itself, as a mapping with open_clip's keys ``embed_dim``, ``vision_cfg``, ``text_cfg``:
that is what a model card stores, so that a network is rebuilt without a network connection.

Nothing here unpickles: checkpoints are read with ``weights_only=True``, and TorchScript archives are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.modified_resnet import ModifiedResNet
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbone_source import Source, find_source
from napari_clipmed.models.checkpoints import compare_keys, first_line, read_checkpoint
from napari_clipmed.progress import Progress

Spec = str | Mapping[str, Any]
"""What names a backbone, see the module's text."""

Tokenizer = Callable[[list[str]], Tensor]
"""Sentences in, int64 tokens [n, context_length] out."""


def clip_config(spec: Spec) -> dict[str, Any]:
    """open_clip's configuration of a backbone, ready to be stored in a model card.

    Raises
    ------
    ModelError
        When nothing of that name is known.
    """
    if not isinstance(spec, str):
        return deepcopy(dict(spec))
    return deepcopy(dict(find_source(spec, weights=False).config))


def create_clip(spec: Spec, *, load_weights: bool = True, progress: Progress | None = None) -> nn.Module:
    """Build an open_clip model (image and text tower) in fp32 on the CPU.

    Parameters
    ----------
    spec : str or mapping
        Which one; see the module's text.
    load_weights : bool
        False builds the architecture only, for weights that follow from elsewhere.
    progress : Progress, optional
        Told of a download.

    Returns
    -------
    open_clip.CLIP or open_clip.CustomTextCLIP
        Freshly drawn (torch's global generator) where the specification names no weights.

    Raises
    ------
    ModelError
        Unknown name, unreadable, unsafe or unfitting checkpoint; offline, and not downloaded before.
    """
    if not isinstance(spec, str):
        return _build(clip_config(spec))
    return create_from(find_source(spec, weights=load_weights, progress=progress))


def create_from(source: Source) -> nn.Module:
    """The model of a source that was found, with its weights if it has any; see `create_clip`."""
    model = _build(source.local_config)
    if source.weights is not None:
        _load_file(model, source)
    return model


def tokenizer_for(spec: Spec) -> Tokenizer:
    """The tokenizer that belongs to a backbone; over-long sentences are cut, keeping the end token."""
    config = find_source(spec, weights=False).local_config if isinstance(spec, str) else spec
    return tokenizer_of(config)


def tokenizer_of(config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a configuration.

    Raises
    ------
    ModelError
        Where it needs transformers, or files that are neither here nor to be had.
    """
    text = config["text_cfg"]
    name, length = text.get("hf_tokenizer_name"), text.get("context_length", 77)
    if not name:
        return open_clip.SimpleTokenizer(context_length=length, **text.get("tokenizer_kwargs", {}))
    _need_transformers()
    options = {"tokenizer_mode": text.get("tokenizer_mode"), **text.get("tokenizer_kwargs", {})}
    try:
        return HFTokenizer(name, context_length=length, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"The tokenizer {name} could not be loaded: {first_line(error)}.", _TOWER_FILES
        ) from error


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


_TOWER_FILES = (
    "Go online once; or put config.json and the tokenizer's files into the folder, and name it "
    "local-dir:FOLDER."
)


def _need_transformers() -> None:
    """Say that a text tower of the hub needs a package that we do not install.

    Raises
    ------
    ModelError
    """
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "The text tower of this backbone needs the package transformers, which is not installed.",
            "Install it with `pip install transformers`, or choose a backbone with CLIP's own text tower.",
        ) from error


def _build(config: Mapping[str, Any]) -> nn.Module:
    arguments = deepcopy(dict(config))
    foreign = "hf_model_name" in arguments.get("text_cfg", {})
    if foreign:
        _need_transformers()
        arguments["text_cfg"]["hf_model_pretrained"] = False
    if "timm_model_name" in arguments.get("vision_cfg", {}):
        arguments["vision_cfg"]["timm_model_pretrained"] = False
    custom = arguments.pop("custom_text", False) or foreign
    try:
        return open_clip.CustomTextCLIP(**arguments) if custom else open_clip.CLIP(**arguments)
    except OSError as error:
        raise ModelError(
            f"The text tower could not be put together: {first_line(error)}.", _TOWER_FILES
        ) from error
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"This is no backbone configuration of open_clip: {first_line(error)}.") from error


def _load_file(model: nn.Module, source: Source) -> None:
    """Read a checkpoint into a model, translated as open_clip does for its own."""
    path = source.weights
    assert path is not None
    state: dict[str, Any] = dict(read_checkpoint(path).tensors)
    try:
        state = convert_state_dict(model, state)
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = convert_to_custom_text_state_dict(state)
        if "logit_scale" in state:
            state["logit_scale"] = state["logit_scale"].reshape(model.logit_scale.shape)
        wanted = model.state_dict()
        for stale in ("attn_mask", "text.transformer.embeddings.position_ids"):
            if stale not in wanted:
                state.pop(stale, None)
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelError(
            f"The checkpoint {path.name} does not fit {source.title}: {first_line(error)}."
        ) from error
    misfit = compare_keys(wanted, state)
    if misfit:
        raise ModelError(
            f"The checkpoint {path.name} does not fit {source.title}: {misfit}.",
            "It belongs to another architecture.",
        )
    model.load_state_dict(state)


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
