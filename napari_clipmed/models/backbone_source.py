"""Where a backbone comes from: its configuration, its weights as a file here, and what is to be said of them.

With which GELU a tower was trained is no part of its tensors: RN50 and RN50-quickgelu take the same file,
and the text features of the wrong one differ without any error. So it is looked for wherever it can be
known: a tag knows it, OpenAI's files prove it, our own files say it; a file that tells nothing is said to
tell nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbone_hub import CONFIG_FILE, WEIGHT_FILES, cached, fetch
from napari_clipmed.models.backbone_own import said_limits, shipped_folder
from napari_clipmed.models.checkpoints import GELU_ENTRY, format_of, read_checkpoint, shapes_of
from napari_clipmed.progress import Progress
from napari_clipmed.shipped import resource

Origin = Literal["random", "tag", "file", "hub", "folder"]

HUB, FOLDER = "hf-hub:", "local-dir:"
TWIN = "-quickgelu"
"""Ending of open_clip's names for the same architecture with QuickGELU."""

_WEIGHTS_IN_FOLDER = (*WEIGHT_FILES, "open_clip_pytorch_model.safetensors", "model.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
CLIP_STATISTICS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


@dataclass(frozen=True)
class BackboneName:
    """A specification, read but not looked up.

    Parameters
    ----------
    origin : str
    name : str
        A configuration, a repository ("owner/name") or a folder; empty for a file whose tensors tell.
    weights : str
        A tag or a path; empty where there are none, or where they come with the name.
    """

    origin: Origin
    name: str
    weights: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """A specification, looked up.

    Parameters
    ----------
    origin : str
    title : str
        What is said of it to a person, without the paths of this machine.
    config : mapping
        open_clip's configuration, free of paths: for a card.
    weights : Path or None
        The checkpoint on this machine; None where there is none, or was not asked for.
    preprocess : mapping
        ``mean`` and ``std`` of what its towers were trained with.
    notes : tuple of str
        Sentences that a person must know.
    folder : Path or None
        Where the configuration lies, for text towers and tokenizers whose files lie beside it.
    """

    origin: Origin
    title: str
    config: Mapping[str, Any]
    weights: Path | None = None
    preprocess: Mapping[str, Any] = field(default_factory=lambda: CLIP_STATISTICS)
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def local_config(self) -> dict[str, Any]:
        """The configuration with text tower and tokenizer of the folder, so that no hub is asked for them."""
        config = deepcopy(dict(self.config))
        text = config.get("text_cfg", {})
        if self.folder is not None and text.get("hf_model_name") and (self.folder / "config.json").is_file():
            text["hf_model_name"] = str(self.folder)
        tokenizer_is_here = self.folder is not None and any(
            (self.folder / n).is_file() for n in _TOKENIZER_FILES
        )
        if text.get("hf_tokenizer_name") and tokenizer_is_here:
            text["hf_tokenizer_name"] = str(self.folder)
        return config


@cache
def register_shipped_configs() -> None:
    """Tell open_clip of our own configurations, once."""
    open_clip.add_model_config(resource("backbones"))


def read_name(spec: str) -> BackboneName:
    """Read a specification; see `models.backbones` for its forms."""
    if spec.startswith(HUB):
        return BackboneName("hub", spec.removeprefix(HUB))
    if spec.startswith(FOLDER):
        return BackboneName("folder", spec.removeprefix(FOLDER))
    if "@" in spec and not Path(spec).exists():
        name, _, weights = spec.partition("@")
        is_path = Path(weights).is_file() or bool(Path(weights).suffix) or "/" in weights or "\\" in weights
        return BackboneName("file" if is_path else "tag", name, weights)
    if Path(spec).is_dir():
        return BackboneName("folder", spec)
    if (shipped := shipped_folder(spec)) is not None:
        return BackboneName("folder", str(shipped))
    if Path(spec).is_file() or Path(spec).is_absolute():
        return BackboneName("file", "", spec)
    name, _, tag = spec.partition(":")
    return BackboneName("tag" if tag else "random", name, tag)


def shown_name(spec: str) -> str:
    """A specification without the folders of this machine: for cards, commands and titles."""
    read = read_name(spec)
    if read.origin == "folder" and shipped_folder(spec) is not None:
        return spec
    if read.origin == "folder":
        return FOLDER + Path(read.name).name
    if read.origin == "file":
        return f"{read.name}@{Path(read.weights).name}".removeprefix("@")
    return spec


def find_source(spec: str, *, weights: bool = True, progress: Progress | None = None) -> Source:
    """Look a specification up; downloads what is not here yet.

    Parameters
    ----------
    spec : str
    weights : bool
        False looks for the configuration only.
    progress : Progress, optional
        Told of a download.

    Raises
    ------
    ModelError
    """
    register_shipped_configs()
    read = read_name(spec.strip())
    if read.origin == "hub":
        return _on_hub(read.name, weights, progress)
    if read.origin == "folder":
        return _in_folder(Path(read.name), weights)
    if read.origin == "file":
        return _with_file(read.name, Path(read.weights), weights)
    config = _known_config(read.name)
    if read.origin == "random":
        return Source(
            "random", read.name, config, notes=("Its weights are random: it has learned nothing yet.",)
        )
    return _with_tag(read.name, config, read.weights, weights, progress)


def is_here(spec: str) -> bool:
    """Whether the weights of a specification lie on this machine, so that no network is needed; asks none."""
    read = read_name(spec)
    if read.origin == "tag":
        where = get_pretrained_cfg(read.name, read.weights).get("hf_hub", "")
        repository, _, file = where.rpartition("/")
        return bool(where) and cached(repository, (file,) if file else WEIGHT_FILES) is not None
    if read.origin == "hub":
        return cached(read.name, (CONFIG_FILE,)) is not None and cached(read.name, WEIGHT_FILES) is not None
    return read.origin == "random" or Path(read.weights or read.name).exists()


def _known_config(name: str) -> dict[str, Any]:
    config = open_clip.get_model_config(name) if name else None
    if config is None:
        raise ModelError(
            f"There is no backbone called {name!r}.",
            "Name a configuration of open_clip or of resources/backbones, a file, hf-hub:… or local-dir:….",
        )
    return config


def _with_tag(
    name: str, config: dict[str, Any], tag: str, weights: bool, progress: Progress | None
) -> Source:
    facts = get_pretrained_cfg(name, tag)
    if not facts:
        known = (
            ", ".join(list_pretrained_tags_by_model(name))
            or "none; it has random weights, or those of a file"
        )
        raise ModelError(
            f"The weights {tag!r} of {name} could not be loaded: there are none.", f"Known: {known}."
        )
    trained, notes = bool(facts.get("quick_gelu")), []
    if trained != bool(config.get("quick_gelu")):
        config["quick_gelu"] = trained
        notes.append(
            f"{name} is read {_with(trained)}, since {tag} was trained so; by itself it has the other one."
        )
    path = None
    if weights:
        repository, _, file = facts.get("hf_hub", "").rpartition("/")
        path = fetch(repository, (file,) if file else WEIGHT_FILES, progress)
    kept = {key: facts[key] for key in ("mean", "std") if key in facts}
    return Source("tag", f"{name}:{tag}", config, path, kept or CLIP_STATISTICS, tuple(notes))


def _with_file(name: str, path: Path, weights: bool) -> Source:
    if not path.is_file():
        raise ModelError(f"There is no checkpoint file {path}.", "Check the spelling of the path.")
    converted = converted_folder(path) if format_of(path) == "archive" else None
    if converted is not None and converted.is_dir():
        return _in_folder(converted, weights)
    trained = _gelu_of(path)
    if not name:
        name = _recognise(path, trained)
    config = _known_config(name)
    reads = bool(config.get("quick_gelu"))
    if trained is not None and trained != reads:
        better = name.removesuffix(TWIN) if reads else name + TWIN
        raise ModelError(
            f"{path.name} was trained {_with(trained)}, and {name} is {_with(reads)}: it would be misread.",
            f"Name {better}@FILE.",
        )
    silent = (
        f"{path.name} does not say with which GELU it was trained, and {name} is {_with(reads)}. OpenAI's, "
        f"YFCC-15M's and CC-12M's need a name that ends in {TWIN}; the wrong one misreads sentences silently."
    )
    notes = (silent,) if trained is None and _has_twin(name) else ()
    return Source("file", f"{name}@{path.name}", config, path if weights else None, notes=notes)


def _on_hub(repository: str, weights: bool, progress: Progress | None) -> Source:
    file = fetch(repository, (CONFIG_FILE,), progress)
    config, preprocess = _read_config(file)
    path = fetch(repository, WEIGHT_FILES, progress) if weights else None
    return Source("hub", HUB + repository, config, path, preprocess, folder=file.parent)


def _in_folder(folder: Path, weights: bool) -> Source:
    config, preprocess = _read_config(folder / CONFIG_FILE)
    found = [folder / name for name in _WEIGHTS_IN_FOLDER if (folder / name).is_file()]
    if weights and not found:
        raise ModelError(
            f"The folder {folder} holds no weights.", f"It needs one of {', '.join(_WEIGHTS_IN_FOLDER)}."
        )
    path = found[0] if weights else None
    title = folder.name if shipped_folder(folder.name) == folder else FOLDER + folder.name
    return Source("folder", title, config, path, preprocess, said_limits(folder), folder)


def _read_config(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """``model_cfg`` and ``preprocess_cfg`` of an ``open_clip_config.json``."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"There is no readable {CONFIG_FILE} in {file.parent}.", "It is what makes a folder a backbone."
        ) from error
    except ValueError as error:
        raise ModelError(f"{file} is no valid JSON.") from error
    config = content.get("model_cfg", content) if isinstance(content, dict) else None
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise ModelError(f"{file} describes no model of open_clip.")
    given = content.get("preprocess_cfg") or {}
    return config, CLIP_STATISTICS | {key: tuple(given[key]) for key in ("mean", "std") if key in given}


def _gelu_of(path: Path) -> bool | None:
    """Whether a checkpoint was trained with QuickGELU, where it or a configuration beside it says so."""
    if format_of(path) == "archive":
        read_checkpoint(path)  # refuses it, and says what to do
    if (path.parent / CONFIG_FILE).is_file():
        return bool(_read_config(path.parent / CONFIG_FILE)[0].get("quick_gelu"))
    if format_of(path) == "safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get(GELU_ENTRY)
        return None if said is None else said == "true"
    return read_checkpoint(path).quick_gelu


def _with(quick_gelu: bool) -> str:
    return "with QuickGELU" if quick_gelu else "with the exact GELU"


def _has_twin(name: str) -> bool:
    twins = {name.removesuffix(TWIN), name.removesuffix(TWIN) + TWIN}
    return len(twins & set(open_clip.list_models())) == 2


def _recognise(path: Path, quick_gelu: bool | None) -> str:
    """Name of the configuration whose tensors a file holds; the twin that was trained so, if that is known.

    Raises
    ------
    ModelError
        When none fits, or several do.
    """
    named = architectures(shapes_of(path))
    plain = {name.removesuffix(TWIN) for name in named}
    if len(plain) == 1:
        base = plain.pop()
        wanted = [base + TWIN, base] if quick_gelu else [base, base + TWIN]
        return next(name for name in wanted if name in named)
    fits = f"It could be {', '.join(named[:6])}; n" if named else "N"
    raise ModelError(
        f"{path.name} does not tell which architecture it is.",
        f"{fits}ame it as NAME@FILE, RN50-quickgelu@{path.name}.",
    )


def architectures(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of all configurations that have tensors of these shapes, as far as shapes can tell."""
    register_shipped_configs()
    numbers = _numbers_of(shapes)
    if numbers is None:
        return []
    return [name for name in open_clip.list_models() if _numbers(open_clip.get_model_config(name)) == numbers]


def _numbers(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers of a configuration that shapes show; None for towers that are not CLIP's own."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    own = "timm_model_name" not in vision and "hf_model_name" not in text and not config.get("custom_text")
    if not own or "multimodal_cfg" in config or "layers" not in vision or "width" not in text:
        return None
    resnet = isinstance(vision["layers"], list)
    return {
        "embed": config["embed_dim"],
        "layers": tuple(vision["layers"]) if resnet else vision["layers"],
        "width": vision.get("width", 64 if resnet else 768),
        "patch": None if resnet else vision.get("patch_size"),
        "image": vision.get("image_size", 224),
        "text": (
            text.get("context_length", 77),
            text.get("vocab_size", 49408),
            text["width"],
            text["layers"],
        ),
    }


def _numbers_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """The same from the tensors of a checkpoint, as open_clip reads OpenAI's."""
    try:
        resnet = "visual.layer1.0.conv1.weight" in shapes
        if resnet:
            layers: Any = tuple(
                len({key.split(".")[2] for key in shapes if key.startswith(f"visual.layer{stage}.")})
                for stage in (1, 2, 3, 4)
            )
            width, patch = shapes["visual.layer1.0.conv1.weight"][0], None
            image = 32 * round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
        else:
            width, _, _, patch = shapes["visual.conv1.weight"]
            layers = sum(key.startswith("visual.") and key.endswith(".attn.in_proj_weight") for key in shapes)
            image = patch * round((shapes["visual.positional_embedding"][0] - 1) ** 0.5)
        depth = len({key.split(".")[2] for key in shapes if key.startswith("transformer.resblocks.")})
        context, text_width = shapes["positional_embedding"]
        words = shapes["token_embedding.weight"][0]
        return {
            "embed": shapes["text_projection"][1],
            "layers": layers,
            "width": width,
            "patch": patch,
            "image": image,
            "text": (context, words, text_width, depth),
        }
    except (KeyError, ValueError, IndexError):
        return None


def converted_folder(archive: Path) -> Path:
    """Where the conversion of an OpenAI archive is kept: named by its content, so that it is found again."""
    from napari_clipmed.models.loading import hash_file
    from napari_clipmed.models.registry import user_folder

    return user_folder() / "backbones" / f"{archive.stem}-{hash_file(archive)[:12]}"
