"""The person's preferences: napari's Preferences page where it knows us, sensible defaults elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from napari_clipmed.models.backbone_list import SHIPPED_BACKBONE

PLUGIN = "napari-clipmed"


@dataclass(frozen=True)
class Settings:
    """What the manifest's `configurations` offer; the defaults of both are the same (a test compares).

    Parameters
    ----------
    device, precision : str
        As `inference.Engine` takes them.
    cache_mb : int
        Memory budget of the feature cache in MiB.
    backbone : str
        Which CLIP answers zero-shot (`models.backbones`); empty for none.
    disk_cache_mb : int
        Disk budget of the features in MiB; 0 keeps none on disk.
    live_preview : bool
        Outline what a sentence describes while it is typed.
    workspace : str
        Folder of labels, masks and fine-tuned models; empty for the user's data folder.
    side_convention : str
        "picture" or "patient": whose left a typed "left" means.
    classify_on_open : bool
        Start the diagnosis as soon as a study is shown.
    next_after_accept : bool
        An accepted answer opens the next case of the worklist.
    read_ahead : bool
        Read the next case of the worklist while this one is looked at.
    author : str
        Stored beside each accepted label and mask.
    """

    device: str = "auto"
    precision: str = "auto"
    cache_mb: int = 512
    backbone: str = SHIPPED_BACKBONE
    disk_cache_mb: int = 0
    live_preview: bool = True
    workspace: str = ""
    side_convention: str = "picture"
    classify_on_open: bool = True
    next_after_accept: bool = True
    read_ahead: bool = True
    author: str = ""

    @property
    def workspace_path(self) -> Path:
        """The folder that `workspace` names, made absolute."""
        if self.workspace.strip():
            return Path(self.workspace).expanduser().absolute()
        from napari_clipmed.models.registry import user_folder

        return user_folder() / "workspace"


def read_settings() -> Settings:
    """The preferences as they are now; the defaults where napari does not know the plugin."""
    from napari.settings import get_plugin_settings

    try:
        stored = get_plugin_settings(PLUGIN)
    except KeyError:
        return Settings(**_unknown_to_napari)
    values = {}
    for field in fields(Settings):
        for category in ("inference", "review"):
            group = getattr(stored, category, None)
            if hasattr(group, field.name):
                values[field.name] = getattr(group, field.name)
    return Settings(**values)


_unknown_to_napari: dict[str, Any] = {}
"""Preferences changed while napari does not know the plugin; they last as long as the program."""


def write_setting(name: str, value: object) -> None:
    """Change one preference, as the Preferences page would."""
    from napari.settings import get_plugin_settings

    try:
        stored = get_plugin_settings(PLUGIN)
    except KeyError:
        _unknown_to_napari[name] = value
        return
    for category in ("inference", "review"):
        group = getattr(stored, category, None)
        if hasattr(group, name):
            setattr(group, name, value)
