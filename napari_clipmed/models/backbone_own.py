"""Towers that we trained ourselves: the ones that are shipped, and what such a folder says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_clipmed.models.backbone_hub import CONFIG_FILE
from napari_clipmed.shipped import resource


def shipped_folder(name: str) -> Path | None:
    """The tower of this name that comes with the package; None where there is none."""
    folder = resource("backbones") / name
    known = bool(name) and Path(name).name == name and (folder / CONFIG_FILE).is_file()
    return folder if known else None


def own_facts(folder: Path) -> dict[str, Any]:
    """What a tower of ours says of itself, see `training.clip_pretrain.describe_run`; nothing for others."""
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    said = content.get("clipmed") if isinstance(content, dict) else None
    return said if isinstance(said, dict) else {}


def said_limits(folder: Path) -> tuple[str, ...]:
    """Its limits, as sentences for the person."""
    limits = own_facts(folder).get("limits")
    return tuple(str(line)[:200] for line in limits[:5]) if isinstance(limits, list) else ()
