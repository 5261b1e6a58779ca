"""OpenAI's TorchScript archives of CLIP, converted once into a folder that is safe to read ever after."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import open_clip

from napari_clipmed.errors import ModelError
from napari_clipmed.models.archive_words import RISK
from napari_clipmed.models.backbone_hub import CONFIG_FILE, WEIGHT_FILES
from napari_clipmed.models.backbone_source import CLIP_STATISTICS, TWIN, architectures, converted_folder
from napari_clipmed.models.checkpoints import GELU_ENTRY, read_archive
from napari_clipmed.progress import Progress


def convert_archive(
    archive: Path, folder: Path | None = None, *, trusted: bool = False, progress: Progress | None = None
) -> Path:
    """Convert an archive into ``open_clip_config.json`` and safetensors; this runs the archive.

    Parameters
    ----------
    archive : Path
        As OpenAI published it ("RN50.pt").
    folder : Path, optional
        Where to; the default is found again by ``NAME@ARCHIVE``.
    trusted : bool
        A person was told `RISK` and agreed.

    Returns
    -------
    Path
        The folder; its specification is ``local-dir:FOLDER``.

    Raises
    ------
    ModelError
        When nobody agreed, the file is no such archive or no known CLIP, or the disk refuses.
    """
    progress = progress or Progress()
    if not trusted:
        raise ModelError(f"{archive.name} was not converted. {RISK}", "Say --trust if you do.")
    if not archive.is_file():
        raise ModelError(f"There is no file {archive}.", "Check the spelling of the path.")
    folder = folder or converted_folder(archive)
    if (folder / CONFIG_FILE).is_file():
        return folder
    progress.step(f"Opening {archive.name}")
    tensors = read_archive(archive)
    names = architectures({key: tuple(value.shape) for key, value in tensors.items()})
    if not names:
        raise ModelError(f"{archive.name} is none of the CLIP models that open_clip knows.")
    name = next((name for name in names if name.endswith(TWIN)), names[0])
    config = open_clip.get_model_config(name)
    config["quick_gelu"] = True  # OpenAI trained all of them so
    progress.step(f"Writing {name}")
    _write(folder, tensors, {"model_cfg": config, "preprocess_cfg": CLIP_STATISTICS})
    return folder


def _write(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    """The folder, whole or not at all."""
    from safetensors.torch import save_file

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=".", ignore_cleanup_errors=True
        ) as temporary:
            fresh = Path(temporary) / "new"
            fresh.mkdir()
            whole = {key: value.contiguous().clone() for key, value in tensors.items()}
            save_file(whole, fresh / WEIGHT_FILES[0], {"format": "pt", GELU_ENTRY: "true"})
            (fresh / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            fresh.replace(folder)
    except OSError as error:
        raise ModelError(
            f"Nothing could be written to {folder} ({error.strerror or error}).",
            "Choose another folder with --out.",
        ) from error
