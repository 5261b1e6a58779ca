"""What was measured on this machine is remembered, so that it is measured once."""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from napari_clipmed.models.registry import user_folder
from napari_clipmed.whole_files import whole_file

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeasuredOnce:
    """A file of measurements, each under the name of everything that it may depend on.

    Parameters
    ----------
    stem : str
        Of the file's name.
    """

    stem: str

    @property
    def file(self) -> Path:
        """Where they are remembered."""
        return user_folder() / "cache" / f"{self.stem}.json"

    @staticmethod
    def name(device: str, *parts: object) -> str:
        """A name for what was measured here on a device, with these versions and `parts`."""
        machine = [platform.machine(), platform.processor(), str(psutil.cpu_count()), torch.__config__.show()]
        if device == "cuda":
            machine.append(torch.cuda.get_device_name())
        versions = (version("napari-clipmed"), torch.__version__)
        return sha256(repr((machine, versions, device, *parts)).encode()).hexdigest()[:32]

    def recall(self, name: str) -> Any:
        """What is known under a name; None for nothing, or for a spoilt file."""
        return self.all().get(name)

    def remember(self, name: str, value: Any) -> None:
        """Keep a measurement; where the folder cannot be written, the next start measures again."""
        try:
            with whole_file(self.file, replace=True) as unfinished:
                unfinished.write_text(json.dumps(self.all() | {name: value}, indent=1), encoding="utf-8")
        except OSError as error:
            _log.info("%s was not remembered: %s", self.stem, error.strerror)

    def all(self) -> dict[str, Any]:
        """Every measurement."""
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
